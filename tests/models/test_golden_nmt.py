"""Whole translation models equal the reference: logits, steps, gradients, beam search."""

import pytest
import torch
from builders import build_nmt, words
from fairseq.sequence_generator import SequenceGenerator
from goldens import cases, close

from mega_fairseq.checkpoints.names import from_reference_names

MODELS = cases("mt_model")


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    case = MODELS[name]
    outputs, inputs = case["outputs"], case["inputs"]
    model, dictionary = build_nmt(case["config"], case["state_dict"]), words(50)
    source, lengths, target = (inputs[k] for k in ("src_tokens", "src_lengths", "prev_output_tokens"))
    real = target.ne(dictionary.pad())
    logits, _ = model(source, lengths, target)
    close(logits, outputs["logits"], real, name)
    left, _ = model(inputs["src_tokens_leftpad"], lengths, target)
    close(left, outputs["logits"], real, "left-padded source")
    encoded, state = model.encoder(source, lengths), {}
    steps = [model.decoder(target[:, : i + 1], encoded, state)[0] for i in range(target.size(1))]
    close(torch.cat(steps, 1), outputs["logits"], real, "steps")
    if "grads" in outputs:
        log_probs = torch.log_softmax(logits, -1).gather(-1, inputs["target"].unsqueeze(-1)).squeeze(-1)
        wanted = inputs["target"].ne(dictionary.pad())
        nll, smooth = -log_probs[wanted].sum(), -torch.log_softmax(logits, -1)[wanted].sum()
        close(nll, outputs["nll"], what="nll")
        loss = 0.9 * nll + 0.1 / len(dictionary) * smooth  # label smoothing as in fairseq 0.9
        close(loss, outputs["loss"], what="loss")
        loss.backward()
        ours = dict(model.named_parameters())
        for parameter, expected in from_reference_names(outputs["grads"]).items():
            if parameter in ours:
                close(ours[parameter].grad, expected, what=parameter)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("beam", "penalty"), [(1, 1.0), (5, 0.5)])
@pytest.mark.parametrize("padded", ["src_tokens", "src_tokens_leftpad"])
def test_beam_search(name, beam, penalty, padded):
    case = MODELS[name]
    if case["config"]["truncation_length"] == 8:
        pytest.skip("the reference's own steps ignore the truncation (goldens README)")
    model, dictionary = build_nmt(case["config"], case["state_dict"]), words(50)
    expected = case["outputs"][f"beam{beam}_lenpen{penalty:g}"]
    generator = SequenceGenerator(
        [model], dictionary, beam_size=beam, len_penalty=penalty, max_len_b=30, max_len_a=0
    )
    net_input = {"src_tokens": case["inputs"][padded], "src_lengths": case["inputs"]["src_lengths"]}
    hypotheses = generator.generate([model], {"net_input": net_input})
    for row, hypothesis in enumerate(hypotheses):
        for rank, found in enumerate(hypothesis):
            tokens = expected["tokens"][row, rank]
            assert found["tokens"].tolist() == tokens[tokens.ne(dictionary.pad())].tolist()
            close(found["score"], expected["score"][row, rank], what="score")

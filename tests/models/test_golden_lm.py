"""Whole language models equal the reference: outputs, probabilities, steps, blocks, loss and gradients."""

import pytest
import torch
from builders import build_lm
from goldens import cases, close

from mega_fairseq.checkpoints.names import from_reference_names

MODELS = cases("lm_model")
PAD = 1


def steps(model, tokens, sizes):
    """Outputs of the tokens given in pieces of those sizes, with carried state."""
    state, parts, end = {}, [], 0
    for size in sizes:
        end += size
        parts.append(model.decoder(tokens[:, :end], incremental_state=state)[0])
    return torch.cat(parts, 1)


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    case = MODELS[name]
    tokens, target, outputs = case["inputs"]["tokens"], case["inputs"]["target"], case["outputs"]
    model = build_lm(case["config"], case["state_dict"])
    real = tokens.ne(PAD)
    out, extra = model(tokens)
    close(out, outputs["out"], real, "out")
    features = model.decoder.extract_features(tokens)[0]
    nll = -model.decoder.target_log_probs(features, target)[target.ne(PAD)].sum()
    close(nll, outputs.get("loss", nll), what="loss")
    with torch.no_grad():
        for sizes in ([1] * 32, [32], [16, 16], [7, 1, 9, 15], [31, 1]):
            close(steps(model, tokens, sizes), outputs["out"], real, f"pieces {sizes}")
    if "log_probs" not in outputs:
        return  # the subset in tests/golden
    close(model.get_normalized_probs((out, extra), True), outputs["log_probs"], real, "log_probs")
    close(model(tokens[:, :27])[0], outputs["out_len27"], real[:, :27], "27 tokens")
    close(steps(model, tokens, [1] * 32), outputs["incremental_out"], real, "reference's steps")
    if "two_block_out" in outputs:
        close(steps(model, tokens, [16, 16]), outputs["two_block_out"], real, "reference's blocks")


@pytest.mark.parametrize("name", [name for name, case in MODELS.items() if "grads" in case["outputs"]])
def test_gradients(name):
    case = MODELS[name]
    tokens, target, outputs = case["inputs"]["tokens"], case["inputs"]["target"], case["outputs"]
    model = build_lm(case["config"], case["state_dict"])
    features = model.decoder.extract_features(tokens)[0]
    loss = -model.decoder.target_log_probs(features, target)[target.ne(PAD)].sum()
    close(loss, outputs["loss"], what="loss")
    loss.backward()
    expected = from_reference_names(outputs["grads"])
    ours = dict(model.named_parameters())
    assert set(ours) <= set(expected), set(ours) - set(expected)
    for parameter, tensor in ours.items():
        close(tensor.grad, expected[parameter], what=parameter)


def test_a_walk_in_segments_is_the_forward_pass():
    for name, case in MODELS.items():
        model = build_lm(case["config"], case["state_dict"])
        tokens = case["inputs"]["tokens"]
        whole, _ = model(tokens)  # with gradients: in one pass
        assert model.decoder.segment >= 1024
        model.decoder.segment = 8
        with torch.no_grad():
            walked, _ = model(tokens)
        torch.testing.assert_close(walked, whole.detach(), atol=1e-5, rtol=1e-5, msg=name)

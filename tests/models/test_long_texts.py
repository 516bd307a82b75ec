"""Scoring and prompting language models: segments equal one pass, prompts read at once equal step by step."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from builders import build_lm, spread, words
from fairseq.search import Sampling
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer
from goldens import close

SIZES = {
    "decoder_embed_dim": 12,
    "decoder_hidden_dim": 16,
    "decoder_ffn_embed_dim": 16,
    "decoder_z_dim": 6,
    "decoder_n_dim": 3,
    "decoder_layers": 2,
    "max_target_positions": 300,
}
VARIANTS = [
    {"decoder_chunk_size": chunk, "rel_pos_bias": bias, "truncation_length": truncation}
    for chunk, bias, truncation in itertools.product((-1, 8), ("simple", "rotary"), (0, 5))
]
ADAPTIVE = {
    "decoder_embed_dim": 16,
    "adaptive_input": True,
    "adaptive_softmax_cutoff": "20,60",
    "tie_adaptive_weights": True,
}
PAD, EOS, WORDS = 1, 2, 100


def make(variant):
    return spread(build_lm({**SIZES, **variant}).eval())


def text(length, rows=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, WORDS, (rows, length), generator=generator)


def sample_of(tokens):
    source = torch.cat([torch.full((len(tokens), 1), EOS), tokens[:, :-1]], 1)
    return {"net_input": {"src_tokens": source, "src_lengths": None}, "target": tokens.clone()}


@pytest.mark.parametrize("variant", [*VARIANTS, ADAPTIVE], ids=str)
@pytest.mark.parametrize("softmax_batch", [7, None])
def test_segments_score_as_one_pass(variant, softmax_batch):
    models = [make(variant), make({**variant, "no_scale_embedding": True})]
    sample = sample_of(text(61))
    sample["target"][1, 50:] = PAD
    sample["net_input"]["src_tokens"][1, 51:] = PAD
    sample["start_indices"] = [0, 20]
    scorer = SequenceScorer(words(WORDS), softmax_batch)
    original = SequenceScorer.generate.mega_original
    for ensemble in (models[:1], models):
        expected = original(scorer, ensemble, sample)
        for model in models:
            model.decoder.segment = 16
        found = scorer.generate(ensemble, sample)
        for (ours,), (theirs,) in zip(found, expected, strict=True):
            assert ours["tokens"].tolist() == theirs["tokens"].tolist()
            for key in ("positional_scores", "score"):
                torch.testing.assert_close(ours[key], theirs[key], atol=1e-5, rtol=1e-5)


def hypotheses(models, prompts, *, at_once, seed=1, **options):
    dictionary = words(WORDS)
    if options.pop("sampling", False):
        options["search_strategy"] = Sampling(dictionary, sampling_topk=10)
    generator = SequenceGenerator(models, dictionary, max_len_a=1, max_len_b=9, **options)
    generate = SequenceGenerator._generate if at_once else SequenceGenerator._generate.mega_original
    source = torch.cat([torch.full((len(prompts), 1), EOS), prompts], 1)
    net_input = {"src_tokens": source, "src_lengths": source.ne(PAD).sum(1)}
    torch.manual_seed(seed)
    with torch.no_grad():
        return generate(generator, {"net_input": net_input}, prefix_tokens=prompts, bos_token=EOS)


@pytest.mark.parametrize("variant", [*VARIANTS, ADAPTIVE], ids=str)
def test_prompts_at_once_equal_step_by_step(variant):
    models = [make(variant), make({**variant, "no_scale_embedding": True})]
    ragged = text(21)
    ragged[1, 13:] = PAD
    cases = [
        ({"beam_size": 3}, text(21)),  # no multiple of the chunk
        ({"beam_size": 3, "temperature": 1.7}, ragged),
        ({"beam_size": 2, "sampling": True}, text(16)),
        ({"beam_size": 1, "min_len": 5}, text(1)),
    ]
    for (options, prompts), ensemble in zip(cases, [models[:1], models, models[:1], models], strict=True):
        ours, theirs = (hypotheses(ensemble, prompts, at_once=flag, **options) for flag in (True, False))
        for mine, reference in zip(ours, theirs, strict=True):
            assert [h["tokens"].tolist() for h in mine] == [h["tokens"].tolist() for h in reference]
            for a, b in zip(mine, reference, strict=True):
                close(a["positional_scores"], b["positional_scores"], what="scores")


def test_a_prompt_is_read_in_one_call():
    model = make(VARIANTS[-1])
    calls = []
    model.decoder.stack.register_forward_hook(lambda _, inputs, output: calls.append(inputs[0].size(1)))
    hypotheses([model], text(50), at_once=True, beam_size=2)
    assert calls[0] == 50
    assert set(calls[1:]) == {1}


def test_prompts_that_are_cut_are_told(caplog):
    generator = SequenceGenerator([make({})], words(WORDS), max_len_b=20)
    net_input = {"src_tokens": text(31), "src_lengths": text(31).ne(PAD).sum(1)}
    found = generator._generate({"net_input": net_input}, prefix_tokens=text(30))
    assert len(found) == 2
    assert "prompt of 30 tokens is cut short" in caplog.text and "--max-len-a 1" in caplog.text


@pytest.mark.parametrize("special", [EOS, PAD])
def test_prompts_with_other_signs_inside(special):
    model, prompts = make({}), text(12)
    prompts[0, 3] = special
    ours, theirs = (hypotheses([model], prompts, at_once=flag, beam_size=1) for flag in (True, False))
    for mine, reference in zip(ours, theirs, strict=True):
        assert [h["tokens"].tolist() for h in mine] == [h["tokens"].tolist() for h in reference]


def test_outputs_of_layers_in_segments_are_those_of_one_pass():
    model = make({})
    with torch.no_grad():
        whole = model(text(21))[1]["inner_states"]
        model.decoder.segment = 8
        parts = model(text(21))[1]["inner_states"]
    assert [tuple(h.shape) for h in parts] == [(21, 2, 12)] * 3
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("chunk", [-1, 8])
def test_lengths_beyond_the_trained_ones(chunk):
    model = make({"decoder_chunk_size": chunk, "rel_pos_bias": "rotary", "max_target_positions": 16})
    assert model.max_positions() > 10**9
    assert make({"max_target_positions": 16}).max_positions() == 16
    with torch.no_grad():
        assert model(text(200))[0].isfinite().all()


def test_a_larger_chunk_at_test_needs_rotary():
    small, large = ({"rel_pos_bias": bias, "decoder_chunk_size": 8} for bias in ("rotary", "simple"))
    for config in (small, large):
        trained = make(config).state_dict()
        wider = make({**config, "decoder_chunk_size": 16})
        if config["rel_pos_bias"] == "rotary":
            wider.load_state_dict(trained)
        else:
            with pytest.raises(ValueError, match=r"8 positions.*16.*--decoder-chunk-size"):
                wider.load_state_dict(trained)


def test_models_without_states_take_fairseqs_way():
    calls = []
    replaced = SimpleNamespace(eval=lambda: calls.append("eval"))
    scorer = SequenceScorer(words(WORDS))
    with pytest.raises(TypeError):  # not callable: the original got it
        scorer.generate([replaced], sample_of(text(5)))
    assert calls == ["eval"]


@torch.no_grad()
def test_a_chunked_decoder_remembers_origins_of_its_chunk_only():
    decoder, tokens, state = make(VARIANTS[4]).decoder, text(60, rows=4), {}
    assert decoder.chunk_size == 8
    for end in range(1, 60):
        decoder(tokens[:, :end], incremental_state=state)
        order = torch.tensor([1, 0, 3, 3] if end % 3 else [0, 2, 1, 3])
        decoder.reorder_incremental_state(state, order)
        tokens = tokens[order]
        found = decoder.get_incremental_state(state, "origins")
        assert found is None if end % 8 == 0 else found[1].shape == (4, end % 8)
    close(decoder(tokens[:, :60], incremental_state=state)[0][:, -1], decoder(tokens[:, :60])[0][:, -1])

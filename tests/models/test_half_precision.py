"""Both models in bfloat16 and float16, whole, by steps, after a prompt, beside float32 with equal weights."""

from copy import deepcopy

import pytest
import torch
from builders import build_lm, build_nmt, spread
from fairseq.sequence_generator import SequenceGenerator
from test_padding_and_steps import SIZES, VARIANTS, collate, identifier

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
KINDS = pytest.mark.parametrize("variant", VARIANTS[::5], ids=identifier)
ROWS = [[5, 9, 7, 11, 23, 8, 30, 14, 2], [6, 2], [17, 12, 40, 33, 2]]
TARGET = torch.tensor([[2, 4, 8, 15, 16, 23, 42, 7, 9, 11, 13]])


def model_of(build, variant, dtype):
    """A model in half precision, and the same one in float32."""
    options = {**SIZES, **variant}
    if build is build_lm:
        options = {name.replace("encoder", "decoder"): value for name, value in options.items()}
        options.pop("share_all_embeddings")
    half = spread(build(options, vocabulary=50)).to(dtype)
    return half, deepcopy(half).float()


def near(ours, expected, dtype, roundings=16):
    assert ours.dtype == dtype
    atol = roundings * torch.finfo(dtype).eps * expected.abs().max().item()
    torch.testing.assert_close(ours.float(), expected, atol=atol, rtol=0.0)


@HALVES
@KINDS
def test_translation(variant, dtype):
    half, precise = model_of(build_nmt, variant, dtype)
    tokens, lengths = collate(ROWS, left=True)
    target = TARGET.expand(3, -1)
    expected, _ = precise(tokens, lengths, target)
    whole, _ = half(tokens, lengths, target)
    near(whole, expected, dtype)
    whole.float().logsumexp(-1).sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == dtype for p in half.parameters())
    with torch.no_grad():
        encoded, state = half.encoder(tokens, lengths), {}
        for i in range(target.size(1)):
            step, _ = half.decoder(target[:, : i + 1], encoded, state)
            near(step[:, 0], expected[:, i], dtype)
    layers = half.decoder.get_incremental_state(state, "layers")
    assert {layer.ema.memory.dtype for layer in layers} == {torch.float32}


@HALVES
@KINDS
def test_language_model(variant, dtype):
    half, precise = model_of(build_lm, variant, dtype)
    expected, _ = precise(TARGET)
    whole, _ = half(TARGET)
    near(whole, expected, dtype)
    with torch.no_grad():
        for prompt in (1, 5):
            state = {}
            first, _ = half.decoder(TARGET[:, :prompt], incremental_state=state)
            near(first[:, -1], expected[:, prompt - 1], dtype)
            for i in range(prompt, TARGET.size(1)):
                step, _ = half.decoder(TARGET[:, : i + 1], incremental_state=state)
                near(step[:, -1], expected[:, i], dtype)


@HALVES
def test_beam_search(dtype):
    half, precise = model_of(build_nmt, VARIANTS[0], dtype)
    tokens, lengths = collate(ROWS, left=True)
    sample = {"net_input": {"src_tokens": tokens, "src_lengths": lengths}}
    dictionary = half.decoder.dictionary
    found, expected = (
        SequenceGenerator([m.eval()], dictionary, beam_size=3, max_len_b=10).generate([m], sample)
        for m in (half, precise)
    )
    for ours, theirs in zip(found, expected, strict=True):
        scores = [hypothesis[0]["score"].item() for hypothesis in (ours, theirs)]
        assert abs(scores[0] - scores[1]) < 0.1

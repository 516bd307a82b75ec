"""Extreme decays, extreme attention logits, single positions and nothing but padding: finite, and right."""

from dataclasses import replace

import torch
from drawn import EOS, PAD, D, close, configs, lm, nmt, normal, probe, seeds, spread, stack, words
from hypothesis import given
from hypothesis import strategies as st
from reference.ema import naive_ema

from mega_fairseq.config import ATTENTION_FUNCTIONS
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.ops.attention import Permitted, attention_weights
from mega_fairseq.state import EMAState

logits = st.sampled_from([-30.0, -10.0, 0.0, 10.0, 30.0])
precisions = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])
scales = st.sampled_from([30.0, 100.0, 1000.0, 30000.0])


def finite(y, leaves):
    """The output and its gradients, of which at least one is not zero."""
    assert y.isfinite().all()
    gradients = torch.autograd.grad(probe(y), leaves, materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)
    return gradients


@given(
    found=st.lists(st.tuples(logits, logits), min_size=2 * D * 2, max_size=2 * D * 2),
    length=st.integers(1, 150),
    way=st.sampled_from(["both", "left to right", "carried"]),
    truncation=st.none() | st.integers(1, 80),
    dtype=precisions,
    seed=seeds,
)
def test_decays_near_0_and_1(found, length, way, truncation, dtype, seed):
    module = spread(MultiHeadEMA(D, 2, bidirectional=way == "both", truncation=truncation), seed, dtype)
    channels = module.alpha.size(0)
    with torch.no_grad():
        for parameter, values in zip((module.alpha, module.delta), zip(*found, strict=True), strict=True):
            parameter.copy_(torch.tensor(values[: channels * 2]).view(channels, 2))
    x = normal(1, length, D, seed=seed, dtype=dtype).requires_grad_()
    y, _ = module(x, None, EMAState() if way == "carried" else None)
    finite(y, [x, *module.parameters()])
    if dtype == torch.float64 and way != "both":
        loop, _ = naive_ema(
            x, module.alpha, module.delta, module.beta, module.eta, torch.zeros(1, D, 2), truncation
        )
        # 1 - q of 1 - 1e-13 counts as 1 - 6e-8
        torch.testing.assert_close(y, loop + module.omega * x, atol=1e-6, rtol=1e-6)


@given(
    function=st.sampled_from(ATTENTION_FUNCTIONS),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    scale=scales,
    masked=st.booleans(),
    seed=seeds,
)
def test_attention_logits(function, rows, columns, scale, masked, seed):
    """Scores of +-30 and far beyond, in the query or in the bias; a row may have no key."""
    leaves = [
        normal(n, m, seed=seed + i, dtype=torch.float32) for i, (n, m) in enumerate([(rows, 4), (columns, 4)])
    ]
    bias = scale * normal(rows, columns, seed=seed + 2, dtype=torch.float32).sign()
    leaves = [t.requires_grad_() for t in (scale * leaves[0], leaves[1], bias)]
    forbidden = normal(rows, columns, seed=seed + 3) > 0.5 if masked else None
    weights = attention_weights(function, *leaves, Permitted(forbidden, torch.tensor(columns)))
    assert weights.isfinite().all()
    assert weights.ge(0).all()
    if function != "relu2":
        assert weights.le(1).all()
    if masked:
        assert not weights[forbidden].any()
    if function == "softmax":
        open_rows = torch.ones(rows, dtype=torch.bool) if forbidden is None else ~forbidden.all(-1)
        close(weights.sum(-1), open_rows.float())
    for gradient in torch.autograd.grad(probe(weights), leaves):
        assert gradient.isfinite().all()


@given(
    config=configs,
    causal=st.booleans(),
    scale=scales,
    length=st.sampled_from([1, 2, 9, 66]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=seeds,
)
def test_stacks_with_large_queries_and_keys(config, causal, scale, length, dtype, seed):
    config = replace(config, layers=1)  # of two layers relu2's fourth powers may overflow float32
    module = stack(config, seed, causal=causal, dtype=dtype)
    with torch.no_grad():
        for layer in module.layers:
            layer.attention.kappa *= scale
    x = normal(2, length, D, seed=seed, dtype=dtype).requires_grad_()
    finite(module(x).x, [x, *module.parameters()])


def tokens_of(seed, reals, width, left):
    """Rows with this many words, 0 for none, padded to a width."""
    tokens = words(seed, len(reals), width)
    real = torch.tensor(reals).unsqueeze(1)
    place = torch.arange(width)
    tokens[place < width - real if left else place >= real] = PAD
    return tokens


@given(
    config=configs,
    reals=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=3),
    left=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    seed=seeds,
)
def test_rows_of_padding_and_single_tokens(config, reals, left, dtype, seed):
    """Sources and targets of 0 to 3 tokens, all of one batch empty at times; N is 1 a quarter of the time."""
    model = nmt(config, seed, dtype)
    source = tokens_of(seed, [pair[0] for pair in reals], 3, left)
    target = tokens_of(seed + 1, [pair[1] for pair in reals], 3, left)
    y, inside = model(source, None, target)
    assert y.isfinite().all()
    if target.ne(PAD).any():
        finite(y, list(model.parameters()))
    weights = inside["attn"][0]
    assert weights.isfinite().all()
    assert not weights.masked_select(source.eq(PAD).unsqueeze(1)).any()
    for row, pads in enumerate(source.eq(PAD).sum(1).tolist()):
        if dtype == torch.float64 and pads < 3:  # as without the empty rows beside it
            alone, _ = model(source[row : row + 1], None, target[row : row + 1])
            close(y[row], alone[0])


@given(config=configs, seed=seeds, dtype=precisions, batch=st.integers(1, 3))
def test_one_token_and_one_dimension(config, seed, dtype, batch):
    model, token = lm(replace(config, ndim=1), seed, dtype), torch.full((batch, 1), EOS)
    y, _ = model(token)
    finite(y, list(model.parameters()))
    if dtype == torch.float64:
        close(model(token, incremental_state={})[0], y)

"""Attention weights, Toeplitz matrices and chunks against loops, gradients included, at awkward lengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.attention import naive_attention

from mega_fairseq.config import ATTENTION_FUNCTIONS
from mega_fairseq.ops.attention import PARTS, Permitted, attention_weights, causal_mask, weighted_sum
from mega_fairseq.ops.ema.rows import merge, split
from mega_fairseq.ops.toeplitz import toeplitz

Z, CHUNK = 4, 4
LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 7, 13]
EXACT = {"atol": 1e-12, "rtol": 1e-10}  # float64 against float64


def draw(rows, columns, masked):
    """Query, key, bias, forbidden and n; the last query may attend to nothing where `masked`."""
    g = torch.Generator().manual_seed(100 * rows + columns)
    shapes = ((rows, Z), (columns, Z), (rows, columns))
    leaves = [torch.randn(s, generator=g, dtype=torch.double, requires_grad=True) for s in shapes]
    if not masked:
        return leaves, None, torch.tensor(columns)
    forbidden = torch.rand(rows, columns, generator=g) < 0.4
    forbidden[-1] = True
    return leaves, forbidden, (~forbidden).sum(-1, keepdim=True).clamp(min=1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_weights_equal_loop(function, masked):
    for rows in LENGTHS:
        for columns in LENGTHS:
            leaves, forbidden, count = draw(rows, columns, masked)
            query, key, bias = leaves
            ours = attention_weights(function, query, key, bias, Permitted(forbidden, count))
            expected = naive_attention(
                function,
                query,
                key,
                torch.eye(columns, dtype=torch.double),  # as values: the weights themselves
                lambda i, j, bias=bias: bias[i, j],
                permitted=lambda i, j, mask=forbidden: mask is None or not mask[i, j],
            )
            torch.testing.assert_close(ours, expected, **EXACT)
            if expected.requires_grad:  # some query has a key
                mine, theirs = (torch.autograd.grad(w.sin().sum(), leaves) for w in (ours, expected))
                torch.testing.assert_close(mine, theirs, **EXACT)


@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_weights_gradcheck(function):
    leaves, forbidden, count = draw(5, 7, masked=True)
    assert torch.autograd.gradcheck(
        lambda query, key, bias: attention_weights(function, query, key, bias, Permitted(forbidden, count)),
        leaves,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_query_without_keys_gives_zero(function, dtype):
    leaves = [torch.randn(3, n, dtype=dtype, requires_grad=True) for n in (Z, Z, 3)]
    forbidden = torch.tensor([[False, True, True], [True, True, True], [False, False, False]])
    weights = attention_weights(function, *leaves, Permitted(forbidden, torch.tensor([[1], [1], [3]])))
    assert weights.dtype == dtype
    assert not weights[forbidden].any()
    assert weights[1].eq(0).all()
    gradients = torch.autograd.grad(weights.sin().sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][1].any()
    assert not gradients[2][forbidden].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_extreme_logits_are_finite(function, dtype):
    one = torch.ones(1, 1, dtype=dtype)
    key = torch.tensor([[-30.0], [0.0], [30.0]], dtype=dtype)
    leaves = [t.requires_grad_() for t in (one, key, torch.zeros(1, 3, dtype=dtype))]
    weights = attention_weights(function, *leaves, Permitted(None, torch.tensor(1)))
    limits = {"softmax": [0.0, 0.0, 1.0], "relu2": [0.0, 0.0, 900.0], "laplace": [0.0, 0.0, 1.0]}
    # laplace(0) = (1 - erf(sqrt(pi))) / 2 = 0.0061
    torch.testing.assert_close(weights[0].float(), torch.tensor(limits[function]), atol=0.007, rtol=1e-6)
    assert all(g.isfinite().all() for g in torch.autograd.grad(weights.sum(), leaves))


@given(columns=st.integers(1, 12), data=st.data())
@settings(max_examples=50, deadline=None)
def test_causal_mask_sees_the_past(columns, data):
    rows = data.draw(st.integers(1, columns))
    mask = causal_mask(rows, columns, torch.device("cpu"))
    expected = [[j > columns - rows + i for j in range(columns)] for i in range(rows)]
    assert mask.tolist() == expected


@given(rows=st.integers(1, 9), columns=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_toeplitz_equals_loop(rows, columns):
    values = torch.randn(2, rows + columns - 1, dtype=torch.double, requires_grad=True)
    ours = toeplitz(values, rows, columns)
    entries = [values[:, rows - 1 + j - i] for i in range(rows) for j in range(columns)]
    expected = torch.stack(entries, -1).view(2, rows, columns)
    assert ours.equal(expected)
    mine, theirs = (torch.autograd.grad(m.sin().sum(), values) for m in (ours, expected))
    torch.testing.assert_close(mine, theirs, **EXACT)


@given(length=st.integers(1, 20), size=st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_split_and_merge(length, size):
    x = torch.randn(2, length, 3, requires_grad=True)
    chunks = split(x, size)
    assert chunks.shape == (2, -(-length // size), size, 3)
    for t in range(chunks.size(1) * size):
        expected = x[:, t] if t < length else torch.zeros(2, 3)
        assert chunks[:, t // size, t % size].equal(expected)
    assert merge(chunks, length).equal(x)
    (gradient,) = torch.autograd.grad(merge(chunks, length).sum(), x)
    assert gradient.eq(1).all()


@pytest.mark.parametrize("columns", [1, 7, 32 * PARTS - 1, 32 * PARTS, 32 * PARTS + 1, 331])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (3,), (2, 1)])
def test_weighted_sum_of_a_lone_query(columns, shape):
    room = torch.randn(*shape[:-1], 400, 5, dtype=torch.double)  # as decoding caches lie in memory
    value = room[..., :columns, :].requires_grad_()
    weights = torch.randn(*shape, columns, dtype=torch.double, requires_grad=True)
    found, expected = weighted_sum(weights, value), weights @ value
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    cotangent = torch.randn_like(expected)
    for mine, other in zip(
        *(torch.autograd.grad(y, [weights, value], cotangent) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_products_beyond_float16_are_scaled_first(function):
    query = torch.full((1, 128), 24.0, dtype=torch.float16)  # 128 * 24 * 24 > 65504
    key, bias = query.repeat(2, 1), torch.zeros(1, 2, dtype=torch.float16)
    weights = attention_weights(function, query, key, bias, Permitted(None, torch.tensor(64)))
    expected = attention_weights(
        function, query.float(), key.float(), bias.float(), Permitted(None, torch.tensor(64))
    )
    limit = torch.finfo(torch.float16).max
    torch.testing.assert_close(
        weights.float().clamp(max=limit), expected.clamp(max=limit), atol=1e-3, rtol=2e-3
    )

"""torch.autograd.gradcheck on every differentiable operation of mega_fairseq.ops, at random shapes."""

import torch
from drawn import normal, seeds
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from mega_fairseq.config import ATTENTION_FUNCTIONS
from mega_fairseq.ops.attention import Permitted, attention_weights, causal_mask
from mega_fairseq.ops.ema.coefficients import Coefficients, decay_powers, ema_coefficients
from mega_fairseq.ops.ema.rows import merge, split
from mega_fairseq.ops.padding import Turn
from mega_fairseq.ops.precision import at_least_float32
from mega_fairseq.ops.toeplitz import toeplitz

small = st.integers(1, 5)


def leaf(*shape, seed):
    return normal(*shape, seed=seed).requires_grad_()


@given(
    function=st.sampled_from(ATTENTION_FUNCTIONS),
    batch=st.integers(1, 2),
    rows=small,
    columns=small,
    z=st.integers(1, 4),
    mask=st.sampled_from(["none", "causal", "random", "all"]),
    seed=seeds,
)
def test_attention_weights(function, batch, rows, columns, z, mask, seed):
    query, key = leaf(batch, rows, z, seed=seed), leaf(batch, columns, z, seed=seed + 1)
    bias = leaf(rows, columns, seed=seed + 2)
    forbidden = {
        "none": None,
        "causal": causal_mask(rows, max(rows, columns), torch.device("cpu"))[:, :columns],
        "random": normal(batch, rows, columns, seed=seed + 3) > 0,
        "all": torch.ones(rows, columns, dtype=torch.bool),
    }[mask]
    count = torch.tensor(columns)
    if forbidden is not None:
        count = (~forbidden).sum(-1, keepdim=True).clamp(min=1)
    assert gradcheck(
        lambda *leaves: attention_weights(function, *leaves, Permitted(forbidden, count)), (query, key, bias)
    )


@given(batch=small, rows=small, columns=small, seed=seeds)
def test_toeplitz(batch, rows, columns, seed):
    assert gradcheck(
        lambda values: toeplitz(values, rows, columns), leaf(batch, rows + columns - 1, seed=seed)
    )


@given(batch=st.integers(1, 2), length=st.integers(1, 12), size=small, seed=seeds)
def test_split_and_merge(batch, length, size, seed):
    x, chunks = leaf(batch, length, 2, seed=seed), leaf(batch, -(-length // size), size, 2, seed=seed + 1)
    assert gradcheck(lambda x: split(x, size), x)
    assert gradcheck(lambda chunks: merge(chunks, length), chunks)


@given(batch=st.integers(1, 3), length=small, seed=seeds, data=st.data())
def test_turn(batch, length, seed, data):
    turn = Turn(torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=batch, max_size=batch))))
    for leaves in (leaf(batch, length, seed=seed), leaf(batch, length, 2, seed=seed)):
        assert gradcheck(turn.apply, leaves) and gradcheck(turn.undo, leaves)


@given(dim=st.integers(1, 3), n=st.integers(1, 3), length=st.integers(1, 8), block=st.booleans(), seed=seeds)
def test_ema_coefficients_powers_and_kernel(dim, n, length, block, seed):
    length = length + 62 if block else length  # around one block of taps
    leaves = [*(leaf(dim, n, seed=seed + i) for i in range(4)), leaf(dim, seed=seed)]

    def coefficients(alpha, delta, beta, eta, omega):
        return Coefficients(*ema_coefficients(alpha, delta), beta, eta, omega)

    assert gradcheck(coefficients, leaves)
    assert gradcheck(
        lambda *leaves: decay_powers(coefficients(*leaves).log_q, length), leaves, fast_mode=block
    )
    assert gradcheck(lambda *leaves: coefficients(*leaves).kernel(length), leaves, fast_mode=block)


@given(length=small, seed=seeds)
def test_at_least_float32(length, seed):
    assert gradcheck(at_least_float32, leaf(length, seed=seed))

"""Padded batches, post-norm, chunk borders and truncation of the sub-layers against loops.

Pads hold arbitrary values here: a real position depends on them in no way.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from reference.attention import naive_attention
from reference.ema import naive_ema
from test_attention import CASES, CHUNK, D, N, bias_of, config, naive_self_attention, silu, spread
from torch import nn

from mega_fairseq.config import ATTENTION_FUNCTIONS
from mega_fairseq.modules.cross_attention import GatedCrossAttention
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.positional_bias import SimpleBias
from mega_fairseq.state import EMAState

ROWS = [5, 1, 4, 3, 11]
CLOSE = {"atol": 1e-9, "rtol": 1e-7}  # float64, sums in another order


def batch(lengths, width):
    """Values and padding of rows of these lengths; the pads are as large as the rest."""
    x = torch.randn(len(lengths), max(lengths), width, dtype=torch.double, requires_grad=True)
    return x, torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)


def agree(ours, expected, leaves):
    """Outputs and gradients, for a list of row outputs each; absent gradients count as zeros."""
    for mine, reference in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, reference, **CLOSE)
    found, wanted = (
        torch.autograd.grad(sum(row.sin().sum() for row in rows), leaves, materialize_grads=True)
        for rows in (ours, expected)
    )
    torch.testing.assert_close(found, wanted, **CLOSE)
    return found


def inner(module):
    """The sub-layer without its norm, and the norm: what post-norm does last."""
    norm, module.norm, module.pre_norm = module.norm, nn.Identity(), False
    return norm


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("function", "bias", "chunk"), sorted({case[:3] for case in CASES}))
def test_padded_batch_equals_loops_in_gradients(function, bias, chunk, causal):
    module = spread(GatedAttention(config(function, bias, chunk), causal=causal))
    x, padding = batch(ROWS, D)
    y, _ = module(x, padding)
    ours = [row[:n] for row, n in zip(y, ROWS, strict=True)]
    expected = [naive_self_attention(module, row[:n], chunk, causal) for row, n in zip(x, ROWS, strict=True)]
    gradients = agree(ours, expected, [x, *module.parameters()])
    assert not gradients[0][padding].any()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_post_norm_self_attention(function, causal):
    post = replace(config(function, "simple", CHUNK), normalize_before=False)
    module = spread(GatedAttention(post, causal=causal))
    x = torch.randn(11, D, dtype=torch.double, requires_grad=True)
    leaves, ours = [x, *module.parameters()], module(x.unsqueeze(0))[0][0]
    norm = inner(module)
    agree([ours], [norm(naive_self_attention(module, x, CHUNK, causal))], leaves)


@pytest.mark.parametrize("bias", ["simple", "rotary"])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_post_norm_cross_attention_to_a_padded_batch(function, bias):
    post = replace(config(function, bias), normalize_before=False)
    module = spread(GatedCrossAttention(post, source_dim=3))
    source, padding = batch(ROWS, 3)
    x = torch.randn(len(ROWS), 6, D, dtype=torch.double, requires_grad=True)
    leaves = [x, source, *module.parameters()]
    y, weights = module(x, module.project(source), padding)
    norm = inner(module)
    expected = []
    for row, encoded, real in zip(x, source, ROWS, strict=True):
        u, r, query = module.q_proj(row).split([D, D, module.k_proj.out_features], dim=-1)
        key, value = module.k_proj(encoded), silu(module.v_proj(encoded))
        attended = naive_attention(
            function, query, key, value, bias_of(module), permitted=lambda i, j, real=real: j < real
        )
        h = silu(module.h_proj(silu(r) * attended))
        expected.append(norm(row + torch.sigmoid(u) * (h - row)))
    gradients = agree(list(y), expected, leaves)
    assert not gradients[1][padding].any()
    assert not weights.masked_select(padding.unsqueeze(1)).any()


@pytest.mark.parametrize(
    ("function", "bias", "causal"),
    list(itertools.product(ATTENTION_FUNCTIONS, ("simple", "rotary"), (False, True))),
)
def test_attention_stays_in_its_chunk(function, bias, causal):
    module = spread(GatedAttention(config(function, bias, CHUNK), causal=causal))
    with torch.no_grad():
        module.ema.eta.zero_()  # leaves SiLU(omega x), which mixes no positions
    x = torch.randn(1, 11, D, dtype=torch.double, requires_grad=True)
    y, _ = module(x)
    for t in range(11):
        (gradient,) = torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)
        reached = gradient[0].ne(0).any(-1).tolist()
        allowed = [s // CHUNK == t // CHUNK and (not causal or s <= t) for s in range(11)]
        if function == "relu2":  # a weight may be 0 for a permitted key
            assert not any(r and not a for r, a in zip(reached, allowed, strict=True))
        else:
            assert reached == allowed


@pytest.mark.parametrize("length", [1, 5, 11, 64, 65, 131])  # both sides of ops.ema.BLOCK
@pytest.mark.parametrize("truncation", [None, 1, 7, 70])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_ema_with_padding_equals_loops(bidirectional, truncation, length):
    module = spread(MultiHeadEMA(D, N, bidirectional=bidirectional, truncation=truncation))
    x = torch.randn(2, length, D, dtype=torch.double, requires_grad=True)
    padding = torch.arange(length) >= torch.tensor([[length], [length // 2]])
    ours, _ = module(x, padding)
    inputs = x.masked_fill(padding.unsqueeze(-1), 0.0)
    split = [
        p.chunk(2) if bidirectional else (p,) for p in (module.alpha, module.delta, module.beta, module.eta)
    ]
    zeros, total = torch.zeros(2, D, N), x * module.omega
    for direction, parameters in enumerate(zip(*split, strict=True)):
        y, _ = naive_ema(inputs.flip(1) if direction else inputs, *parameters, zeros, truncation)
        total = total + (y.flip(1) if direction else y)
    agree([ours], [total], [x, *module.parameters()])


@pytest.mark.parametrize(
    ("rows", "columns", "offset", "needed"), [(9, 3, 0, 9), (1, 3, 8, 9), (3, 3, 6, 9), (2, 9, 0, 9)]
)
def test_a_simple_bias_ends_at_its_last_position(rows, columns, offset, needed):
    bias = SimpleBias(8, "--max-target-positions")
    with pytest.raises(ValueError, match=f"8 positions got a sequence of {needed}: raise --max-target-pos"):
        bias(rows, columns, offset)
    bias(min(rows, 8), min(columns, 8), min(offset, 8 - min(rows, 8)))


def test_one_channel_carries_its_state_over_several_inputs():
    """D = 1: a sequence is no single step, whatever its width."""
    module = spread(MultiHeadEMA(1, 2, bidirectional=False)).double()
    x = torch.randn(2, 9, 1, dtype=torch.double)
    whole, _ = module(x)
    first, state = module(x[:, :4], state=EMAState())
    second, _ = module(x[:, 4:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, **CLOSE)


@pytest.mark.parametrize(
    ("causal", "chunk", "flag"),
    [
        (True, -1, "--max-target-positions"),
        (False, -1, "--max-source-positions"),
        (True, 4, "--decoder-chunk-size"),
        (False, 4, "--encoder-chunk-size"),
    ],
)
def test_too_long_a_sequence_names_its_flag(causal, chunk, flag):
    module = GatedAttention(replace(config("softmax", "simple", chunk), max_positions=8), causal=causal)
    module.chunk_size = -1  # a chunk is never longer than its table
    with pytest.raises(ValueError, match=f"got a sequence of 9: raise {flag}"):
        module(torch.randn(1, 9, D))


@pytest.mark.parametrize("held", [6, 10])
def test_a_bias_of_another_size_is_refused(held):
    state = SimpleBias(held, "--decoder-chunk-size").state_dict()
    with pytest.raises(
        ValueError, match=rf"holds {held} positions, this model's 8; leave --decoder-chunk-size"
    ):
        SimpleBias(8, "--decoder-chunk-size").load_state_dict(state)

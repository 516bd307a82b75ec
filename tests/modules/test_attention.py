"""Self- and cross-attention sub-layers equal the equations written as loops, gradients included."""

import itertools

import pytest
import torch
from reference.attention import naive_attention, naive_rotary_bias, naive_simple_bias
from reference.ema import naive_ema

from mega_fairseq.config import ATTENTION_FUNCTIONS, MegaConfig
from mega_fairseq.modules.cross_attention import GatedCrossAttention
from mega_fairseq.modules.gated_attention import GatedAttention

D, N, Z, H, CHUNK, LONGEST = 5, 2, 4, 6, 4, 16
LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 11]
CASES = list(itertools.product(ATTENTION_FUNCTIONS, ("simple", "rotary"), (-1, CHUNK), (False, True)))


def config(function, bias, chunk=-1):
    return MegaConfig(
        embed_dim=D,
        ndim=N,
        zdim=Z,
        hdim=H,
        ffn_dim=0,
        chunk_size=chunk,
        max_positions=LONGEST,
        cross_max_positions=LONGEST,
        attention_fn=function,
        rel_pos_bias=bias,
        normalize_before=True,
        dropout=0.0,
    )


def spread(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.7)
    return module.double()


def bias_of(module):
    if hasattr(module.bias, "weight"):
        return lambda i, j: naive_simple_bias(module.bias.weight, i, j)
    return lambda i, j: naive_rotary_bias(module.bias.alpha, module.bias.beta, i, j)


def silu(x):
    return x * torch.sigmoid(x)


def naive_ema_sub_layer(ema, x):
    """SiLU(EMA(x) + omega x) of one sequence (L, D)."""
    halves = [p.chunk(2) if ema.bidirectional else (p,) for p in (ema.alpha, ema.delta, ema.beta, ema.eta)]
    total = ema.omega * x
    for direction, parameters in enumerate(zip(*halves, strict=True)):
        inputs = (x.flip(0) if direction else x).unsqueeze(0)
        y = naive_ema(inputs, *parameters, torch.zeros(1, D, N))[0][0]
        total = total + (y.flip(0) if direction else y)
    return silu(total)


def naive_self_attention(module, x, chunk, causal):
    """The sub-layer on one unpadded sequence (L, D)."""
    normed = module.norm(x)
    projected = module.mx_proj(naive_ema_sub_layer(module.ema, normed))
    u, z, r, c = projected[:, :D], projected[:, D : D + Z], projected[:, D + Z : D + Z + H], projected[:, -D:]
    query, key = (silu(z) * module.kappa[k] + module.mu[k] for k in (0, 1))
    value = silu(module.v_proj(normed))
    size = chunk if chunk > 0 else len(x)
    bias = bias_of(module)
    attended = naive_attention(
        module.attention_fn,
        query,
        key,
        value,
        lambda i, j: bias(i % size, j % size),
        permitted=lambda i, j: i // size == j // size and (not causal or j <= i),
    )
    h = silu(c + module.h_proj(silu(r) * attended))
    phi = torch.sigmoid(u)
    return x + phi * (h - x)


def gradients_agree(ours, theirs, leaves):
    found, expected = (torch.autograd.grad(y.sin().sum(), leaves, allow_unused=True) for y in (ours, theirs))
    for mine, reference in zip(found, expected, strict=True):
        zero = torch.zeros(())
        torch.testing.assert_close(
            zero if mine is None else mine, zero if reference is None else reference, atol=1e-9, rtol=1e-7
        )


@pytest.mark.parametrize(("function", "bias", "chunk", "causal"), CASES)
def test_self_attention(function, bias, chunk, causal):
    module = spread(GatedAttention(config(function, bias, chunk), causal=causal))
    for length in LENGTHS:
        x = torch.randn(length, D, dtype=torch.double, requires_grad=True)
        ours, expected = module(x.unsqueeze(0))[0][0], naive_self_attention(module, x, chunk, causal)
        torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-8)
        gradients_agree(ours, expected, [x, *module.parameters()])


@pytest.mark.parametrize(("function", "bias", "chunk", "causal"), CASES)
def test_padding_behind_a_sequence(function, bias, chunk, causal):
    module = spread(GatedAttention(config(function, bias, chunk), causal=causal))
    x = torch.randn(3, 11, D, dtype=torch.double)
    lengths = torch.tensor([11, 6, 1])
    padding = torch.arange(11) >= lengths.unsqueeze(1)
    whole = module(x.masked_fill(padding.unsqueeze(-1), 0.0), padding)[0]
    for row, length in enumerate(lengths):
        alone = module(x[row : row + 1, :length])[0][0]
        torch.testing.assert_close(whole[row, :length], alone, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("chunk", [-1, CHUNK])
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_the_future_has_no_influence(function, chunk):
    module = spread(GatedAttention(config(function, "rotary", chunk), causal=True))
    x = torch.randn(1, 9, D, dtype=torch.double, requires_grad=True)
    y, _ = module(x)
    for t in range(9):
        (gradient,) = torch.autograd.grad(y[0, t].sum(), x, retain_graph=True)
        assert not gradient[0, t + 1 :].any()
        assert gradient[0, 0].any()  # through the EMA, whatever the chunk


@pytest.mark.parametrize(
    ("function", "bias", "padded"),
    list(itertools.product(ATTENTION_FUNCTIONS, ("simple", "rotary"), (0, 3))),
)
def test_cross_attention(function, bias, padded):
    module = spread(GatedCrossAttention(config(function, bias), source_dim=3))
    for targets, sources, position in ((1, 1, 0), (5, 7, 0), (4, 3, 6)):
        x = torch.randn(targets, D, dtype=torch.double, requires_grad=True)
        source = torch.randn(sources + padded, 3, dtype=torch.double, requires_grad=True)
        padding = (torch.arange(sources + padded) >= sources).unsqueeze(0) if padded else None
        ours, weights = module(x.unsqueeze(0), module.project(source.unsqueeze(0)), padding, position)
        projected = module.q_proj(module.norm(x))
        u, r, query = projected[:, :D], projected[:, D : 2 * D], projected[:, 2 * D :]
        key, value = module.k_proj(source), silu(module.v_proj(source))
        entry = bias_of(module)
        attended = naive_attention(
            function,
            query,
            key,
            value,
            lambda i, j, first=position, entry=entry: entry(first + i, j),
            permitted=lambda i, j, real=sources: j < real,
        )
        h = silu(module.h_proj(silu(r) * attended))
        expected = x + torch.sigmoid(u) * (h - x)
        torch.testing.assert_close(ours[0], expected, atol=1e-10, rtol=1e-8)
        assert not weights[0, :, sources:].any()
        gradients_agree(ours[0], expected, [x, source, *module.parameters()])


@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_a_source_of_padding_gives_nothing(function):
    module = spread(GatedCrossAttention(config(function, "rotary"), source_dim=3))
    x = torch.randn(1, 2, D, dtype=torch.double, requires_grad=True)
    source = torch.randn(1, 4, 3, dtype=torch.double, requires_grad=True)
    y, weights = module(x, module.project(source), torch.ones(1, 4, dtype=torch.bool))
    assert not weights.any()
    for gradient in torch.autograd.grad(y.sum(), [x, source], allow_unused=True):
        assert gradient is None or gradient.isfinite().all()

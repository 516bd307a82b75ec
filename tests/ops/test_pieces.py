"""Pieces of a long sequence: borders, and the numbers of one piece, gradients and dropout included."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.feed_forward import FeedForward
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.layer import MegaLayer
from mega_fairseq.ops import pieces as module
from mega_fairseq.ops.pieces import how_to_call, join, pieces, plain, recomputed
from mega_fairseq.state import LayerState

D, CHUNK = 8, 4
SMALL = {"embed_dim": D, "ndim": 2, "zdim": 4, "hdim": 12, "ffn_dim": 12, "chunk_size": CHUNK}
LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 13, 29]
WHOLE = 10**9


@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 40),
    chunk=st.integers(1, 9) | st.just(-1),
    begun=st.integers(0, 8),
    tokens=st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_borders(batch, length, chunk, begun, tokens):
    begun = begun % chunk if chunk > 0 else begun
    x = torch.arange(length).expand(batch, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CPU_TOKENS", tokens)
        cut = list(pieces([x, None], chunk, begun))
    assert all(nothing is None for _, nothing in cut)
    assert join([part for part, _ in cut]).equal(x)
    position = begun
    for part, _ in cut:
        size = part.size(1)
        if chunk > 0:  # within one chunk, or whole ones
            within = position % chunk + size <= chunk
            assert within or (position % chunk == 0 and size % chunk == 0)
            assert within or size * batch <= max(tokens, chunk * batch)
        position += size


def test_only_long_training_is_recomputed(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 8)
    assert how_to_call(torch.zeros(2, 4, 1)) is plain
    assert how_to_call(torch.zeros(3, 3, 1)) is recomputed
    with torch.no_grad():
        assert how_to_call(torch.zeros(3, 3, 1)) is plain


def outcome(layer, tokens, monkeypatch, length, padding=None):
    """Output and gradients with pieces of so many tokens."""
    monkeypatch.setattr(module, "CPU_TOKENS", tokens)
    torch.manual_seed(1)
    x = torch.randn(2, length, D, dtype=torch.double, requires_grad=True)
    y = layer(x, padding)[0] if padding is not None else layer(x)[0]
    real = 1.0 if padding is None else (~padding).unsqueeze(-1)
    return y * real, *torch.autograd.grad((y * real).sin().sum(), [x, *layer.parameters()])


def spread(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return layer.double()


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("function", ["softmax", "relu2", "laplace"])
def test_pieces_equal_one_piece(function, causal, pre_norm, length, monkeypatch):
    torch.manual_seed(0)
    config = MegaConfig(**SMALL, attention_fn=function, normalize_before=pre_norm, dropout=0.0)
    layer = spread(MegaLayer(config, causal=causal))
    padding = torch.arange(length) >= torch.tensor([[length], [max(1, length - 3)]])
    expected = outcome(layer, WHOLE, monkeypatch, length, padding)
    for tokens in (1, 2 * CHUNK, 4 * CHUNK):
        found = outcome(layer, tokens, monkeypatch, length, padding)
        for mine, other in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, other, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("chunk", [CHUNK, -1])
@pytest.mark.parametrize("cuts", [[29], [3, 26], [4, 25], [6, 1, 1, 21], [7, 9, 13]])
def test_carried_states_in_pieces(cuts, chunk, monkeypatch):
    torch.manual_seed(0)
    layer = spread(MegaLayer(MegaConfig(**{**SMALL, "chunk_size": chunk}, dropout=0.0), causal=True))
    x = torch.randn(2, 29, D, dtype=torch.double)
    expected = layer(x)[0]
    monkeypatch.setattr(module, "CPU_TOKENS", 2 * CHUNK)
    state, parts = LayerState(), []
    for part in x.split(cuts, dim=1):
        y, state, _ = layer(part, None, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-11, rtol=1e-9)
    expected_gradients = torch.autograd.grad(expected.sin().sum(), list(layer.parameters()))
    gradients = torch.autograd.grad(torch.cat(parts, 1).sin().sum(), list(layer.parameters()))
    for mine, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("build", [lambda c: GatedAttention(c, causal=True), FeedForward])
def test_dropout_is_the_same_when_it_is_computed_again(build, monkeypatch):
    """The loss is linear along a direction only if forward and backward drop the same elements."""
    dropped = dict.fromkeys(("dropout", "attention_dropout", "hidden_dropout", "activation_dropout"), 0.4)
    layer = spread(build(MegaConfig(**SMALL, **dropped)))
    monkeypatch.setattr(module, "CPU_TOKENS", 2 * CHUNK)
    x = torch.randn(2, 13, D, dtype=torch.double, requires_grad=True)

    def loss(x):
        torch.manual_seed(3)
        y = layer(x)
        return (y[0] if isinstance(y, tuple) else y).sin().sum()

    (gradient,) = torch.autograd.grad(loss(x), x)
    direction, step = torch.randn_like(x), 1e-6
    with torch.no_grad():
        slope = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, atol=1e-6, rtol=1e-5)


def test_channels_are_dropped_from_all_pieces():
    torch.manual_seed(0)
    drop = Dropout(0.5, feature=True).for_pieces(torch.ones(3, 9, D), 20)
    first, second = drop(torch.ones(3, 4, 20)), drop(torch.ones(3, 5, 20))
    assert first[:, :1].expand(3, 5, 20).equal(second)
    assert set(first.unique().tolist()) == {0.0, 2.0}

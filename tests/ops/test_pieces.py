"""Pieces of a long sequence: borders, and the numbers of one piece, gradients and dropout included."""

import contextlib
import gc
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from mega_fairseq.config import ATTENTION_FUNCTIONS, MegaConfig
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.feed_forward import FeedForward
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.layer import MegaLayer
from mega_fairseq.ops import pieces as module
from mega_fairseq.ops.pieces import in_one_go, join, kept, pieces
from mega_fairseq.state import LayerState

D, CHUNK = 8, 4
SMALL = {"embed_dim": D, "ndim": 2, "zdim": 4, "hdim": 12, "ffn_dim": 12, "chunk_size": CHUNK}
LENGTHS = [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 13, 29]


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
        cut = [piece.tensors for piece in pieces([x, None], chunk, begun)]
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

    def recomputed(*shape):
        return [piece.recompute for piece in pieces([torch.zeros(*shape)])]

    assert recomputed(2, 4, 1) == [False]
    assert recomputed(3, 3, 1) == [True, True]
    with torch.no_grad():
        assert recomputed(3, 3, 1) == [False, False]
    with in_one_go():
        assert recomputed(3, 3, 1) == [False]


def outcome(layer, tokens, monkeypatch, length, padding=None):
    """Output and gradients with pieces of so many tokens, or in one go."""
    if tokens is not None:
        monkeypatch.setattr(module, "CPU_TOKENS", tokens)
    torch.manual_seed(1)
    x = torch.randn(2, length, D, dtype=torch.double, requires_grad=True)
    with in_one_go() if tokens is None else contextlib.nullcontext():
        y = layer(x, padding)[0]
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
@pytest.mark.parametrize("function", ATTENTION_FUNCTIONS)
def test_pieces_equal_one_piece(function, causal, pre_norm, length, monkeypatch):
    torch.manual_seed(0)
    config = MegaConfig(**SMALL, attention_fn=function, normalize_before=pre_norm, dropout=0.0)
    layer = spread(MegaLayer(config, causal=causal))
    padding = torch.arange(length) >= torch.tensor([[length], [max(1, length - 3)]])
    expected = outcome(layer, None, monkeypatch, length, padding)
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


def pattern(x, dropout):
    """Where ones, in pieces, are dropped; and the gradient, which is what they are multiplied by."""
    x = x.requires_grad_()
    y = join([piece(dropout) for piece in pieces([x])])
    y.sum().backward()
    assert x.grad.equal(y)
    return y


def test_channels_are_dropped_from_all_pieces(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 4)
    torch.manual_seed(0)
    y = pattern(torch.ones(3, 9, 20), Dropout(0.5, feature=True))
    assert y[:, :1].expand_as(y).equal(y)
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert not pattern(torch.ones(3, 9, 20), Dropout(0.5, feature=True)).equal(y)


def test_each_dropout_of_a_piece_has_channels_of_its_own(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 4)
    torch.manual_seed(0)
    drop = Dropout(0.5, feature=True)
    y = pattern(torch.ones(3, 9, 20), lambda x: drop(x) + 10 * drop(x))
    assert y[:, :1].expand_as(y).equal(y)
    assert set(y.unique().tolist()) == {0.0, 2.0, 20.0, 22.0}


class Counted(TorchDispatchMode):
    """How many matrix products there are."""

    def __init__(self):
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.products += operation in module.PRODUCTS
        return operation(*args, **(kwargs or {}))


def chain(inner, outer, x):
    """Two products; the second one's value matters for the gradient or not."""
    hidden = torch.sin(kept(F.linear, x, inner))
    return x + kept(F.linear, hidden, outer, needed=False)


@pytest.mark.parametrize("frozen", [None, 0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.double, torch.bfloat16])
def test_products_that_are_kept(frozen, dtype, monkeypatch):
    torch.manual_seed(0)
    leaves = [
        torch.randn(2, 9, D, dtype=dtype),
        torch.randn(20, D, dtype=dtype),
        torch.randn(D, 20, dtype=dtype),
    ]
    for i, leaf in enumerate(leaves):
        leaf.requires_grad_(i != frozen)
    x, inner, outer = leaves
    monkeypatch.setattr(module, "CPU_TOKENS", 6)
    found = join([piece(partial(chain, inner, outer)) for piece in pieces([x])])
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    with Counted() as counted:
        gradients = torch.autograd.grad(found.sum(), wanted, retain_graph=True)
        again = torch.autograd.grad(found.sum(), wanted)
    expected = chain(inner, outer, x)
    with Counted() as plain:
        expected_gradients = torch.autograd.grad(expected.sum(), wanted)
    assert counted.products == 2 * 3 * plain.products  # twice, in three pieces, and none of the forward's
    close = {"atol": 1e-11, "rtol": 1e-9} if dtype == torch.double else {"atol": 0.1, "rtol": 0.05}
    torch.testing.assert_close(found, expected, **close)
    for mine, same, other in zip(gradients, again, expected_gradients, strict=True):
        assert mine.equal(same)
        torch.testing.assert_close(mine, other, **close)


def test_a_value_that_was_not_kept_spoils_what_needs_it(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 6)
    x, weight = torch.randn(2, 9, D, requires_grad=True), torch.randn(20, D, requires_grad=True)
    y = join([piece(lambda x: torch.sin(kept(F.linear, x, weight, needed=False))) for piece in pieces([x])])
    assert y.isfinite().all()
    assert torch.autograd.grad(y.sum(), x)[0].isnan().all()


def test_a_setting_counts_as_it_was(monkeypatch):
    """A model that stops training between forward and backward drops what it has dropped."""
    monkeypatch.setattr(module, "CPU_TOKENS", 2 * CHUNK)
    torch.manual_seed(0)
    layer = spread(FeedForward(MegaConfig(**SMALL, dropout=0.4, activation_dropout=0.4)))
    gradients = []
    for stop in (False, True):
        torch.manual_seed(1)
        x = torch.randn(2, 13, D, dtype=torch.double, requires_grad=True)
        layer.train()
        y = layer(x)
        layer.train(not stop)
        gradients.append(torch.autograd.grad(y.sin().sum(), x)[0])
    assert gradients[0].equal(gradients[1])


def test_random_numbers_that_follow_are_left_alone(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 4)
    torch.manual_seed(0)
    y = join([piece(Dropout(0.5)) for piece in pieces([torch.ones(3, 9, 20, requires_grad=True)])])
    state = torch.get_rng_state()
    y.sum().backward()
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("build", [lambda c: GatedAttention(c, causal=True), FeedForward])
def test_half_precision_and_a_backward_pass_inside_autocast(build, monkeypatch):
    torch.manual_seed(0)
    layer = build(MegaConfig(**SMALL, dropout=0.0))
    x = torch.randn(2, 13, D)
    found = []
    for tokens in (2 * CHUNK, 10**9):
        monkeypatch.setattr(module, "CPU_TOKENS", tokens)
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
            (y[0] if isinstance(y, tuple) else y).float().sin().sum().backward()
        found.append([parameter.grad for parameter in layer.parameters()])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=0.02 * float(other.abs().max()) + 1e-6, rtol=0.02)


def test_second_derivatives(monkeypatch):
    torch.manual_seed(0)
    layer = spread(FeedForward(MegaConfig(**SMALL, dropout=0.0)))
    x = torch.randn(1, 9, D, dtype=torch.double, requires_grad=True)
    slopes = []
    for tokens in (4, 10**9):
        monkeypatch.setattr(module, "CPU_TOKENS", tokens)
        (first,) = torch.autograd.grad(layer(x).sin().sum(), x, create_graph=True)
        slopes.append(torch.autograd.grad(first.square().sum(), [x, *layer.parameters()]))
    for mine, other in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-8)


def squared(layer):
    layer.register_forward_hook(lambda layer, inputs, output: output + output.square())
    return layer


def scaled_in_place(layer):
    layer.register_forward_hook(lambda layer, inputs, output: output.mul_(1.5))
    return layer


def observed(layer):
    """As quantisation does in training: NaN there would stay."""
    layer.seen = []
    layer.register_forward_hook(
        lambda layer, inputs, output: layer.seen.append(output.detach().isnan().any())
    )
    return layer


def followed(layer):
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(layer.out_features, layer.out_features).double())


@pytest.mark.parametrize("change", [squared, scaled_in_place, observed, followed])
@pytest.mark.parametrize(
    "name", ["attention.mx_proj", "attention.h_proj", "feed_forward.fc1", "feed_forward.fc2"]
)
def test_what_is_more_than_a_linear_layer_is_computed_again(name, change, monkeypatch):
    torch.manual_seed(0)
    layer = spread(MegaLayer(MegaConfig(**SMALL, dropout=0.0), causal=True))
    part, _, own = name.partition(".")
    setattr(getattr(layer, part), own, change(layer.get_submodule(name)))
    x = torch.randn(1, 13, D, dtype=torch.double)
    found = []
    for tokens in (2 * CHUNK, 10**9):
        monkeypatch.setattr(module, "CPU_TOKENS", tokens)
        leaf = x.clone().requires_grad_()
        found.append(torch.autograd.grad(layer(leaf).x.sin().sum(), [leaf, *layer.parameters()]))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-11, rtol=1e-9)
    assert not any(getattr(layer.get_submodule(name), "seen", []))


def test_weights_are_those_of_the_first_computation(monkeypatch):
    """torch.func.functional_call has taken its own away when the backward pass comes."""
    torch.manual_seed(0)
    layer = spread(FeedForward(MegaConfig(**SMALL, dropout=0.0)))
    others = {name: 2.0 * weight.detach() for name, weight in layer.named_parameters() if "fc" in name}
    x = torch.randn(1, 9, D, dtype=torch.double, requires_grad=True)
    found = []
    for tokens in (4, 10**9):
        monkeypatch.setattr(module, "CPU_TOKENS", tokens)
        found.append(torch.autograd.grad(functional_call(layer, others, x).sin().sum(), x)[0])
    torch.testing.assert_close(*found, atol=1e-11, rtol=1e-9)


def test_weights_that_change_before_the_backward_pass_are_an_error(monkeypatch):
    monkeypatch.setattr(module, "CPU_TOKENS", 4)
    layer = FeedForward(MegaConfig(**SMALL))
    loss = layer(torch.randn(1, 9, D)).sum()
    with torch.no_grad():
        layer.fc1.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_products_are_saved_as_autograd_saves_tensors(monkeypatch):
    """So that hooks move them elsewhere, and a checkpoint around the layer holds none."""
    monkeypatch.setattr(module, "CPU_TOKENS", 4)
    layer = GatedAttention(MegaConfig(**SMALL), causal=True)
    width, moved = sum(layer.widths), []

    def found(tensor):
        return torch.is_tensor(tensor) and tensor.dim() > 1 and tensor.size(-1) == width

    def pack(tensor):
        if not found(tensor):
            return tensor
        moved.append(tensor.clone())
        return moved[-1]

    others = [tensor for tensor in gc.get_objects() if found(tensor)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(torch.randn(1, 12, D))[0]
    assert sum(tensor.numel() for tensor in moved) == 12 * width
    held = [tensor for tensor in gc.get_objects() if found(tensor)]
    assert {id(tensor) for tensor in held} == {id(tensor) for tensor in others + moved}
    out.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_inside_a_checkpoint(reentrant, monkeypatch):
    torch.manual_seed(0)
    layer = spread(MegaLayer(MegaConfig(**SMALL, dropout=0.3, feature_dropout=True), causal=True))
    x = torch.randn(2, 13, D, dtype=torch.double)
    monkeypatch.setattr(module, "CPU_TOKENS", 2 * CHUNK)
    found = []
    for run in (layer, partial(checkpoint, layer, use_reentrant=reentrant)):
        torch.manual_seed(1)
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        run(leaf)[0].sin().sum().backward()
        found.append([leaf.grad, *(parameter.grad for parameter in layer.parameters())])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-11, rtol=1e-9)


def test_a_short_sequence_compiles_as_one_graph():
    layer = MegaLayer(MegaConfig(**SMALL), causal=True).eval()
    x = torch.randn(2, CHUNK, D)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x).x, layer(x).x)

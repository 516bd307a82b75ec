"""Dropout of elements and of channels; half precision stays finite, close to float32, with a float32 EMA."""

import itertools
from copy import deepcopy

import pytest
import torch

from mega_fairseq.config import ATTENTION_FUNCTIONS, MegaConfig
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.stack import MegaStack
from mega_fairseq.ops.ema.coefficients import ema_coefficients

D, LENGTH = 16, 11
HALVES = [torch.bfloat16, torch.float16]
SMALL = {
    "embed_dim": D,
    "ndim": 4,
    "zdim": 8,
    "hdim": 24,
    "ffn_dim": 24,
    "layers": 2,
    "chunk_size": 4,
}
DROPOUTS = ("dropout", "attention_dropout", "hidden_dropout", "activation_dropout")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def spread(module, by=0.2):
    """Parameters away from their initial values, so that every gradient is large enough to compare."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=by)
    return module


def padded_batch():
    return torch.randn(2, LENGTH, D), torch.arange(LENGTH) >= torch.tensor([[LENGTH], [6]])


def test_feature_dropout_drops_channels_of_a_row():
    y = Dropout(0.25, feature=True)(torch.ones(40, LENGTH, D))
    mask = y[:, :1]
    assert y.equal(mask.expand_as(y))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert len(mask.flatten(1).unique(dim=0)) > 30  # each row draws its own channels


def test_plain_dropout_drops_elements():
    y = Dropout(0.25)(torch.ones(40, LENGTH, D))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert not y.eq(y[:, :1]).all(dim=1).all(dim=-1).any()


@pytest.mark.parametrize("feature", [False, True])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_expectation(p, feature):
    rows = 4000
    x = torch.tensor([1.0, -2.0, 3.0]).expand(rows, 2, 3)
    mean = Dropout(p, feature)(x).mean(dim=0)
    deviation = (p / (1 - p) / rows) ** 0.5  # of the mean, relative to x
    torch.testing.assert_close(mean, x[0], atol=0.0, rtol=5 * deviation)


@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_independently(p):
    count = 1_000_003  # not a multiple of the elements that share a random number
    dropped = Dropout(p)(torch.ones(count)).eq(0.0).float()
    deviation = (p * (1 - p) / count) ** 0.5
    assert abs(dropped.mean().item() - p) < 5 * deviation
    for lag in range(1, 9):
        together = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert abs(together - p * p) < 5 * p * (1 / count) ** 0.5


@pytest.mark.parametrize("feature", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_dropout_has_the_gradient_of_its_mask(dtype, feature):
    x = torch.ones(3, LENGTH, D, dtype=dtype, requires_grad=True)
    y = Dropout(0.3, feature)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == dtype
    assert gradient.equal(y)
    torch.manual_seed(0)
    assert Dropout(0.3, feature)(x).equal(y)


@pytest.mark.parametrize("feature", [False, True])
def test_dropout_of_everything(feature):
    x = torch.randn(2, LENGTH, D, requires_grad=True)
    y = Dropout(1.0, feature)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert not y.any()
    assert not gradient.any()


@pytest.mark.parametrize("feature", [False, True])
@pytest.mark.parametrize("name", DROPOUTS)
def test_dropout_is_for_training_only(name, feature):
    config = MegaConfig(**SMALL, **{"dropout": 0.0, name: 0.5}, feature_dropout=feature)
    stack, (x, padding) = spread(MegaStack(config, causal=False)), padded_batch()
    without = MegaStack(MegaConfig(**SMALL, dropout=0.0), causal=False)
    without.load_state_dict(stack.state_dict())
    expected = without(x, padding).x
    assert stack.eval()(x, padding).x.equal(expected)
    assert not stack.train()(x, padding).x.equal(expected)


def test_feature_dropout_leaves_attention_weights_alone():
    module = GatedAttention(MegaConfig(**SMALL, feature_dropout=True), causal=True)
    assert module.dropout.feature
    assert module.hidden_dropout.feature
    assert not module.attention_dropout.feature


def run(stack, x, padding):
    """Output and gradients (of x and of every parameter) by name."""
    x = x.detach().requires_grad_()
    y = stack(x, padding).x
    names = ["x", *(name for name, _ in stack.named_parameters())]
    gradients = torch.autograd.grad(y.float().sin().sum(), [x, *stack.parameters()], materialize_grads=True)
    return y, dict(zip(names, gradients, strict=True))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize(
    ("function", "bias", "causal", "before"),
    list(itertools.product(ATTENTION_FUNCTIONS, ("simple", "rotary"), (False, True), (False, True))),
)
def test_half_precision_is_close_to_float32(function, bias, causal, before, dtype):
    """The float32 stack has the same rounded weights, so that only the computation differs.

    Two layers round some ten times per sub-layer, forward and again backward: about 30 roundings of eps/2
    reach the first layer's gradients if they add up, against terms as large as the largest element (0.05 at
    least: smaller gradients are differences of larger terms). Allowed is twice that, 32 eps; measured are 15
    with this seed and up to 32 over twelve seeds. Outputs pass half the roundings: 8 eps; measured 3.4.
    """
    config = MegaConfig(
        **SMALL, attention_fn=function, rel_pos_bias=bias, normalize_before=before, dropout=0.0
    )
    half = spread(MegaStack(config, causal=causal)).to(dtype)
    x, padding = padded_batch()
    y, gradients = run(half, x.to(dtype), padding)
    expected, wanted = run(deepcopy(half).float(), x.to(dtype).float(), padding)
    eps = torch.finfo(dtype).eps
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, atol=8 * eps * expected.abs().max().item(), rtol=0.0)
    for name, reference in wanted.items():
        scale = max(0.05, reference.abs().max().item())
        torch.testing.assert_close(
            gradients[name].float(),
            reference,
            atol=32 * eps * scale,
            rtol=0.0,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64], ids=str)
def test_coefficients_are_float32_at_least(dtype):
    precise = torch.promote_types(dtype, torch.float32)
    logits = torch.randn(2, D, 4).to(dtype)
    assert {t.dtype for t in ema_coefficients(*logits)} == {precise}
    directions = MultiHeadEMA(D, 4, bidirectional=True).to(dtype).coefficients()
    assert {c.kernel(5).dtype for c in directions} == {precise}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_kernel_of_a_slow_decay_survives_half_precision(dtype):
    """q = 0.99968 rounds to 1 in bfloat16, to 0.99951 in float16: last tap 14 x too large, 4 x too small."""
    module = spread(MultiHeadEMA(D, 4, bidirectional=False), by=0.0)
    with torch.no_grad():
        module.alpha.fill_(-4.0)
        module.delta.fill_(-4.0)
    module.to(dtype)
    precise = deepcopy(module).double().coefficients()[0].kernel(8192)
    # log(q) t is about -2.6 at the last tap, known to a few roundings; taps sum four terms of either sign
    scale = precise.abs().max().item()
    kernel = module.coefficients()[0].kernel(8192).double()
    torch.testing.assert_close(kernel, precise, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("length", [LENGTH, 100])  # one block, and a scan over blocks
@pytest.mark.parametrize(
    ("bidirectional", "truncation"), [(False, None), (False, 7), (True, None), (True, 7)]
)
def test_autocast_leaves_the_ema_in_float32(bidirectional, truncation, length):
    module = spread(MultiHeadEMA(D, 4, bidirectional=bidirectional, truncation=truncation))
    x = torch.randn(2, length, D, requires_grad=True)
    expected, _ = module(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = module(x)
    assert y.dtype == torch.float32
    assert y.equal(expected)
    leaves = [x, *module.parameters()]
    for mine, theirs in zip(*(torch.autograd.grad(out.sum(), leaves) for out in (y, expected)), strict=True):
        assert mine.equal(theirs)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("length", [LENGTH, 200])
def test_backward_inside_autocast(length, bidirectional):
    module = spread(MultiHeadEMA(D, 4, bidirectional=bidirectional))
    x = torch.randn(2, length, D, requires_grad=True)
    (expected,) = torch.autograd.grad(module(x)[0].sum(), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(module(x)[0].sum(), x)
    torch.testing.assert_close(gradient, expected, atol=0.02 * expected.abs().max().item(), rtol=0.0)


@pytest.mark.parametrize("p", [-0.2, 1.5, float("nan")])
def test_a_probability_is_one(p):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        Dropout(p)


@pytest.mark.parametrize("causal", [False, True])
def test_stack_under_autocast_is_finite_and_close(causal):
    stack, (x, padding) = spread(MegaStack(MegaConfig(**SMALL, dropout=0.0), causal=causal)), padded_batch()
    expected, wanted = run(stack, x, padding)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, gradients = run(stack, x, padding)
    eps = torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(y.float(), expected, atol=8 * eps * expected.abs().max().item(), rtol=0.0)
    for name, reference in wanted.items():
        scale = max(0.05, reference.abs().max().item())
        torch.testing.assert_close(gradients[name], reference, atol=32 * eps * scale, rtol=0.0)

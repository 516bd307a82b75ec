"""The fast EMAs equal the loop: outputs, states and gradients, at awkward lengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.ema import naive_ema

from mega_fairseq.ops.ema.block import ema_block
from mega_fairseq.ops.ema.coefficients import BLOCK, Coefficients, ema_coefficients
from mega_fairseq.ops.ema.scan import ema_both_ways, ema_scan
from mega_fairseq.ops.ema.step import ema_step
from mega_fairseq.ops.ema.truncated import ema_truncated

LENGTHS = [1, 2, 31, BLOCK - 1, BLOCK, BLOCK + 1, 127, 3 * BLOCK, 211]
MANY = [17 * BLOCK, 26 * BLOCK + 5]  # several groups of blocks
SIZES = {"rtol": 1e-4, "atol": 2e-5}


def coefficients(alpha, delta, beta, eta):
    return Coefficients(*ema_coefficients(alpha, delta), beta, eta)


def draw(length, n=5, batch=2, dim=3):
    g = torch.Generator().manual_seed(length)
    parameters = [torch.randn(dim, n, generator=g, requires_grad=True) for _ in range(4)]
    x = torch.randn(batch, length, dim, generator=g, requires_grad=True)
    return x, parameters, torch.randn(batch, dim, n, generator=g, requires_grad=True)


@pytest.mark.parametrize("length", LENGTHS + MANY)
@pytest.mark.parametrize("carried", [False, True])
def test_scan_equals_loop(length, carried):
    x, parameters, h = draw(length)
    start = h if carried else torch.zeros_like(h)
    y, last = ema_scan(x, coefficients(*parameters), h if carried else None)
    expected, expected_last = naive_ema(x, *parameters, start)
    torch.testing.assert_close(y, expected.float(), **SIZES)
    torch.testing.assert_close(last, expected_last.float(), **SIZES)
    leaves = [x, *parameters] + ([h] if carried else [])
    ours = torch.autograd.grad(y.sin().sum() + last.cos().sum(), leaves)
    theirs = torch.autograd.grad(expected.sin().sum() + expected_last.cos().sum(), leaves)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("taps", [1, 8, 64])
def test_truncated_equals_loop(length, taps):
    x, parameters, h = draw(length)
    c = coefficients(*parameters)
    expected, _ = naive_ema(x, *parameters, torch.zeros_like(h), truncation=taps)
    torch.testing.assert_close(ema_truncated(x, c, taps)[0], expected.float(), **SIZES)
    history, steps = None, []
    for part in x.split(3, dim=1):
        y, history = ema_truncated(part, c, taps, history)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, 1), expected.float(), **SIZES)


@pytest.mark.parametrize("taps", [1, 10, 100])
@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_truncated_forgets_slow_decays(taps, offset):
    """q = 1 - 1e-6, 1 - 1e-4 and 1 - 1e-2: what is older outweighs the last K inputs by far."""
    logits = torch.tensor([1e-6, 1e-4, 1e-2]).logit().view(3, 1)  # of the damping
    parameters = torch.full((3, 1), 30.0), logits, torch.ones(3, 1), torch.ones(3, 1)
    x = draw(3001)[0].detach() + offset
    expected, _ = naive_ema(x, *parameters, torch.zeros(2, 3, 1), truncation=taps)
    y, _ = ema_truncated(x, coefficients(*parameters), taps)
    error = (y - expected).abs().amax(1) / expected.abs().amax(1)
    assert error.max() < 1e-5


@given(length=st.integers(2, 200), cut=st.data())
@settings(max_examples=50, deadline=None)
def test_carried_equals_whole(length, cut):
    border = cut.draw(st.integers(1, length - 1))
    x, parameters, _ = draw(length)
    c = coefficients(*parameters)
    whole, last = ema_scan(x, c)
    first, h = ema_scan(x[:, :border], c)
    second, h = ema_scan(x[:, border:], c, h)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, **SIZES)
    torch.testing.assert_close(h, last, **SIZES)


@pytest.mark.parametrize("logit", [-30.0, 30.0])
def test_extreme_decay_is_finite(logit):
    x, (_, _, beta, eta), _ = draw(130)
    alpha = torch.full((3, 5), logit, requires_grad=True)
    delta = torch.full((3, 5), logit, requires_grad=True)
    y, _ = ema_scan(x, coefficients(alpha, delta, beta, eta))
    y.sum().backward()
    assert all(t.isfinite().all() for t in (y, alpha.grad, delta.grad, x.grad))


@pytest.mark.parametrize("length", LENGTHS + MANY)
@pytest.mark.parametrize("way", ["one block", "one block, both ways", "both ways"])
def test_without_state_equals_loop(length, way):
    x, parameters, h = draw(length)
    backward = [p.detach().flip(0).requires_grad_() for p in parameters]
    directions = [parameters, backward] if "both" in way else [parameters]
    if "block" in way:
        y = ema_block(x, *(coefficients(*p).kernel(length) for p in directions))
    else:
        y = ema_both_ways(x, *(coefficients(*p) for p in directions))
    expected = naive_ema(x, *parameters, torch.zeros_like(h))[0]
    if "both" in way:
        expected = expected + naive_ema(x.flip(1), *backward, torch.zeros_like(h))[0].flip(1)
    torch.testing.assert_close(y, expected.float(), **SIZES)
    leaves = [x, *(p for direction in directions for p in direction)]
    ours, theirs = (torch.autograd.grad(result.sin().sum(), leaves) for result in (y, expected))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)


def test_step_equals_loop():
    x, parameters, h = draw(1)
    y, last = ema_step(x, coefficients(*parameters), h)
    expected, expected_last = naive_ema(x, *parameters, h)
    torch.testing.assert_close(y, expected.float(), **SIZES)
    torch.testing.assert_close(last, expected_last.float(), **SIZES)


@pytest.mark.parametrize("length", [1, 7, BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("op", ["scan", "carried", "both ways", "block", "truncated", "step"])
def test_gradients_are_exact_in_float64(length, op):
    g = torch.Generator().manual_seed(length)
    x = torch.randn(1 if op == "step" else 2, length, 2, generator=g, dtype=torch.double, requires_grad=True)
    parameters = [torch.randn(2, 2, generator=g, dtype=torch.double, requires_grad=True) for _ in range(8)]
    h = torch.randn(2, 2, 2, generator=g, dtype=torch.double, requires_grad=True)

    def run(x, h, *parameters):
        one, two = coefficients(*parameters[:4]), coefficients(*parameters[4:])
        if op == "both ways":
            return ema_both_ways(x, one, two)
        if op == "block":
            return ema_block(x, one.kernel(length), two.kernel(length))
        if op == "truncated":
            return ema_truncated(x, one, 5)
        if op == "step":
            return ema_step(x[:, :1], one, h[:1])
        return ema_scan(x, one, h if op == "carried" else None)

    assert torch.autograd.gradcheck(run, (x, h, *parameters), fast_mode=length > BLOCK)


@pytest.mark.parametrize(
    "ema", [ema_scan, lambda x, c: ema_both_ways(x, c, c), lambda x, c: ema_truncated(x, c, 50)]
)
@pytest.mark.parametrize("frozen", ["x", "parameters"])
def test_what_is_frozen_needs_no_gradient(ema, frozen):
    x, parameters, _ = draw(2000)

    def gradients(x, parameters, leaves):
        y = ema(x, coefficients(*parameters))
        return torch.autograd.grad((y[0] if isinstance(y, tuple) else y).sin().sum(), leaves)

    whole = gradients(x, parameters, [x, *parameters])
    if frozen == "x":
        found, expected = gradients(x.detach(), parameters, parameters), whole[1:]
    else:
        found, expected = gradients(x, [p.detach() for p in parameters], [x]), whole[:1]
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)

"""The fast EMAs equal the loop: outputs, states and gradients, at awkward lengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.ema import naive_ema

from mega_fairseq.ops.ema import BLOCK, ema_block, ema_coefficients, ema_convolve, ema_kernel, ema_scan

LENGTHS = [1, 2, 31, BLOCK - 1, BLOCK, BLOCK + 1, 127, 3 * BLOCK, 211]
SIZES = {"rtol": 1e-4, "atol": 2e-5}


def draw(length, n=5, batch=2, dim=3):
    g = torch.Generator().manual_seed(length)
    parameters = [torch.randn(dim, n, generator=g, requires_grad=True) for _ in range(4)]
    x = torch.randn(batch, length, dim, generator=g, requires_grad=True)
    return x, parameters, torch.randn(batch, dim, n, generator=g, requires_grad=True)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("carried", [False, True])
def test_scan_equals_loop(length, carried):
    x, parameters, h = draw(length)
    start = h if carried else torch.zeros_like(h)
    alpha, delta, beta, eta = parameters
    y, last = ema_scan(x, *ema_coefficients(alpha, delta), beta, eta, h if carried else None)
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
    alpha, delta, beta, eta = parameters
    a, log_q = ema_coefficients(alpha, delta)
    kernel = ema_kernel(log_q, eta * a * beta / eta.size(-1) ** 0.5, taps)
    expected, _ = naive_ema(x, *parameters, torch.zeros_like(h), truncation=taps)
    torch.testing.assert_close(ema_convolve(x, kernel)[0], expected.float(), **SIZES)
    history, steps = None, []
    for part in x.split(3, dim=1):
        y, history = ema_convolve(part, kernel, history)
        steps.append(y)
    torch.testing.assert_close(torch.cat(steps, 1), expected.float(), **SIZES)


@given(length=st.integers(2, 200), cut=st.data())
@settings(max_examples=50, deadline=None)
def test_carried_equals_whole(length, cut):
    border = cut.draw(st.integers(1, length - 1))
    x, (alpha, delta, beta, eta), _ = draw(length)
    coefficients = ema_coefficients(alpha, delta)
    whole, last = ema_scan(x, *coefficients, beta, eta)
    first, h = ema_scan(x[:, :border], *coefficients, beta, eta)
    second, h = ema_scan(x[:, border:], *coefficients, beta, eta, h)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, **SIZES)
    torch.testing.assert_close(h, last, **SIZES)


@pytest.mark.parametrize("logit", [-30.0, 30.0])
def test_extreme_decay_is_finite(logit):
    x, (_, _, beta, eta), _ = draw(130)
    alpha = torch.full((3, 5), logit, requires_grad=True)
    delta = torch.full((3, 5), logit, requires_grad=True)
    y, _ = ema_scan(x, *ema_coefficients(alpha, delta), beta, eta)
    y.sum().backward()
    assert all(t.isfinite().all() for t in (y, alpha.grad, delta.grad, x.grad))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("both_ways", [False, True])
def test_block_equals_loop(length, both_ways):
    x, parameters, h = draw(length)
    backward = [p.detach().flip(0).requires_grad_() for p in parameters]
    directions = [parameters, backward] if both_ways else [parameters]

    def kernel(alpha, delta, beta, eta):
        a, log_q = ema_coefficients(alpha, delta)
        return ema_kernel(log_q, eta * a * beta / eta.size(-1) ** 0.5, length)

    y = ema_block(x, *(kernel(*p) for p in directions))
    expected = naive_ema(x, *parameters, torch.zeros_like(h))[0]
    if both_ways:
        expected = expected + naive_ema(x.flip(1), *backward, torch.zeros_like(h))[0].flip(1)
    torch.testing.assert_close(y, expected.float(), **SIZES)
    leaves = [x, *(p for direction in directions for p in direction)]
    ours, theirs = (torch.autograd.grad(result.sin().sum(), leaves) for result in (y, expected))
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-3, atol=1e-4)


def test_layout_has_second_derivatives():
    x = torch.randn(2, 5, 3, dtype=torch.double, requires_grad=True)
    kernel = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(ema_block, (x, kernel, kernel))
    assert torch.autograd.gradgradcheck(ema_block, (x, kernel, kernel))

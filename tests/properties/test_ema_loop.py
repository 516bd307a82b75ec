"""Every way to compute the EMA equals the loop: outputs, states and gradients, at lengths up to 300."""

import torch
from drawn import close, dtypes, normal, probe, seeds
from hypothesis import given
from hypothesis import strategies as st
from reference.ema import naive_ema

from mega_fairseq.ops.ema.block import ema_block
from mega_fairseq.ops.ema.coefficients import Coefficients, ema_coefficients
from mega_fairseq.ops.ema.scan import ema_both_ways, ema_scan
from mega_fairseq.ops.ema.step import ema_step
from mega_fairseq.ops.ema.truncated import ema_truncated

DIM = 2
lengths = st.integers(1, 300) | st.sampled_from([1, 63, 64, 65, 127, 128, 129, 256, 257])
sizes = {
    "length": lengths,
    "batch": st.integers(1, 3),
    "n": st.integers(1, 4),
    "seed": seeds,
    "dtype": dtypes,
}
spreads = st.sampled_from([0.2, 1.0, 4.0, 12.0])  # of the logits: decays down to 1e-6 and up to 1 - 1e-12


def draw(seed, spread, n, dtype):
    """alpha, delta, beta, eta (DIM, n) as leaves."""
    alpha, delta, beta, eta = (normal(DIM, n, seed=seed + i) for i in range(4))
    logits = [(spread * t).clamp(-14.0, 14.0) for t in (alpha, delta)]  # beyond them q counts as 6e-8
    return [t.to(dtype).requires_grad_() for t in (*logits, beta, eta)]


def inputs(batch, length, seed, dtype):
    return normal(batch, length, DIM, seed=seed + 4, dtype=dtype).requires_grad_()


def coefficients(alpha, delta, beta, eta):
    return Coefficients(*ema_coefficients(alpha, delta), beta, eta)


def agree(ours, loop, leaves):
    """Results (a list) and the gradients of a function of them; the loop runs in float64."""
    dtype = leaves[0].dtype
    for mine, theirs in zip(ours, loop, strict=True):
        close(mine, theirs.to(dtype))
    found, expected = (
        torch.autograd.grad(sum(map(probe, results)), leaves, retain_graph=True) for results in (ours, loop)
    )
    for name, mine, theirs in zip(("x", "alpha", "delta", "beta", "eta", "h"), found, expected, strict=False):
        close(mine, theirs, f"gradient of {name}")


@given(**sizes, spread=spreads, carried=st.booleans())
def test_scan(length, batch, n, seed, dtype, spread, carried):
    parameters, x = draw(seed, spread, n, dtype), inputs(batch, length, seed, dtype)
    h = normal(batch, DIM, n, seed=seed + 5, dtype=dtype).requires_grad_()
    start = h if carried else torch.zeros_like(h)
    ours = ema_scan(x, coefficients(*parameters), h if carried else None)
    agree(ours, naive_ema(x, *parameters, start), [x, *parameters, *([h] if carried else [])])


@given(**sizes, spread=spreads)
def test_steps(length, batch, n, seed, dtype, spread):
    length = min(length, 40)
    parameters, x = draw(seed, spread, n, dtype), inputs(batch, length, seed, dtype)
    first = normal(batch, DIM, n, seed=seed + 5, dtype=dtype).requires_grad_()
    c, h, ys = coefficients(*parameters), first, []
    for x_t in x.split(1, dim=1):
        y, h = ema_step(x_t, c, h)
        ys.append(y)
    agree([torch.cat(ys, 1), h], naive_ema(x, *parameters, first), [x, *parameters, first])


@given(**sizes, spread=spreads, block=st.booleans())
def test_one_way_and_both_ways_without_state(length, batch, n, seed, dtype, spread, block):
    forward, backward = draw(seed, spread, n, dtype), draw(seed + 10, spread, n, dtype)
    x, zeros = inputs(batch, length, seed, dtype), torch.zeros(batch, DIM, n)
    one, two = coefficients(*forward), coefficients(*backward)
    there, _ = naive_ema(x, *forward, zeros)
    back, _ = naive_ema(x.flip(1), *backward, zeros)
    if block:
        agree([ema_block(x, one.kernel(length))], [there], [x, *forward])
        y = ema_block(x, one.kernel(length), two.kernel(length))
    else:
        y = ema_both_ways(x, one, two)
    agree([y], [there + back.flip(1)], [x, *forward, *backward])


@given(**sizes, spread=spreads, taps=st.integers(1, 90), cut=st.integers(0, 299))
def test_truncated(length, batch, n, seed, dtype, spread, taps, cut):
    parameters, x = draw(seed, spread, n, dtype), inputs(batch, length, seed, dtype)
    c, border = coefficients(*parameters), min(cut, length)
    expected, _ = naive_ema(x, *parameters, torch.zeros(batch, DIM, n), truncation=taps)
    ys, history = [], None
    for part in (x[:, :border], x[:, border:]):
        if part.size(1):
            y, history = ema_truncated(part, c, taps, history)
            ys.append(y)
    agree([torch.cat(ys, 1)], [expected], [x, *parameters])
    assert history.equal(x[:, max(0, length - taps + 1) :])

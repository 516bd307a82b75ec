"""How far the float32 EMA is from a float64 loop over 65,536 inputs with decays down to 1 - 1e-6.

    OMP_NUM_THREADS=1 .venv/bin/python tests/campaigns/numbers/ema.py

Truth is the recurrence in float64 from the same float32 parameters. Errors, the largest and the root mean
square, are relative to the largest true value. Writes ema.json beside this file.
"""

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from mega_fairseq.ops.ema.block import ema_block
from mega_fairseq.ops.ema.coefficients import Coefficients, ema_coefficients
from mega_fairseq.ops.ema.scan import ema_both_ways, ema_scan
from mega_fairseq.ops.ema.step import ema_step
from mega_fairseq.ops.ema.truncated import ema_truncated

HERE = Path(__file__).parent
SEED, LENGTH, STEPS, SEGMENT, TAPS, D, N = 1, 65536, 2000, 5000, 1000, 4, 16
LIMIT = 1e-5
DAMPINGS = {  # 1 - q of the N dimensions
    "all 1e-6": torch.full((N,), 1e-6),
    "1e-6 to 0.5": torch.logspace(-6, -0.3, N),
}
INPUTS = {
    "noise": lambda g: torch.randn(1, LENGTH, D, generator=g),
    "noise around 1": lambda g: 1.0 + torch.randn(1, LENGTH, D, generator=g),
}


def draw_parameters(damping, g):
    """float32 alpha, delta, beta, eta (D, N) with sigmoid(alpha) sigmoid(delta) = damping."""
    gate = damping.double().sqrt().expand(D, N)
    alpha = torch.logit(gate).float()
    beta = torch.randn(D, N, generator=g) * 0.02 + torch.tensor([1.0, -1.0]).repeat(N // 2)
    return alpha, alpha.clone(), beta, torch.randn(D, N, generator=g)


def loop(x, alpha, delta, beta, eta, h):
    """y (B, L, D) and h after every input (L, B, D, N), in float64."""
    x, alpha, delta, beta, eta, h = (t.double() for t in (x, alpha, delta, beta, eta, h))
    a = torch.sigmoid(alpha)
    q, gain, readout = 1.0 - a * torch.sigmoid(delta), a * beta, eta / eta.size(-1) ** 0.5
    ys, last = [], h
    for x_t in x.unbind(1):
        last = q * last + gain * x_t.unsqueeze(-1)
        ys.append((readout * last).sum(-1))
    return torch.stack(ys, 1), last


def coefficients(parameters):
    alpha, delta, beta, eta = parameters
    return Coefficients(*ema_coefficients(alpha, delta), beta, eta)


def keeps(parameters):
    """q^TAPS, (D, N) in float64."""
    alpha, delta, *_ = (t.double() for t in parameters)
    return (1.0 - torch.sigmoid(alpha) * torch.sigmoid(delta)) ** TAPS


def by_steps(x, c, h):
    ys = []
    for x_t in x.split(1, dim=1):
        y, h = ema_step(x_t, c, h)
        ys.append(y)
    return torch.cat(ys, 1), h


def by_segments(x, c, h):
    ys = []
    for part in x.split(SEGMENT, dim=1):
        y, h = ema_scan(part, c, h)
        ys.append(y)
    return torch.cat(ys, 1), h


def error(ours, truth):
    difference, scale = (ours.double() - truth).abs(), truth.abs().max()
    return {
        "largest": float(difference.max() / scale),
        "rms": float(difference.square().mean().sqrt() / scale),
    }


def measure(damping, inputs, g):
    """Errors by name for one kind of decay and one kind of input."""
    parameters, backward = draw_parameters(damping, g), draw_parameters(damping, g)
    x, zeros = inputs(g), torch.zeros(1, D, N)
    truth, last = loop(x, *parameters, zeros)
    reverse = loop(x.flip(1), *backward, zeros)[0].flip(1)
    carried = last.float()  # as large a state as these inputs make
    after, after_last = loop(x, *parameters, carried)
    first, first_last = loop(x[:, :STEPS], *parameters, carried)
    c = coefficients(parameters)
    found = {}
    y, h = ema_scan(x, c)
    found["ema_scan"], found["ema_scan, state"] = error(y, truth), error(h, last)
    y, h = ema_scan(x, c, carried)
    found["ema_scan, h carried"], found["ema_scan, h carried, state"] = error(y, after), error(h, after_last)
    y, h = by_segments(x, c, carried)
    found[f"ema_scan in segments of {SEGMENT}"] = error(y, after)
    found[f"ema_scan in segments of {SEGMENT}, state"] = error(h, after_last)
    y = ema_both_ways(x, c, coefficients(backward))
    found["ema_both_ways"] = error(y, truth + reverse)
    y, h = by_steps(x[:, :STEPS], c, zeros)
    found[f"{STEPS} ema_step"] = error(y, truth[:, :STEPS])
    y, h = by_steps(x[:, :STEPS], c, carried)
    found[f"{STEPS} ema_step, h carried"] = error(y, first)
    found[f"{STEPS} ema_step, h carried, state"] = error(h, first_last)
    short = x[:, :STEPS]
    older = loop(
        F.pad(x[:, :-TAPS], (0, 0, TAPS, 0)), *parameters[:3], parameters[3] * keeps(parameters), zeros
    )
    found[f"ema_truncated to {TAPS}"] = error(ema_truncated(x, c, TAPS)[0], truth - older[0])
    found[f"ema_block of {STEPS}"] = error(ema_block(short, c.kernel(STEPS)), truth[:, :STEPS])
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "ema.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start, errors = time.monotonic(), {}
    for decay, damping in DAMPINGS.items():
        for kind, inputs in INPUTS.items():
            found = measure(damping, inputs, torch.Generator().manual_seed(SEED))
            errors[f"1 - q {decay}, {kind}"] = found
            for name, values in found.items():
                mark = " TOO LARGE" if values["largest"] > LIMIT else ""
                print(f"{decay:12} {kind:15} {name:40} {values['largest']:.1e} {values['rms']:.1e}{mark}")
    largest = max(values["largest"] for found in errors.values() for values in found.values())
    result = {
        "seed": SEED,
        "length": LENGTH,
        "channels": D,
        "ndim": N,
        "torch": torch.__version__,
        "limit": LIMIT,
        "largest": largest,
        "passed": largest <= LIMIT,
        "seconds": round(time.monotonic() - start, 1),
        "errors": errors,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()

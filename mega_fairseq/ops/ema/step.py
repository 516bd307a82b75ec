"""One input: the recurrence itself, which a decoding step takes."""

import torch
from torch import Tensor

from mega_fairseq.ops.ema.coefficients import Coefficients


def ema_step(x: Tensor, c: Coefficients, h: Tensor) -> tuple[Tensor, Tensor]:
    """`ema_scan` of one input, x (B, 1, D), after state h (B, D, N)."""
    h = h + torch.addcmul(c.gain * x.transpose(1, 2), c.damping, h, value=-1)  # the change first: it is small
    y = (h * c.readout).sum(-1).unsqueeze(1)
    return (y if c.omega is None else torch.addcmul(y, c.omega, x)), h

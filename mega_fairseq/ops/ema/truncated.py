"""The EMA of the last K inputs only, in float32 or float64: beyond a block, the difference of two scans."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mega_fairseq.ops.ema.block import ema_block
from mega_fairseq.ops.ema.coefficients import BLOCK, Coefficients
from mega_fairseq.ops.ema.rows import merge, split
from mega_fairseq.ops.ema.scan import ema_scan


def ema_truncated(
    x: Tensor, c: Coefficients, taps: int, history: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The EMA of the last K = taps inputs: y_t = sum_{s < K} k_s x_{t-s} with the taps k of the kernel.

    x: (B, L, D) float32; history: the inputs before x, (B, <K, D), or None.
    Returns y (B, L, D) and the last K-1 inputs.
    """
    joined = x if history is None else torch.cat([history, x], dim=1)
    if x.size(1) == 1:  # one decoding step: a dot product with the reversed kernel
        window = joined[:, -min(taps, joined.size(1)) :]
        kernel = c.kernel(window.size(1)).flip(-1)
        y = torch.einsum("bkd,dk->bd", window, kernel).unsqueeze(1)
    else:
        y = _less_what_is_older(joined, c, taps)[:, joined.size(1) - x.size(1) :]
    return y, joined[:, max(0, joined.size(1) - taps + 1) :]


def _less_what_is_older(x: Tensor, c: Coefficients, taps: int) -> Tensor:
    """The whole EMA of x less what it owes to inputs older than K = taps, q^K h_{t-K}: a second scan.

    (A Fourier transform would be rounded and let later inputs through.) Slow decays of a long x would leave a
    small difference of large sums, so x is cut into rows that begin anew, each with K inputs before its own.
    """
    batch, length, _ = x.shape
    new = max(4 * taps, BLOCK)
    if length > taps + new:
        own = split(x, new)  # (B, rows, new, D)
        before = F.pad(own[:, :-1, new - taps :], (0, 0, 0, 0, 1, 0))
        y = _less_what_is_older(torch.cat([before, own], dim=2).flatten(0, 1), c, taps)
        return merge(y[:, taps:].unflatten(0, (batch, -1)), length)
    if taps < length <= 2 * BLOCK and taps <= BLOCK // 4:
        return ema_block(x, c.kernel(length, taps))
    y, _ = ema_scan(x, c)
    if length <= taps:
        return y
    older = c._replace(eta=-c.eta * torch.exp(taps * c.log_q), omega=None)
    return y + F.pad(ema_scan(x[:, :-taps], older)[0], (0, 0, taps, 0))

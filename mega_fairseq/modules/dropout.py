"""Dropout of elements or of whole channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.ops.pieces import as_at_first, once


class Dropout(nn.Module):
    """Zeroes elements with probability p; with `feature` whole channels of (B, L, D), one mask for all L.

    apply_during_inference: drop when evaluating as well (Monte Carlo dropout). On a CPU p is rounded to a
    multiple of 1 / 65536. Raises ValueError unless p lies in [0, 1].
    """

    def __init__(self, p: float, feature: bool = False):
        nn.Module.__init__(self)  # of a subclass of fairseq's dropout as well, whose arguments are others
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"the probability of dropout must lie in [0, 1]; got {p}")
        self.p, self.feature, self.apply_during_inference = p, feature, False

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L, width)."""
        p = as_at_first(self.p if self.training or self.apply_during_inference else 0.0)
        if p == 0.0:
            return x
        if self.feature:
            return x * once(lambda: _dropout(x.new_ones(x.size(0), 1, x.size(-1)), p))
        return _dropout(x, p)

    def extra_repr(self) -> str:
        return f"p={self.p}, feature={self.feature}"


def _dropout(x: Tensor, p: float) -> Tensor:
    """F.dropout, on a CPU faster: four elements share 64 random bits, and the mask takes a byte each."""
    if not x.is_cpu:
        return F.dropout(x, p)
    dropped = round(p * 2**16)
    if dropped == 2**16:
        return x * 0.0
    words = torch.empty(x.numel() // 4 + 1, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return (x * keep).mul_(2**16 / (2**16 - dropped))

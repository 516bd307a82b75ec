"""Dropout of elements or of whole channels."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zeroes elements with probability p; with `feature` whole channels of (B, L, D), one mask for all L.

    On a CPU p is rounded to a multiple of 1 / 65536. Raises ValueError unless p lies in [0, 1].
    """

    def __init__(self, p: float, feature: bool = False):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"the probability of dropout must lie in [0, 1]; got {p}")
        self.p, self.feature = p, feature

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.feature:
            return x * self._channels(x, x.size(-1))
        return _cpu_dropout(x, self.p) if x.is_cpu else F.dropout(x, self.p)

    def of(self, sequence: Tensor, width: int) -> Callable[[Tensor], Tensor]:
        """This dropout for pieces (B, l, width) of a sequence (B, L, .): of channels, the same in each."""
        if not self.training or self.p == 0.0 or not self.feature:
            return self
        channels = self._channels(sequence, width)
        return lambda x: x * channels

    def _channels(self, x: Tensor, width: int) -> Tensor:
        ones = x.new_ones(x.size(0), 1, width)
        return _cpu_dropout(ones, self.p) if x.is_cpu else F.dropout(ones, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, feature={self.feature}"


def _cpu_dropout(x: Tensor, p: float) -> Tensor:
    """F.dropout, but faster: four elements share 64 random bits, and the mask takes a byte each."""
    dropped = round(p * 2**16)
    if dropped == 2**16:
        return x * 0.0
    words = torch.empty(x.numel() // 4 + 1, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return (x * keep).mul_(2**16 / (2**16 - dropped))

"""Dropout of elements or of whole channels."""

import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zeroes elements with probability p; with `feature` whole channels of (B, L, D), one mask for all L."""

    def __init__(self, p: float, feature: bool = False):
        super().__init__()
        self.p, self.feature = p, feature

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.feature:
            return x * F.dropout(x.new_ones(x.size(0), 1, x.size(-1)), self.p)
        return F.dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}, feature={self.feature}"

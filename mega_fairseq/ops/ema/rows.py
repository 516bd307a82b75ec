"""Cut sequences into rows of one size, which a truncated EMA runs side by side, and join them again."""

import torch.nn.functional as F
from torch import Tensor


def split(x: Tensor, size: int) -> Tensor:
    """(B, L, width) -> (B, M, size, width), the last chunk padded with zeros."""
    if short := -x.size(1) % size:
        x = F.pad(x, (0, 0, 0, short))
    return x.unflatten(1, (-1, size))


def merge(chunks: Tensor, length: int) -> Tensor:
    """(B, M, size, width) -> (B, length, width), without the padding."""
    return chunks.flatten(1, 2)[:, :length]

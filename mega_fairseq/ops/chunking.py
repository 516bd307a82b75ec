"""Cut sequences into chunks and put them together again."""

import torch
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


def right_align(tokens: Tensor, pad: int) -> tuple[Tensor, Tensor | None]:
    """Move leading padding behind each row: ((B, L) tokens, (B,) numbers of leading pads, or None for none).

    Positions, chunks and biases then count real tokens only, so a row does not depend on its batch.
    """
    leading = tokens.ne(pad).int().argmax(dim=1)
    if not bool(leading.any()):
        return tokens, None
    return tokens.gather(1, rotation(leading, tokens.size(1))), leading


def rotation(shift: Tensor, length: int) -> Tensor:
    """Column numbers (B, length) that rotate row b to the left by shift[b]; a negative shift to the right."""
    return (torch.arange(length, device=shift.device) + shift.unsqueeze(1)) % length

"""Padding behind each sequence, wherever the batch has it."""

from typing import NamedTuple

import torch
from torch import Tensor


class Turn(NamedTuple):
    """How far the rows of a batch are turned to the left so that their padding lies behind them.

    Positions, chunks and biases then count real tokens only, so a row does not depend on its batch.
    leading: (B,) pads before each row; None where no row has any.
    """

    leading: Tensor | None = None

    @classmethod
    def of(cls, padding: Tensor) -> "Turn":
        """padding: (B, L), True = padded."""
        leading = padding.logical_not().int().argmax(dim=1)
        return cls(leading if bool(leading.any()) else None)

    def apply(self, x: Tensor) -> Tensor:
        """x: (B, L) or (B, L, width)."""
        return x if self.leading is None else _turned(x, self.leading)

    def undo(self, x: Tensor) -> Tensor:
        """The inverse of `apply`."""
        return x if self.leading is None else _turned(x, -self.leading)

    def undo_columns(self, weights: Tensor) -> Tensor:
        """(B, rows, L) whose last dimension was turned."""
        return weights if self.leading is None else self.undo(weights.transpose(1, 2)).transpose(1, 2)


def padding_behind(mask: Tensor) -> tuple[Tensor | None, Turn]:
    """mask (B, L), True = padded, with the padding behind each row, None without any; and the turn to it."""
    if not bool(mask.any()):
        return None, Turn()
    turn = Turn.of(mask)
    return turn.apply(mask), turn


def _turned(x: Tensor, shift: Tensor) -> Tensor:
    """Row b of (B, L, ...) turned to the left by shift[b], or by -shift[b] to the right."""
    batch, length = x.shape[:2]
    column = (torch.arange(length, device=x.device) + shift.unsqueeze(1)) % length
    start = length * torch.arange(batch, device=x.device).unsqueeze(1)
    return x.flatten(0, 1).index_select(0, (start + column).flatten()).unflatten(0, (batch, length))

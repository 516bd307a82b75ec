"""What survives a decoding step or a segment border: typed states, batch at dim 0."""

from typing import NamedTuple

import torch
from torch import Tensor

LEAST_ROOM = 64  # positions


class EMAState(NamedTuple):
    """Memory of a causal EMA.

    memory: the hidden state h (B, D, N) float32, or, for a truncated EMA, its last K-1 inputs (B, <K, D);
    None at the start of a sequence.
    """

    memory: Tensor | None = None

    def reorder(self, order: Tensor) -> "EMAState":
        return self if self.memory is None else EMAState(self.memory.index_select(0, order))

    def detach(self) -> "EMAState":
        return self if self.memory is None else EMAState(self.memory.detach())


class CarriedEMA:
    """The EMA's memory of every layer after a block, for the block that continues it in training.

    A plain object: it passes through fairseq's and torch's wrappers of a model without being copied.
    """

    def __init__(self) -> None:
        self.layers: list[EMAState] | None = None


class Moves(NamedTuple):
    """The keys and values that a reorder changes, each (n): of `row`, which gets those of `source`."""

    row: Tensor
    source: Tensor
    position: Tensor

    @classmethod
    def of(cls, order: Tensor, before: Tensor, after: Tensor) -> "Moves":
        """What is to be done where the origins (B, t) of keys and values are not what they were."""
        row, position = after.ne(before).nonzero(as_tuple=True)
        return cls(row, order[row], position)


class _Room:
    """Storage for keys (B, T, Z) and values (B, T, width); the first `filled` positions are taken."""

    def __init__(self, key: Tensor, value: Tensor, positions: int):
        """Begins with a copy of the keys and values given."""
        self.key, self.value = (t.new_empty(t.size(0), positions, t.size(2)) for t in (key, value))
        self.filled = key.size(1)
        self.key[:, : self.filled], self.value[:, : self.filled] = key, value

    def move(self, moves: Moves) -> None:
        for tensor in (self.key, self.value):
            entries, positions = tensor.flatten(0, 1), tensor.size(1)
            moved = entries.index_select(0, moves.source * positions + moves.position)
            entries.index_copy_(0, moves.row * positions + moves.position, moved)

    def state(self, filled: int) -> "AttentionState":
        self.filled = filled
        return AttentionState(self.key[:, :filled], self.value[:, :filled], self)


class AttentionState(NamedTuple):
    """Keys (B, T, Z) and values (B, T, width) of the running chunk, or of the whole source."""

    key: Tensor
    value: Tensor
    room: _Room | None = None

    @property
    def length(self) -> int:
        return self.key.size(1)

    def append(self, key: Tensor, value: Tensor) -> "AttentionState":
        """With the keys and values that follow; this state stays valid until a reorder().

        Where no gradient is needed they are written behind the others, into room that doubles when it is used
        up; a state that was continued before is copied, so that it may be continued twice.
        """
        if not self.key.size(1):
            return AttentionState(key, value)
        if torch.is_grad_enabled():
            return AttentionState(torch.cat([self.key, key], 1), torch.cat([self.value, value], 1))
        length, total, room = self.key.size(1), self.key.size(1) + key.size(1), self.room
        if room is None or room.filled != length or total > room.key.size(1):
            room = _Room(self.key, self.value, max(2 * total, LEAST_ROOM))
        room.key[:, length:total], room.value[:, length:total] = key, value
        return room.state(total)

    def reorder(self, order: Tensor, moves: Moves | None = None) -> "AttentionState":
        """Rows in a new order.

        moves: what that changes, where as many rows go on and it is known; done in place then.
        """
        room, length = self.room, self.key.size(1)
        writable = self.value.is_inference() <= torch.is_inference_mode_enabled()
        if moves is not None and room is not None and room.filled == length and writable:
            room.move(moves)
            return self
        key, value = self.key.index_select(0, order), self.value.index_select(0, order)
        if room is None:
            return AttentionState(key, value)
        return _Room(key, value, room.key.size(1)).state(length)


class LayerState(NamedTuple):
    """State of one layer after `position` tokens; an absent part is None. LayerState() starts a sequence."""

    position: int = 0
    ema: EMAState = EMAState()
    attention: AttentionState | None = None
    cross: AttentionState | None = None

    def reorder(self, order: Tensor, same_source: bool = False, moves: Moves | None = None) -> "LayerState":
        """Rows of the batch in a new order (a LongTensor of row numbers).

        same_source: each row keeps its source; moves: as for AttentionState.
        """
        attention = self.attention and self.attention.reorder(order, moves)
        cross = self.cross if same_source else self.cross and self.cross.reorder(order)
        return LayerState(self.position, self.ema.reorder(order), attention, cross)

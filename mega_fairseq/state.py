"""What survives a decoding step or a segment border: typed states, batch at dim 0."""

from typing import NamedTuple

import torch
from torch import Tensor


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


class _Room:
    """Storage for keys (B, T, Z) and values (B, T, width); the first `filled` positions are taken."""

    def __init__(self, key: Tensor, value: Tensor, rows: int, positions: int):
        self.key, self.value = (t.new_empty(rows, positions, t.size(2)) for t in (key, value))
        self.filled = 0

    def fits(self, state: "AttentionState", rows: int) -> bool:
        """Whether so many rows of a state, and what it has room for, may be written here."""
        assert state.room is not None
        shape = rows, *state.room.value.shape[1:]
        other = self.value.is_inference() and not torch.is_inference_mode_enabled()  # nobody may write there
        return self.value.shape == shape and self.value.dtype == state.value.dtype and not other

    def state(self, filled: int) -> "AttentionState":
        self.filled = filled
        return AttentionState(self.key[:, :filled], self.value[:, :filled], self)


class AttentionState(NamedTuple):
    """Keys (B, T, Z) and values (B, T, width) of the running chunk, or of the whole source."""

    key: Tensor
    value: Tensor
    room: _Room | None = None

    def append(self, key: Tensor, value: Tensor) -> "AttentionState":
        """With the keys and values that follow; this state stays valid until a reorder() takes its room.

        Where no gradient is needed they are written behind the others, into room that doubles when it is used
        up; a state that was continued before is copied, so that it may be continued twice.
        """
        if not self.key.size(1):
            return AttentionState(key, value)
        if torch.is_grad_enabled():
            return AttentionState(torch.cat([self.key, key], 1), torch.cat([self.value, value], 1))
        length, total, room = self.key.size(1), self.key.size(1) + key.size(1), self.room
        if room is None or room.filled != length or total > room.key.size(1):
            room = _Room(key, value, key.size(0), 2 * total)
            room.key[:, :length], room.value[:, :length] = self.key, self.value
        room.key[:, length:total], room.value[:, length:total] = key, value
        return room.state(total)

    def reorder(self, order: Tensor, scratch: "AttentionState | None" = None) -> "AttentionState":
        """Rows in a new order.

        scratch: a state that nobody reads again; its room, where it fits, takes the rows.
        """
        if self.room is None:
            return AttentionState(self.key.index_select(0, order), self.value.index_select(0, order))
        room = scratch and scratch.room
        if room is None or room is self.room or not room.fits(self, len(order)):
            room = _Room(self.key, self.value, len(order), self.room.key.size(1))
        state = room.state(self.key.size(1))
        torch.index_select(self.key, 0, order, out=state.key)  # once, not a second time into the room
        torch.index_select(self.value, 0, order, out=state.value)
        return state


class LayerState(NamedTuple):
    """State of one layer after `position` tokens; an absent part is None. LayerState() starts a sequence."""

    position: int = 0
    ema: EMAState = EMAState()
    attention: AttentionState | None = None
    cross: AttentionState | None = None

    def reorder(
        self, order: Tensor, same_source: bool = False, scratch: AttentionState | None = None
    ) -> "LayerState":
        """Rows of the batch in a new order (a LongTensor of row numbers).

        same_source: each row keeps its source; scratch: as for AttentionState.
        """
        return LayerState(
            self.position,
            self.ema.reorder(order),
            self.attention and self.attention.reorder(order, scratch),
            self.cross if same_source else self.cross and self.cross.reorder(order),
        )

"""What survives a decoding step or a segment border: typed states, batch at dim 0."""

from typing import NamedTuple

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


class AttentionState(NamedTuple):
    """Keys (B, T, Z) and values (B, T, width) of the running chunk, or of the whole source."""

    key: Tensor
    value: Tensor

    def reorder(self, order: Tensor) -> "AttentionState":
        return AttentionState(self.key.index_select(0, order), self.value.index_select(0, order))


class LayerState(NamedTuple):
    """State of one layer after `position` tokens; an absent part is None. LayerState() starts a sequence."""

    position: int = 0
    ema: EMAState = EMAState()
    attention: AttentionState | None = None
    cross: AttentionState | None = None

    def reorder(self, order: Tensor) -> "LayerState":
        """Rows of the batch in a new order (a LongTensor of row numbers)."""
        return LayerState(
            self.position,
            self.ema.reorder(order),
            self.attention and self.attention.reorder(order),
            self.cross and self.cross.reorder(order),
        )

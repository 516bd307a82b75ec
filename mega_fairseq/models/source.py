"""The encoder's output: as fairseq hands it on, and as the decoder reads it."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from mega_fairseq.ops.padding import Turn, padding_behind

BATCH_DIM = {"encoder_out": 1, "encoder_states": 1}  # (L, B, D) at fairseq's border; batch first elsewhere


class EncoderOut(dict[str, list[Tensor]]):
    """fairseq's dictionary of lists, which knows whose each row is until somebody writes into it.

    sentences: (B,) numbers; rows of one number hold the same.
    """

    def __init__(self, tensors: Mapping[str, list[Tensor]], sentences: Tensor):
        super().__init__(tensors)
        self._sentences, self._tensors = sentences, [t for found in tensors.values() for t in found]
        inference = any(t.is_inference() for t in self._tensors)  # nobody counts what is written there
        self._versions = [] if inference else [t._version for t in self._tensors]

    def sentences(self) -> Tensor | None:
        """None where a tensor was exchanged or written into: its rows may be anything."""
        now = [t for found in self.values() for t in found]
        same = len(now) == len(self._versions) and all(map(_is, now, self._tensors))
        return self._sentences if same and [t._version for t in now] == self._versions else None


def _is(one: Tensor, other: Tensor) -> bool:
    return one is other


def sentences(encoder_out: Mapping[str, list[Tensor]] | None) -> Tensor | None:
    """Which rows hold the same, where that is known."""
    return encoder_out.sentences() if isinstance(encoder_out, EncoderOut) else None


def reordered_source(encoder_out: Mapping[str, list[Tensor]], order: Tensor) -> Mapping[str, list[Tensor]]:
    """Rows in a new order; the same tensors where beams of one sentence change places."""
    before = sentences(encoder_out)
    if before is not None and len(order) == len(before) and before[order].equal(before):
        return encoder_out
    tensors = {
        name: [tensor.index_select(BATCH_DIM.get(name, 0), order) for tensor in found]
        for name, found in encoder_out.items()
    }
    return tensors if before is None else EncoderOut(tensors, before[order])


class Source(NamedTuple):
    """x (B, S, D), padding (B, S) or None, and how rows were turned so that the padding lies behind each."""

    x: Tensor
    padding: Tensor | None
    turn: Turn

    @classmethod
    def of(cls, encoder_out: Mapping[str, list[Tensor]] | None, known: bool = False) -> "Source | None":
        """From fairseq's dictionary, of which only encoder_out and encoder_padding_mask are read.

        known: x will not be read, for its keys and values are already; it is left as it is.
        """
        if not encoder_out or not encoder_out["encoder_out"]:
            return None
        x = encoder_out["encoder_out"][0].transpose(0, 1)
        padding = next(iter(encoder_out.get("encoder_padding_mask") or ()), None)
        if padding is None:
            return cls(x, None, Turn())
        padding, turn = padding_behind(padding)
        return cls(x if known else turn.apply(x), padding, turn)

    def as_padded(self, weights: Tensor) -> Tensor:
        """Attention (B, L, S) to the source as the batch has it; contiguous, for criteria view it."""
        return self.turn.undo_columns(weights).contiguous()

"""What a decoder has read before the tokens that it is given, and where that is remembered."""

from collections.abc import Mapping
from typing import Any

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor

from mega_fairseq.models.beams import number_of_rows, reordered_states
from mega_fairseq.models.source import sentences
from mega_fairseq.state import CarriedEMA, EMAState, LayerState

GivenSource = Mapping[str, list[Tensor]] | None


class History:
    """Nothing came before, and nothing is remembered: a whole text.

    states: what came before in each layer, or None; padded: the tokens may be, on either side.
    """

    states: list[LayerState] | None = None
    padded = True

    def unread(self, tokens: Tensor) -> Tensor:
        """Those of tokens (B, L) that follow what was read."""
        return tokens

    def knows_source(self) -> bool:
        """Whether the layers hold the keys and values of the source."""
        return False

    def remember(self, states: list[LayerState], encoder_out: GivenSource) -> None:
        """What is there to know after the tokens: every layer's state, and whose sentences the rows are."""


class Continued(History):
    """Training: the EMA's memory of the block that the tokens continue (`--carry-state`)."""

    def __init__(self, carried: CarriedEMA, layers: int):
        self.carried = carried
        self.states = [LayerState(ema=ema) for ema in carried.layers or [EMAState()] * layers]

    def remember(self, states: list[LayerState], encoder_out: GivenSource) -> None:
        self.carried.layers = [state.ema.detach() for state in states]


class Incremental(History):
    """Generation: fairseq's incremental_state, in which a decoder keeps the states of its layers."""

    padded = False  # finished hypotheses are, and nobody reads them

    def __init__(self, decoder: FairseqIncrementalDecoder, incremental_state: dict[str, Any], layers: int):
        self.decoder, self.stored = decoder, incremental_state
        self.states = self._get("layers") or [LayerState()] * layers

    def _get(self, name: str) -> Any:
        return self.decoder.get_incremental_state(self.stored, name)

    def _set(self, name: str, value: Any) -> None:
        self.decoder.set_incremental_state(self.stored, name, value)

    def unread(self, tokens: Tensor) -> Tensor:
        """Raises ValueError where there are none."""
        position = self.states[0].position
        if tokens.size(1) <= position:
            raise ValueError(
                f"prev_output_tokens must hold the {position} tokens that this incremental_state has "
                f"seen, and those that follow; got {tokens.size(1)}"
            )
        return tokens[:, position:]

    def knows_source(self) -> bool:
        return self.states[0].cross is not None

    def remember(self, states: list[LayerState], encoder_out: GivenSource) -> None:
        self._set("layers", states)
        self._set("sentences", sentences(encoder_out))

    def reorder(self, order: Tensor) -> None:
        """Rows in the order that beam search chose; copies of the states from before it are void."""
        states = self._get("layers")
        if not states or torch.equal(order, torch.arange(number_of_rows(states), device=order.device)):
            return
        before = self._get("sentences")
        same_source = before is not None and torch.equal(before[order], before)
        if before is not None:
            self._set("sentences", before[order])
        states, origins = reordered_states(states, order, self._get("origins"), same_source)
        self._set("layers", states)
        self._set("origins", origins)

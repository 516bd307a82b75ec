"""The order of rows in beam search: what moves in the states of a decoder, and what stays."""

from typing import NamedTuple

import torch
from torch import Tensor

from mega_fairseq.state import LayerState, Moves


class Origins(NamedTuple):
    """Which row computed each position of the running chunk.

    begun: the position of the chunk's first token; rows: (B, t).
    """

    begun: int
    rows: Tensor


def number_of_rows(states: list[LayerState]) -> int:
    """Hypotheses: the batch of a decoder's states after its first step."""
    memory = states[0].ema.memory
    assert memory is not None
    return memory.size(0)


def reordered_states(
    states: list[LayerState], order: Tensor, origins: Origins | None, same_source: bool
) -> tuple[list[LayerState], Origins | None]:
    """Every layer's state with its rows in a new order, and where its keys and values come from then.

    The beams of a sentence agree on all but their last words: keys and values move where they differ.
    """
    moves, origins = _moves(states, order, origins)
    return [state.reorder(order, same_source, moves) for state in states], origins


def _moves(
    states: list[LayerState], order: Tensor, before: Origins | None
) -> tuple[Moves | None, Origins | None]:
    """What an order changes in the keys and values, None for all."""
    rows, position, cache = number_of_rows(states), states[0].position, states[0].attention
    if cache is None:
        return None, None
    begun = position - cache.key.size(1)  # where the running chunk does
    known = order.new_empty(rows, 0) if before is None else before.rows[:, begun - before.begun :]
    own = torch.arange(rows, device=order.device).unsqueeze(1)
    now = torch.cat([known, own.expand(-1, position - begun - known.size(1))], 1)
    moved = now[order]
    return Moves.of(order, now, moved) if len(order) == rows else None, Origins(begun, moved)

"""Long texts in segments that hand on their states, where no gradient is needed."""

import itertools
from typing import Any

import torch
from torch import Tensor

from mega_fairseq.modules.stack import MegaStack, StackOutput
from mega_fairseq.state import LayerState

SEGMENT = 2048  # tokens


def segment_of(chunk_size: int) -> int:
    """Tokens of a segment: whole chunks."""
    chunk = max(chunk_size, 1)
    return max(chunk, SEGMENT // chunk * chunk)


def in_segments(
    stack: MegaStack,
    x: Tensor,
    padding: Tensor | None,
    states: list[LayerState | None] | None,
    segment: int,
    **rest: Any,
) -> StackOutput:
    """stack(x, padding, states, **rest); a longer x (B, L, D) segment by segment, where it evaluates."""
    if x.size(1) <= segment or torch.is_grad_enabled() or stack.training:
        return stack(x, padding, states, **rest)
    states = states or [LayerState()] * len(stack.layers)
    masks = itertools.repeat(None) if padding is None else padding.split(segment, 1)
    parts = []
    for part, mask in zip(x.split(segment, 1), masks, strict=False):
        out = stack(part, mask, states, **rest)
        states = out.states
        parts.append(out._replace(states=[]))  # which the next segment has taken over
    weights = None if parts[0].weights is None else torch.cat([p.weights for p in parts], 1)
    hiddens = [torch.cat(h, 1) for h in zip(*(p.hiddens for p in parts), strict=True)]
    return StackOutput(torch.cat([p.x for p in parts], 1), states, weights, hiddens)


def score_in_segments(decoder: Any, tokens: Tensor, target: Tensor, positions: int) -> Tensor:
    """log p(target) (B, L) float32 of texts (B, L), padded behind, by a MegaDecoder.

    positions: how many of them have their scores for the whole vocabulary held at once.
    """
    state: dict[str, Any] = {}
    scores, end = [], 0
    for part in target.split(decoder.segment, 1):
        end += part.size(1)
        features, _ = decoder.extract_features(tokens[:, :end], incremental_state=state, keep_hiddens=False)
        scores.append(decoder.target_log_probs(features, part, positions))
    return torch.cat(scores, 1)

"""Attention weights: softmax, squared ReLU and Laplace, over permitted keys only (Mega, section 3)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mega_fairseq.ops.precision import at_least_float32

LAPLACE_MU = math.sqrt(0.5)
LAPLACE_SIGMA = math.sqrt(0.25 / math.pi)
PARTS = 8


class Permitted(NamedTuple):
    """Which keys a query may attend to.

    forbidden: boolean, True = may not, broadcastable to (..., rows, columns), None where all may; number: n,
    how many keys are permitted, at least 1, which softmax does without; every_row: each query has one.
    """

    forbidden: Tensor | None
    number: Tensor
    every_row: bool = False


def causal_keys(rows: int, columns: int, device: torch.device) -> Permitted:
    """No later key; the last query sees all. Padding lies behind every real query, out of its sight."""
    number = torch.arange(columns - rows + 1, columns + 1, device=device).unsqueeze(-1)
    return Permitted(causal_mask(rows, columns, device) if rows > 1 else None, number, every_row=True)


def unpadded_keys(columns: int, padding: Tensor | None, device: torch.device) -> Permitted:
    """All keys but padded ones. padding: (..., columns), True = padded, or None."""
    if padding is None:
        return Permitted(None, torch.tensor(columns, device=device))
    return Permitted(padding.unsqueeze(-2), (columns - padding.sum(-1)).clamp(min=1)[..., None, None])


def causal_mask(rows: int, columns: int, device: torch.device) -> Tensor:
    """True where a key lies in the future of a query; the last query sees all keys. (rows, columns)."""
    offset = columns - rows
    query = torch.arange(offset, columns, device=device).unsqueeze(1)
    return torch.arange(columns, device=device).unsqueeze(0) > query


def attention_weights(
    function: str, query: Tensor, key: Tensor, bias: Tensor, permitted: Permitted
) -> Tensor:
    """A = f(Q, K, bias): (..., rows, columns), 0 for forbidden keys and for queries without any.

    query: (..., rows, Z); key: (..., columns, Z); bias: (rows, columns).
    The product is scaled before, so that it stays within float16; what follows is computed in float32 at
    least, and returned in the query's dtype.
    """
    forbidden, number, every_row = permitted
    divisor = query.size(-1) ** 0.5 if function == "softmax" else number
    scaled = (at_least_float32(query) / divisor).type_as(query)
    bias = at_least_float32(bias)
    if function == "softmax" and forbidden is not None:
        bias = bias.masked_fill(forbidden, torch.finfo(bias.dtype).min / 2)  # the sum with a score is finite
    scores = at_least_float32(scaled @ key.transpose(-1, -2)).add_(bias)
    if function == "softmax":
        weights = torch.softmax(scores, dim=-1)
    else:
        weights = _squared_relu(scores) if function == "relu2" else _laplace(scores)
    if forbidden is not None and not (every_row and function == "softmax"):
        weights = weights.masked_fill(forbidden, 0.0)
    return weights.type_as(query)


def weighted_sum(weights: Tensor, value: Tensor) -> Tensor:
    """A V: weights (..., rows, columns), value (..., columns, width), to (..., rows, width).

    A lone query's values are summed in PARTS, so that all threads read them and not one.
    """
    part = value.size(-2) // PARTS
    if weights.shape[:-1].numel() != 1 or value.shape[:-2].numel() != 1 or part < 32:
        return weights @ value
    whole = part * PARTS
    parts = weights[..., :whole].reshape(PARTS, 1, part) @ value.flatten(0, -2)[:whole].unflatten(
        0, (PARTS, part)
    )
    return weights[..., whole:] @ value[..., whole:, :] + parts.sum(0)


def _squared_relu(scores: Tensor) -> Tensor:
    return torch.relu(scores).square()


def _laplace(scores: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf((scores - LAPLACE_MU) / (LAPLACE_SIGMA * math.sqrt(2.0))))

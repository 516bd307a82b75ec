"""Long sequences in pieces of time, for whatever does not look beyond a chunk.

A piece's tensors stay in the cache and are used again by the next piece, where those of a whole sequence
would be mapped anew at each use; and what takes much memory for its time is not kept for the backward pass,
but computed again.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CPU_TOKENS, GPU_TOKENS = 2048, 65536  # of a piece; a GPU wants few large operations

Call = Callable[..., Any]


def plain(function: Callable[..., Any], *inputs: Any, then: Any = None) -> Any:
    """function(*inputs), or then(function(*inputs))."""
    result = function(*inputs)
    return result if then is None else then(result)


def recomputed(function: Callable[..., Any], *inputs: Any, then: Any = None) -> Any:
    """The same, but the backward pass computes function again, and nothing of then that can be avoided."""
    if hasattr(then, "of"):  # modules.linear.Product
        return then.of(function, *inputs)
    return checkpoint(lambda *x: plain(function, *x, then=then), *inputs, use_reentrant=False)


def _tokens(x: Tensor) -> int:
    return GPU_TOKENS if x.is_cuda else CPU_TOKENS


def how_to_call(x: Tensor) -> Call:
    """`recomputed` where x (B, L, .) has more tokens than a piece, else `plain`."""
    long = x.size(0) * x.size(1) > _tokens(x)
    return recomputed if long and torch.is_grad_enabled() else plain


def pieces(tensors: Sequence[Tensor | None], chunk: int = 1, begun: int = 0) -> Iterator[tuple[Any, ...]]:
    """Cut tensors (B, L, ...) along L: to the end of the chunk begun, by whole chunks, and what is left.

    chunk: positions, or -1 for one chunk without an end; begun: how many positions of a chunk lie before.
    """
    first = tensors[0]
    assert first is not None
    batch, length = first.shape[:2]
    if chunk < 0 or begun + length <= chunk:
        yield tuple(tensors)
        return
    head = chunk - begun if begun else 0
    size = max(1, _tokens(first) // max(1, batch * chunk)) * chunk
    whole = length - (length - head) % chunk
    borders = [0, *range(head, whole, size), whole, length]
    sizes = [end - start for start, end in itertools.pairwise(borders) if start < end]
    cut: list[Sequence[Any]] = [[None] * len(sizes) if t is None else t.split(sizes, dim=1) for t in tensors]
    yield from zip(*cut, strict=True)


def join(parts: Sequence[Tensor]) -> Tensor:
    """The pieces (B, l, .) of a result as one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)

"""Long sequences in pieces of time, for whatever does not look beyond a chunk: less memory, the same results.

A piece's tensors stay in the cache and are used again by the next piece, where those of a whole sequence
would be mapped anew at each use. Where a gradient is needed, a piece keeps its inputs and the products named
in `kept`; the rest is computed again by the backward pass. `in_one_go()` does without all of it.

A chunk that was begun before, and one that is left unfinished, are pieces of their own in any case.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

CPU_TOKENS, GPU_TOKENS = 2048, 65536  # of a piece; a GPU wants few large operations
PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # of builds for CPUs with oneDNN
    PRODUCTS.add(torch.ops.mkldnn._linear_pointwise.default)

_whole: ContextVar[bool] = ContextVar("whole", default=False)
_current: ContextVar["_Run | None"] = ContextVar("current", default=None)


def pieces(tensors: Sequence[Tensor | None], chunk: int = 1, begun: int = 0) -> Iterator["Piece"]:
    """Cut tensors (B, L, ...) along L: to the end of the chunk begun, by whole chunks, and what is left.

    chunk: positions, or -1 for one chunk without an end; begun: how many positions of a chunk lie before.
    """
    x = tensors[0]
    assert x is not None
    recompute = _is_long(x) and torch.is_grad_enabled()
    sizes = _sizes(x, chunk, begun)
    if len(sizes) == 1:
        yield Piece(tensors, None, first=True, recompute=recompute)
        return
    drawn: list[Tensor] = []
    cut: list[Sequence[Any]] = [[None] * len(sizes) if t is None else t.split(sizes, dim=1) for t in tensors]
    for i, piece in enumerate(zip(*cut, strict=True)):
        yield Piece(piece, drawn, first=i == 0, recompute=recompute)


class Piece:
    """Tensors (B, l, ...) of one piece, each of them or None; called with what computes on them.

    drawn: what `once` has drawn for the sequence, None where this is all of it.
    """

    def __init__(self, tensors: Sequence[Any], drawn: list[Tensor] | None, *, first: bool, recompute: bool):
        self.tensors, self.drawn, self.first, self.recompute = tuple(tensors), drawn, first, recompute

    def __call__(self, function: Callable[..., Any], *more: Any) -> Any:
        """function(*tensors, *more)."""
        if self.drawn is None and not self.recompute:
            return function(*self.tensors, *more)
        return self._run(function, *more)

    @torch._disable_dynamo  # torch.compiler.disable imports dynamo at once, which takes a second
    def _run(self, function: Callable[..., Any], *more: Any) -> Any:
        tape, drawn = _Tape() if self.recompute else None, [] if self.drawn is None else self.drawn
        first = self.first  # what is kept for the backward pass must not hold the tensors

        def run(*inputs: Any) -> Any:
            token = _current.set(_Run(tape, drawn, first, itertools.count()))
            try:
                with contextlib.nullcontext() if tape is None else tape.running():
                    return function(*inputs)
            finally:
                _current.reset(token)

        if tape is None:
            return run(*self.tensors, *more)
        result = checkpoint(run, *self.tensors, *more, use_reentrant=False)
        tape.save()
        return result


def join(parts: Sequence[Tensor]) -> Tensor:
    """The pieces (B, l, .) of a result as one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def kept(function: Callable[..., Tensor], *inputs: Any, needed: bool = True) -> Tensor:
    """function(*inputs), whose matrix products the backward pass does not compute again.

    needed: what follows needs their values for its gradients, so they are kept; otherwise they are NaN there.
    """
    run = _get(_current)
    if run is None or run.tape is None:
        return function(*inputs)
    with _Taped(run.tape, needed):
        return function(*inputs)


def once(draw: Callable[[], Tensor]) -> Tensor:
    """draw(), one result for all pieces of a sequence."""
    run = _get(_current)
    if run is None:
        return draw()
    number = next(run.draws)
    if not run.first:
        return run.drawn[number]
    drawn = draw()  # again the same when it is computed again, for its random numbers are
    if number == len(run.drawn):
        run.drawn.append(drawn)
    return drawn


def as_at_first(value: Any) -> Any:
    """value, which the backward pass sees as it was: a setting that may have changed since."""
    run = _get(_current)
    return value if run is None or run.tape is None else run.tape.entry(lambda: value)


@contextmanager
def in_one_go() -> Iterator[None]:
    """Inside, all whole chunks are one piece, and nothing is computed again: the plain equations."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def _get(variable: ContextVar[Any]) -> Any:
    """Its value; a compiled graph has no context, and holds no piece of a longer sequence."""
    return None if torch.compiler.is_compiling() else variable.get()


def _tokens(x: Tensor) -> int:
    return GPU_TOKENS if x.is_cuda else CPU_TOKENS


def _is_long(x: Tensor) -> bool:
    return not _get(_whole) and x.size(0) * x.size(1) > _tokens(x)


def _sizes(x: Tensor, chunk: int, begun: int) -> list[int]:
    """Positions of each piece of x (B, L, ...)."""
    batch, length = x.shape[:2]
    if chunk < 0 or begun + length <= chunk:
        return [length]
    head = chunk - begun if begun else 0
    size = length if _get(_whole) else max(1, _tokens(x) // max(1, batch * chunk)) * chunk
    whole = length - (length - head) % chunk
    borders = [0, *range(head, whole, size), whole, length]
    return [end - start for start, end in itertools.pairwise(borders) if start < end]


class _Tape:
    """What the first computation of a piece leaves for the next ones, in order.

    Its tensors are saved as autograd saves them, for whom hooks and checkpoints around may care.
    """

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.number = -1
        self.saver: Tensor | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, entries come from the first one on."""
        self.number = -1
        if self.saver is None:
            yield
            return
        saved = iter(self.saver.grad_fn.saved_tensors)  # type: ignore[union-attr]
        places = self.entries
        self.entries = [next(saved) if place is _Saver else place for place in places]
        try:
            yield
        finally:
            self.entries = places

    def entry(self, make: Callable[[], Any]) -> Any:
        """make() in the first computation, and what it returned in the others."""
        self.number += 1
        if self.number == len(self.entries):
            self.entries.append(make())
        return self.entries[self.number]

    def save(self) -> None:
        """Hand the tensors to autograd, after the first computation."""
        tensors = [entry for entry in self.entries if torch.is_tensor(entry)]
        self.entries = [_Saver if torch.is_tensor(entry) else entry for entry in self.entries]
        self.saver = _Saver.apply(torch.empty(0, requires_grad=True), *tensors)


class _Saver(torch.autograd.Function):
    """A node that saves its inputs, and that no backward pass meets."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return output.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        raise AssertionError("what is saved for a piece is no part of its graph")


class _Run(NamedTuple):
    """One computation of a piece. tape: None where nothing is computed again."""

    tape: _Tape | None
    drawn: list[Tensor]
    first: bool
    draws: Iterator[int]


class _Taped(TorchDispatchMode):
    """Each matrix product inside comes from the tape."""

    def __init__(self, tape: _Tape, needed: bool):
        super().__init__()
        self.tape, self.needed = tape, needed

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation not in PRODUCTS:
            return operation(*args, **(kwargs or {}))
        computed = None

        def compute() -> Tensor:
            nonlocal computed
            computed = operation(*args, **(kwargs or {}))
            return computed.detach() if self.needed else computed.new_full((), nan).expand(computed.shape)

        known: Tensor = self.tape.entry(compute)
        return known.detach() if computed is None else computed

"""x W^T + b of large float32 matrices on a CPU by oneDNN, which is faster there than torch's own choice."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LARGE = 2**18  # elements of W; below, the call costs more than it gains (benchmarks/linear.py)
PACKED_ROWS = 64  # of x that a packed weight is meant for; it does for any number


class Packed(NamedTuple):
    """A weight's numbers in the order in which oneDNN reads them, the weight, and its version then.

    What writes through `.data` does not change the version.
    """

    weight: Tensor
    source: Tensor
    version: int

    def is_of(self, weight: Tensor) -> bool:
        """Whether it is still a copy of that weight."""
        same = weight.data_ptr() == self.source.data_ptr() and weight.dtype == self.source.dtype
        return same and not weight.is_inference() and weight._version == self.version

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and saved as None: torch can do neither with the packed numbers."""
        return _nothing, ()


def _nothing() -> None:
    return None


def pack(weight: Tensor) -> Packed | None:
    """Spares `linear` from reordering weight (O, I) at each call; None where it would not use it."""
    if weight.is_inference() or not _suits_onednn(weight, weight, None):
        return None
    source = weight.detach()
    return Packed(torch.ops.mkldnn._reorder_linear_weight(source, PACKED_ROWS), source, weight._version)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, packed: Packed | None = None) -> Tensor:
    """F.linear: x (..., I), weight (O, I), bias (O) or None, to (..., O).

    packed: of this weight, for where no gradient is needed.
    """
    if not _suits_onednn(x, weight, bias):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)
    return _onednn(x, packed.weight if packed else weight, bias)


def _suits_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        weight.numel() >= LARGE
        and x.is_cpu
        and x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and (bias is None or bias.dtype == torch.float32)
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and not torch.is_autocast_enabled("cpu")
    )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What torch.compile makes of F.linear. x and weight may be strided; it would ignore a bias's strides."""
    bias = bias if bias is None else bias.contiguous()
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Of x, weight and bias, where needed."""
    rows = gradient.reshape(-1, gradient.size(-1))
    with torch.autocast("cpu", enabled=False):  # for who calls backward() inside of it
        return (
            linear(gradient, weight.t()) if needed[0] else None,
            rows.t() @ x.reshape(-1, x.size(-1)) if needed[1] else None,
            rows.sum(0) if needed[2] else None,
        )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return _gradients(gradient, x, weight, ctx.needs_input_grad)

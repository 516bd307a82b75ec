"""Activation functions by name (config.ACTIVATIONS)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _linear(x: Tensor) -> Tensor:
    return x


def _gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh, fairseq's gelu_fast and gelu_accurate."""
    return F.gelu(x, approximate="tanh")


ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_fast": _gelu_tanh,
    "gelu_accurate": _gelu_tanh,
    "tanh": torch.tanh,
    "linear": _linear,
}

"""Activation functions by name (config.ACTIVATIONS)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _linear(x: Tensor) -> Tensor:
    return x


ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "linear": _linear,
}

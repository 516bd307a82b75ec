"""Relative position biases: Toeplitz matrices from a learned table or from rotated vectors."""

from typing import Any

import torch
from torch import Tensor, nn

from mega_fairseq.ops.precision import at_least_float32
from mega_fairseq.ops.toeplitz import toeplitz


class SimpleBias(nn.Module):
    """bias(i, j) = weight[M - 1 + j - i] from a table of 2M - 1 values.

    Raises ValueError, naming `flag`, beyond M positions.
    """

    def __init__(self, max_positions: int, flag: str):
        super().__init__()
        self.max_positions, self.flag = max_positions, flag
        self.weight = nn.Parameter(torch.empty(2 * max_positions - 1))
        nn.init.normal_(self.weight, std=0.02)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        values = state_dict.get(prefix + "weight")
        if values is not None and values.shape != self.weight.shape:
            raise ValueError(
                f"the checkpoint's simple position bias holds {(len(values) + 1) // 2} positions, this "
                f"model's {self.max_positions}; leave {self.flag} as it was in training; only "
                "--rel-pos-bias rotary can change it"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, rows: int, columns: int, offset: int = 0) -> Tensor:
        """(rows, columns) for queries at offset, offset + 1, ... and keys at 0, 1, ..."""
        needed = max(offset + rows, columns)
        if needed > self.max_positions:
            raise ValueError(
                f"a simple position bias of {self.max_positions} positions got a sequence of {needed}: "
                f"raise {self.flag} (a new model), or use --rel-pos-bias rotary, which has no limit"
            )
        first = self.max_positions - offset - rows
        return toeplitz(self.weight[first : first + rows + columns - 1], rows, columns)


class RotaryBias(nn.Module):
    """bias(i, j) = (R_i a) . (R_j b), R rotating the pairs (k, k + Z/2); depends on j - i only.

    a and b are `alpha` and `beta`, which have nothing to do with the EMA's.
    """

    def __init__(self, zdim: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(zdim))
        self.beta = nn.Parameter(torch.empty(zdim))
        nn.init.normal_(self.alpha, std=0.02)
        nn.init.normal_(self.beta, std=0.02)

    def forward(self, rows: int, columns: int, offset: int = 0) -> Tensor:
        """(rows, columns) for queries at offset, offset + 1, ... and keys at 0, 1, ..."""
        (a1, a2), (b1, b2) = (at_least_float32(p).chunk(2) for p in (self.alpha, self.beta))
        half = a1.numel()
        frequency = 10000.0 ** (-torch.arange(half, device=a1.device, dtype=a1.dtype) / half)
        distance = torch.arange(1 - offset - rows, columns - offset, device=a1.device)
        angle = distance.unsqueeze(1) * frequency  # (rows + columns - 1, Z/2)
        values = angle.cos() @ (a1 * b1 + a2 * b2) + angle.sin() @ (a2 * b1 - a1 * b2)
        return toeplitz(values, rows, columns)


def build_bias(kind: str, *, zdim: int, max_positions: int, flag: str) -> SimpleBias | RotaryBias:
    """The bias called `kind` (config.BIASES); `flag` sets max_positions and is named in errors."""
    return SimpleBias(max_positions, flag) if kind == "simple" else RotaryBias(zdim)

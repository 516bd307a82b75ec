"""A short sequence, or a block of a longer one: one Toeplitz product per channel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mega_fairseq.ops.toeplitz import toeplitz


def ema_block(x: Tensor, kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """The EMA of a short sequence that starts from zero, as one Toeplitz product per channel.

    x: (B, L, D) float32; kernel: (D, L) taps of the EMA from left to right; backward_kernel: (D, L) taps of
    a second one from right to left, added. Returns (B, L, D).
    """
    batch, length, _ = x.shape
    return channels_last(channels_first(x, length) @ toeplitz_matrix(kernel, backward_kernel), batch, length)


def toeplitz_matrix(kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """What x (B, T) of each channel is multiplied by, (D, T, T), from taps (D, T)."""
    length = kernel.size(-1)
    taps = F.pad(kernel, (length - 1, 0))
    if backward_kernel is not None:
        taps = taps + F.pad(backward_kernel.flip(-1), (0, length - 1))
    return toeplitz(taps, length, length)


def channels_first(x: Tensor, block: int) -> Tensor:
    """(B, L, D) -> (D, B M, T), padded with zeros behind."""
    if short := -x.size(1) % block:
        x = F.pad(x, (0, 0, 0, short))
    return _Transposed.apply(x.flatten(0, 1)).view(x.size(2), -1, block)


def channels_last(y: Tensor, batch: int, length: int) -> Tensor:
    """(D, B M, T) -> (B, L, D), without the padding."""
    return _Transposed.apply(y.flatten(1)).view(batch, -1, y.size(0))[:, :length]


class _Transposed(torch.autograd.Function):
    """(R, C) -> (C, R), contiguous in the forward and in the backward pass.

    torch copies a transposed matrix by tiles, a permuted tensor of three dimensions element by element, and
    multiplies batches with no stride of 1 one by one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.t().contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Transposed.apply(gradient)

"""A long sequence: blocks side by side, and a scan over the states between them."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mega_fairseq.ops.ema.block import channels_first, channels_last, toeplitz_matrix
from mega_fairseq.ops.ema.coefficients import BLOCK, Coefficients, decay_powers


def ema_scan(x: Tensor, c: Coefficients, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """h_t = q h_{t-1} + a beta x_t, y_t = sum_n eta_n h_{t,n} / sqrt(N) + omega x_t (Mega, section 3.1).

    x: (B, L, D) float32; h: (B, D, N) state before x, or None for zeros.
    Returns y (B, L, D) and the state after x (B, D, N).
    """
    batch, length, _ = x.shape
    size = min(length, BLOCK)
    flat, block = channels_first(x, size), _block(c, size)
    y, added = _TwoProducts.apply(flat, toeplitz_matrix(c.kernel(size)), block.into)
    border = _add_states(y, added, block, batch, h)[:, :, -1]  # (D, B, N)
    rest = (length - 1) % size + 1  # inputs of the last block
    last = flat.unflatten(1, (batch, -1))[:, :, -1, :rest] @ block.into[:, size - rest :]
    after = torch.addcmul(last, torch.exp(rest * c.log_q).unsqueeze(1), border)
    return channels_last(y, batch, length), after.transpose(0, 1)


def ema_both_ways(x: Tensor, forward: Coefficients, backward: Coefficients) -> Tensor:
    """The sum of the EMA from left to right and of one from right to left; t = s counts in both.

    x: (B, L, D) float32. Returns (B, L, D).
    """
    batch, length, _ = x.shape
    size = min(length, BLOCK)
    flat, left, right = channels_first(x, size), _block(forward, size), _block(backward, size, reverse=True)
    matrix = toeplitz_matrix(forward.kernel(size), backward.kernel(size))
    y, added = _TwoProducts.apply(flat, matrix, torch.cat([left.into, right.into], dim=-1))
    for block, part in zip((left, right), added.chunk(2, dim=-1), strict=True):
        _add_states(y, part, block, batch)
    return channels_last(y, batch, length)


class _Block(NamedTuple):
    """What a block of T inputs does to a state, and a state to the block; (D, T, N) and (D, N, T).

    log_decay: of a state over a block, (D, N); reverse: from right to left.
    """

    into: Tensor
    out: Tensor
    log_decay: Tensor
    reverse: bool


def _block(c: Coefficients, size: int, reverse: bool = False) -> _Block:
    log_q = c.log_q
    powers = decay_powers(log_q, size + 1)
    into, out = powers[:, :, :-1] * c.gain.unsqueeze(-1), powers[:, :, 1:] * c.readout.unsqueeze(-1)
    into, out = (into, out.flip(-1)) if reverse else (into.flip(-1), out)
    return _Block(into.transpose(1, 2), out, size * log_q, reverse)


def _add_states(y: Tensor, added: Tensor, block: _Block, batch: int, h: Tensor | None = None) -> Tensor:
    """Add to the blocks y (D, B M, T) what they owe to the state before them; returns it, (D, B, M, N).

    added: (D, B M, N), by each block; h: (B, D, N) before the first block.
    """
    added = added.unflatten(1, (batch, -1))
    added = added.flip(2) if block.reverse else added
    states = _States.apply(added, block.log_decay, None if h is None else h.transpose(0, 1))
    states = states.flip(2) if block.reverse else states
    y.baddbmm_(states.flatten(1, 2), block.out)
    return states


def _running(added: Tensor, log_decay: Tensor, first: Tensor | None) -> Tensor:
    """h_0 = first (D, B, N) or 0, h_m = exp(log_decay) h_{m-1} + added_{m-1}: all M of them, (D, B, M, N).

    Groups of sqrt(M) are run side by side, then the groups' last ones, which are spread over the next group.
    A state loses (1 - decay) h: a decay near 1 would round, and M times.
    """
    dim, batch, blocks, n = added.shape
    group = math.isqrt(blocks - 1) + 1
    rows = -(-blocks // group)
    h = added.new_zeros(dim, batch, rows, group, n)
    flat = h.flatten(2, 3)
    flat[:, :, 1:blocks] = added[:, :, :-1]
    if first is not None:
        flat[:, :, 0] = first
    steps = torch.arange(1, group + 1, device=h.device).unsqueeze(-1)
    loss = torch.expm1(steps * log_decay[:, None, None, None])  # (D, 1, 1, group, N)
    for i in range(1, group):
        before = h[:, :, :, i - 1]
        h[:, :, :, i].add_(before).addcmul_(loss[:, :, :, 0], before)
    for row in range(1, rows):
        before = h[:, :, row - 1, -1]
        h[:, :, row, -1].add_(before).addcmul_(loss[:, :, 0, -1], before)
    if rows > 1:
        before = h[:, :, :-1, -1:]
        h[:, :, 1:, :-1].add_(before).addcmul_(loss[:, :, :, :-1], before)
    return flat[:, :, :blocks]


class _States(torch.autograd.Function):
    """`_running`, whose gradient is itself in reversed time."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, log_decay: Tensor, first: Tensor | None) -> Tensor:
        states = _running(added, log_decay, first)
        ctx.save_for_backward(log_decay, states)
        ctx.carried = first is not None
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        log_decay, states = ctx.saved_tensors
        decay = log_decay.exp()
        added = _running(gradient.flip(2), log_decay, None).flip(2)
        first = None
        if ctx.carried:
            first = torch.addcmul(gradient[:, :, 0], decay.unsqueeze(1), added[:, :, 0])
        return added, decay * (added * states).sum((1, 2)), first


class _TwoProducts(torch.autograd.Function):
    """x (D, R, T) times two matrices of each channel, (D, T, T) and (D, T, N).

    The two gradients of x are summed as they are computed, not in a tensor each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, first, second)
        return x @ first, x @ second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, *matrices = ctx.saved_tensors
        of_x = None
        with torch.autocast(x.device.type, enabled=False):  # for who calls backward() inside of it
            if ctx.needs_input_grad[0]:
                of_x = gradients[0] @ matrices[0].transpose(1, 2)
                of_x.baddbmm_(gradients[1], matrices[1].transpose(1, 2))
            return of_x, *(x.transpose(1, 2) @ gradient for gradient in gradients)

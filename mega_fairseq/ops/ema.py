"""The damped multi-dimension exponential moving average (Mega, equations 2-4), in float32 or float64.

Inside a block of inputs the EMA is one Toeplitz product per channel, and a short sequence is one block. A
long one is a scan over blocks, between which only the (D, N) states travel. No tensor of size D x N x L is
built.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mega_fairseq.ops.precision import at_least_float32
from mega_fairseq.ops.toeplitz import toeplitz

BLOCK = 64
# The largest damping below 1 in float32 keeps log(q) finite where a * d rounds to 1.
MAX_DAMPING = 1.0 - 2.0**-24


def ema_coefficients(alpha: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input gate a = sigmoid(alpha) and damping 1 - q = a * sigmoid(delta) (Mega, eq. 2).

    alpha, delta: (D, N) logits of any dtype. Both results are (D, N), float32 at least; the damping keeps
    slow decays exact, where q itself would round.
    """
    a = torch.sigmoid(at_least_float32(alpha))
    return a, a * torch.sigmoid(at_least_float32(delta))


def log_decay(damping: Tensor) -> Tensor:
    """log(q), finite where q would round to 0."""
    return torch.log1p(-damping.clamp(max=MAX_DAMPING))


def decay_powers(log_q: Tensor, length: int) -> Tensor:
    """q^0 .. q^(length-1): (D, N, length)."""
    return torch.exp(log_q.unsqueeze(-1) * torch.arange(length, device=log_q.device))


def ema_kernel(log_q: Tensor, weight: Tensor, length: int) -> Tensor:
    """Taps k[d, t] = sum_n weight[d, n] q[d, n]^t: (D, length), from the factors q^(iC) q^j.

    weight: (D, N), the product eta * a * beta / sqrt(N).
    """
    width = min(length, BLOCK)
    rows = -(-length // width)
    coarse = torch.exp(log_q.unsqueeze(-1) * (torch.arange(rows, device=log_q.device) * width))
    kernel = (weight.unsqueeze(-1) * coarse).transpose(1, 2) @ decay_powers(log_q, width)
    return kernel.flatten(1)[:, :length]


class Coefficients(NamedTuple):
    """a, 1 - q, beta and eta of an EMA in one direction, each (D, N), float32 at least.

    omega: weights (D) of the input itself, added to the output, or None.
    """

    a: Tensor
    damping: Tensor
    beta: Tensor
    eta: Tensor
    omega: Tensor | None = None

    @property
    def log_q(self) -> Tensor:
        return log_decay(self.damping)

    @property
    def gain(self) -> Tensor:
        """What an input adds to the state."""
        return self.a * self.beta

    @property
    def readout(self) -> Tensor:
        """The state's weights in the output."""
        return self.eta / self.eta.size(-1) ** 0.5

    def kernel(self, length: int, truncation: int | None = None) -> Tensor:
        """Taps k[d, t] = sum_n readout gain q^t, and omega more at t = 0: (D, length).

        truncation: how many of them may differ from 0.
        """
        known = min(length, truncation or length)
        taps = F.pad(ema_kernel(self.log_q, self.readout * self.gain, known), (0, length - known))
        return taps if self.omega is None else taps + F.pad(self.omega.unsqueeze(-1), (0, length - 1))


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


def _channels_first(x: Tensor, block: int) -> Tensor:
    """(B, L, D) -> (D, B M, T), padded with zeros behind."""
    if short := -x.size(1) % block:
        x = F.pad(x, (0, 0, 0, short))
    return _Transposed.apply(x.flatten(0, 1)).view(x.size(2), -1, block)


def _channels_last(y: Tensor, batch: int, length: int) -> Tensor:
    """(D, B M, T) -> (B, L, D), without the padding."""
    return _Transposed.apply(y.flatten(1)).view(batch, -1, y.size(0))[:, :length]


def ema_block(x: Tensor, kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """The EMA of a short sequence that starts from zero, as one Toeplitz product per channel.

    x: (B, L, D) float32; kernel: (D, L) taps of the EMA from left to right; backward_kernel: (D, L) taps of
    a second one from right to left, added. Returns (B, L, D).
    """
    batch, length, _ = x.shape
    return _channels_last(_channels_first(x, length) @ _matrix(kernel, backward_kernel), batch, length)


def _matrix(kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """What x (B, T) of each channel is multiplied by, (D, T, T), from taps (D, T)."""
    length = kernel.size(-1)
    taps = F.pad(kernel, (length - 1, 0))
    if backward_kernel is not None:
        taps = taps + F.pad(backward_kernel.flip(-1), (0, length - 1))
    return toeplitz(taps, length, length)


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


class _Products(torch.autograd.Function):
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


def ema_scan(x: Tensor, c: Coefficients, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """h_t = q h_{t-1} + a beta x_t, y_t = sum_n eta_n h_{t,n} / sqrt(N) + omega x_t (Mega, eq. 2).

    x: (B, L, D) float32; h: (B, D, N) state before x, or None for zeros.
    Returns y (B, L, D) and the state after x (B, D, N).
    """
    batch, length, _ = x.shape
    size = min(length, BLOCK)
    flat, block = _channels_first(x, size), _block(c, size)
    y, added = _Products.apply(flat, _matrix(c.kernel(size)), block.into)
    border = _add_states(y, added, block, batch, h)[:, :, -1]  # (D, B, N)
    rest = (length - 1) % size + 1  # inputs of the last block
    last = flat.unflatten(1, (batch, -1))[:, :, -1, :rest] @ block.into[:, size - rest :]
    after = torch.addcmul(last, torch.exp(rest * c.log_q).unsqueeze(1), border)
    return _channels_last(y, batch, length), after.transpose(0, 1)


def ema_both_ways(x: Tensor, forward: Coefficients, backward: Coefficients) -> Tensor:
    """The sum of the EMA from left to right and of one from right to left; t = s counts in both.

    x: (B, L, D) float32. Returns (B, L, D).
    """
    batch, length, _ = x.shape
    size = min(length, BLOCK)
    flat, left, right = _channels_first(x, size), _block(forward, size), _block(backward, size, reverse=True)
    matrix = _matrix(forward.kernel(size), backward.kernel(size))
    y, added = _Products.apply(flat, matrix, torch.cat([left.into, right.into], dim=-1))
    for block, part in zip((left, right), added.chunk(2, dim=-1), strict=True):
        _add_states(y, part, block, batch)
    return _channels_last(y, batch, length)


def ema_step(x: Tensor, c: Coefficients, h: Tensor) -> tuple[Tensor, Tensor]:
    """`ema_scan` of one input, x (B, 1, D), after state h (B, D, N)."""
    h = h + torch.addcmul(c.gain * x.transpose(1, 2), c.damping, h, value=-1)  # the change first: it is small
    y = (h * c.readout).sum(-1).unsqueeze(1)
    return (y if c.omega is None else torch.addcmul(y, c.omega, x)), h

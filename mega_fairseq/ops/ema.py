"""The damped multi-dimension exponential moving average (Mega, equations 2-4), in float32 or float64.

Inside a block of inputs the EMA is one Toeplitz product per channel, and a short sequence is one block. A
long one is a scan over blocks, between which only the (D, N) states travel, by doubling. A truncated EMA is
a convolution with the first K taps of the kernel. No tensor of size D x N x L is built.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mega_fairseq.ops.precision import at_least_float32
from mega_fairseq.ops.toeplitz import toeplitz

BLOCK = 64
# The largest damping below 1 in float32 keeps log(q) finite where a * d rounds to 1.
MAX_DAMPING = 1.0 - 2.0**-24


def ema_coefficients(alpha: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input gate a = sigmoid(alpha) and log(q), q = 1 - a * sigmoid(delta) (Mega, eq. 2).

    alpha, delta: (D, N) logits of any dtype. Both results are (D, N), float32 at least; the logarithm
    keeps slow decays exact, where q itself would round.
    """
    a = torch.sigmoid(at_least_float32(alpha))
    damping = a * torch.sigmoid(at_least_float32(delta))
    return a, torch.log1p(-damping.clamp(max=MAX_DAMPING))


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


class _Transposed(torch.autograd.Function):
    """permute(order), contiguous in the forward and in the backward pass.

    A batched matrix product with a stride other than 1 in both of its last dimensions falls back to copying
    one matrix after the other, which takes longer than the product.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: tuple[int, int, int]) -> Tensor:
        ctx.order = order
        return x.permute(order).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        back = (ctx.order.index(0), ctx.order.index(1), ctx.order.index(2))
        return _Transposed.apply(gradient, back), None


def _channels_first(x: Tensor) -> Tensor:
    """(B, L, D) -> (D, B, L)."""
    return _Transposed.apply(x, (2, 0, 1))


def _channels_last(x: Tensor) -> Tensor:
    """(D, B, L) -> (B, L, D)."""
    return _Transposed.apply(x, (1, 2, 0))


def ema_block(x: Tensor, kernel: Tensor, backward_kernel: Tensor | None = None) -> Tensor:
    """The EMA of a short sequence that starts from zero, as one Toeplitz product per channel.

    x: (B, L, D) float32; kernel: (D, L) taps of the EMA from left to right; backward_kernel: (D, L) taps of
    a second one from right to left, added. Returns (B, L, D).
    """
    length = x.size(1)
    taps = F.pad(kernel, (length - 1, 0))
    if backward_kernel is not None:
        taps = taps + F.pad(backward_kernel.flip(-1), (0, length - 1))
    return _channels_last(_channels_first(x) @ toeplitz(taps, length, length))


def _block_states(block_inputs: Tensor, log_q: Tensor, width: int, h: Tensor | None) -> Tensor:
    """States before each block, and after the last: (D, B, M + 1, N), from their inputs (D, B, M, N).

    Solves h_m = q^width h_{m-1} + input_m by doubling, log2(M) sweeps.
    """
    if h is None:
        h = block_inputs.new_zeros(block_inputs.size(1), block_inputs.size(0), block_inputs.size(3))
    states = torch.cat([h.transpose(0, 1).unsqueeze(2), block_inputs], dim=2)
    shift = 1
    while shift < states.size(2):
        decay = torch.exp(log_q * (width * shift))[:, None, None]  # (D, 1, 1, N)
        states = states + F.pad(decay * states[:, :, :-shift], (0, 0, shift, 0))
        shift *= 2
    return states


def ema_scan(
    x: Tensor, a: Tensor, log_q: Tensor, beta: Tensor, eta: Tensor, h: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = q h_{t-1} + a beta x_t, y_t = sum_n eta_n h_{t,n} / sqrt(N) (Mega, eq. 2).

    x: (B, L, D) float32; a, log_q, beta, eta: (D, N); h: (B, D, N) state before x, or None for zeros.
    Returns y (B, L, D) and the state after x (B, D, N).
    """
    batch, length, _ = x.shape
    width = min(length, BLOCK)
    blocks = -(-length // width)
    tail = blocks * width - length
    gain, readout = a * beta, eta / eta.size(-1) ** 0.5
    kernel = ema_kernel(log_q, readout * gain, width)  # (D, T)
    powers = decay_powers(log_q, width + 1)  # (D, N, T + 1)

    def run(part: Tensor, state: Tensor | None, t: int) -> tuple[Tensor, Tensor]:
        """The EMA of M whole blocks of t inputs."""
        m = part.size(1) // t
        flat = _channels_first(part).view(-1, batch * m, t)  # (D, B M, T)
        within = flat @ toeplitz(F.pad(kernel[:, :t], (t - 1, 0)), t, t)
        into = powers[:, :, :t].flip(-1).transpose(1, 2) * gain.unsqueeze(1)  # (D, T, N)
        states = _block_states((flat @ into).view(-1, batch, m, gain.size(-1)), log_q, t, state)
        y = within
        if state is not None or m > 1:
            before = states[:, :, :-1].reshape(-1, batch * m, gain.size(-1))
            y = torch.baddbmm(within, before, powers[:, :, 1 : t + 1] * readout.unsqueeze(-1))
        return _channels_last(y.view(-1, batch, m * t)), states[:, :, -1].transpose(0, 1)

    if not tail:
        return run(x, h, width)
    whole = length - (width - tail)
    head, h = run(x[:, :whole], h, width) if whole else (x[:, :0], h)
    rest, h = run(x[:, whole:], h, width - tail)
    return torch.cat([head, rest], dim=1), h


def ema_convolve(x: Tensor, kernel: Tensor, history: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Causal convolution with K taps: y_t = sum_{s < K} kernel[s] x_{t-s} (a truncated EMA).

    x: (B, L, D) float32; kernel: (D, K); history: the inputs before x, (B, <K, D), or None.
    Returns y (B, L, D) and the last K-1 inputs.
    """
    taps = kernel.size(-1)
    joined = x if history is None else torch.cat([history, x], dim=1)
    if x.size(1) == 1:  # one decoding step: a dot product with the reversed kernel
        window = joined[:, -taps:]
        y = torch.einsum("bkd,dk->bd", window, kernel[:, : window.size(1)].flip(-1)).unsqueeze(1)
    else:
        size = joined.size(1) + taps - 1
        spectrum = torch.fft.rfft(joined.transpose(1, 2), size) * torch.fft.rfft(kernel, size)
        full = torch.fft.irfft(spectrum, size)[..., : joined.size(1)].transpose(1, 2)
        y = full[:, joined.size(1) - x.size(1) :]
    return y, joined[:, max(0, joined.size(1) - taps + 1) :]

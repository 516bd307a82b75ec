"""What the parameters of an EMA stand for: gate, decay and the kernel (Mega, section 3.1)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mega_fairseq.ops.precision import at_least_float32

BLOCK = 64  # inputs
# The largest damping below 1 in float32 keeps log(q) finite where a * d rounds to 1.
MAX_DAMPING = 1.0 - 2.0**-24


def ema_coefficients(alpha: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """Input gate a = sigmoid(alpha) and damping 1 - q = a * sigmoid(delta) (Mega, section 3.1).

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
    """Taps k[d, t] = sum_n weight[d, n] q[d, n]^t: (D, length), from the factors q^(iT) q^j.

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

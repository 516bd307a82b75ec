"""The learned EMA sub-layer: SiLU(EMA(x) + omega x) (Mega, section 3.1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.ops.ema import ema_coefficients, ema_convolve, ema_kernel, ema_scan
from mega_fairseq.state import EMAState


class MultiHeadEMA(nn.Module):
    """Multi-dimension damped EMA of (B, L, D) with a residual weight omega.

    Bidirectional: 2D channels, the first D run left to right, the last D right to left, summed.
    truncation: number of inputs remembered, None for all. Parameters: alpha, delta, beta, eta (D or 2D, N),
    omega (D).
    """

    def __init__(self, embed_dim: int, ndim: int, *, bidirectional: bool, truncation: int | None = None):
        super().__init__()
        self.bidirectional, self.truncation = bidirectional, truncation
        channels = 2 * embed_dim if bidirectional else embed_dim
        self.alpha, self.delta, self.beta, self.eta = (
            nn.Parameter(torch.empty(channels, ndim)) for _ in range(4)
        )
        self.omega = nn.Parameter(torch.empty(embed_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.normal_(self.alpha, std=0.2)
        nn.init.normal_(self.delta, std=0.2)
        nn.init.normal_(self.beta, std=0.02)
        self.beta[:, 0::2] += 1.0
        self.beta[:, 1::2] -= 1.0
        nn.init.normal_(self.eta)
        nn.init.normal_(self.omega)

    def forward(
        self, x: Tensor, padding: Tensor | None = None, state: EMAState | None = None
    ) -> tuple[Tensor, EMAState | None]:
        """x: (B, L, D); padding: (B, L), True = injects nothing; state: what a causal EMA carried so far.

        Returns the output (B, L, D) in x's dtype and the state after x (None when bidirectional).
        """
        inputs = x.float() if padding is None else x.float().masked_fill(padding.unsqueeze(-1), 0.0)
        if self.bidirectional:
            inputs = torch.cat([inputs, inputs.flip(1)], dim=-1)
        y, memory = self._average(inputs, state.memory if state is not None else None)
        if self.bidirectional:
            forward, backward = y.chunk(2, dim=-1)
            y = forward + backward.flip(1)
        out = F.silu(y + x.float() * self.omega.float()).type_as(x)
        return out, None if self.bidirectional else EMAState(memory)

    def _average(self, x: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        a, log_q = ema_coefficients(self.alpha, self.delta)
        beta, eta = self.beta.float(), self.eta.float()
        if self.truncation is None:
            return ema_scan(x, a, log_q, beta, eta, memory)
        kernel = ema_kernel(log_q, eta * a * beta / eta.size(-1) ** 0.5, self.truncation)
        return ema_convolve(x, kernel, memory)

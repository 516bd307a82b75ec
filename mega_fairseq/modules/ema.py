"""The learned moving average: y + omega x (Mega, section 3.1), whose SiLU the gated attention applies."""

import torch
from torch import Tensor, nn

from mega_fairseq.ops.ema.block import ema_block
from mega_fairseq.ops.ema.coefficients import BLOCK, Coefficients, ema_coefficients
from mega_fairseq.ops.ema.scan import ema_both_ways, ema_scan
from mega_fairseq.ops.ema.step import ema_step
from mega_fairseq.ops.ema.truncated import ema_truncated
from mega_fairseq.ops.precision import at_least_float32
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
        """x: (B, L, D); padding: (B, L), True = injects nothing; state: of a causal EMA, or None.

        Returns y + omega x (B, L, D), float32 at least, and the state after x, None where none was given.
        """
        with torch.autocast(x.device.type, enabled=False):
            inputs = full = at_least_float32(x)
            if padding is not None:
                inputs = full.masked_fill(padding.unsqueeze(-1), 0.0)
            y, after = self._both_ways(inputs) if self.bidirectional else self._causal(inputs, state)
            if padding is not None:  # a pad injects nothing, but has its own part of its output
                y = torch.addcmul(y, full - inputs, at_least_float32(self.omega))
            return y, after

    def _causal(self, x: Tensor, state: EMAState | None) -> tuple[Tensor, EMAState | None]:
        c = self.coefficients()[0]
        if state is None and x.size(1) <= BLOCK:
            return ema_block(x, c.kernel(x.size(1), self.truncation)), None
        memory = state and state.memory
        if self.truncation is not None:
            y, memory = ema_truncated(x, c, self.truncation, memory)
        elif memory is not None and x.size(1) == 1:
            y, memory = ema_step(x, c, memory)
        else:
            y, memory = ema_scan(x, c, memory)
        return y, None if state is None else EMAState(memory)

    def _both_ways(self, x: Tensor) -> tuple[Tensor, None]:
        forward, backward = self.coefficients()
        if x.size(1) <= BLOCK:
            return ema_block(x, *(c.kernel(x.size(1), self.truncation) for c in (forward, backward))), None
        if self.truncation is None:
            return ema_both_ways(x, forward, backward), None
        left, _ = ema_truncated(x, forward, self.truncation)
        right, _ = ema_truncated(x.flip(1), backward, self.truncation)
        return left + right.flip(1), None

    def coefficients(self) -> list[Coefficients]:
        """Of each direction, float32; the first has omega."""
        a, damping = ema_coefficients(self.alpha, self.delta)
        parameters = (a, damping, at_least_float32(self.beta), at_least_float32(self.eta))
        directions = zip(*(p.split(self.omega.numel()) for p in parameters), strict=True)
        first, *rest = (Coefficients(*direction) for direction in directions)
        return [first._replace(omega=at_least_float32(self.omega)), *rest]

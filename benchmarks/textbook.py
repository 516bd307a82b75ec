"""Mega by the textbook: what a direct reading of the paper's equations costs, as the benchmarks' baseline.

`textbook(model)` computes the same numbers as the model it is given: the EMA's kernel from all powers q^t (a
D x N x L tensor) and an FFT of length 2 L, the position bias as an L x L matrix of which a decoding step uses
the last row, keys and values concatenated at every step, states reordered whatever the order is, and
everything kept for the backward pass.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.models.decoder import MegaDecoder
from mega_fairseq.models.dropout import RetainableDropout
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.feed_forward import FeedForward
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.positional_bias import RotaryBias, SimpleBias
from mega_fairseq.ops.ema.rows import merge, split
from mega_fairseq.state import AttentionState, EMAState, LayerState


def textbook_ema(x: Tensor, alpha: Tensor, delta: Tensor, beta: Tensor, eta: Tensor) -> Tensor:
    """EMA from left to right of x (B, L, D); parameters (D, N). Returns (B, L, D)."""
    length = x.size(1)
    a = torch.sigmoid(alpha)
    log_q = torch.log(1 - a * torch.sigmoid(delta))
    powers = torch.exp(log_q.unsqueeze(-1) * torch.arange(length))  # (D, N, L)
    kernel = torch.einsum("dnl,dn->dl", powers, a * beta * eta / eta.size(-1) ** 0.5)
    spectrum = torch.fft.rfft(x.transpose(1, 2), 2 * length) * torch.fft.rfft(kernel, 2 * length)
    return torch.fft.irfft(spectrum, 2 * length)[..., :length].transpose(1, 2)


class TextbookEMA(MultiHeadEMA):
    def forward(
        self, x: Tensor, padding: Tensor | None = None, state: EMAState | None = None
    ) -> tuple[Tensor, EMAState | None]:
        inputs = x if padding is None else x.masked_fill(padding.unsqueeze(-1), 0.0)
        parameters = self.alpha, self.delta, self.beta, self.eta
        if self.bidirectional:
            forward, backward = zip(*(p.chunk(2) for p in parameters), strict=True)
            y = textbook_ema(inputs, *forward) + textbook_ema(inputs.flip(1), *backward).flip(1)
        elif state is None or (state.memory is None and x.size(1) > 1):
            y = textbook_ema(inputs, *parameters)
        else:
            y, state = self.step(inputs, state.memory)
        return y + x * self.omega, state

    def step(self, x: Tensor, h: Tensor | None) -> tuple[Tensor, EMAState]:
        a = torch.sigmoid(self.alpha)
        q = 1 - a * torch.sigmoid(self.delta)
        added = a * self.beta * x.transpose(1, 2)  # (B, D, N)
        h = added if h is None else q * h + added
        y = torch.einsum("bdn,dn->bd", h, self.eta) / self.eta.size(-1) ** 0.5
        return y.unsqueeze(1), EMAState(h)


class TextbookDropout(Dropout):
    def forward(self, x: Tensor) -> Tensor:
        if not self.feature:
            return F.dropout(x, self.p, self.training)
        return x * F.dropout(x.new_ones(x.size(0), 1, x.size(-1)), self.p, self.training)


class TextbookSimpleBias(SimpleBias):
    def forward(self, rows: int, columns: int, offset: int = 0) -> Tensor:
        length = max(offset + rows, columns)
        middle = self.max_positions - 1
        values = self.weight[middle - length + 1 : middle + length]  # of distances 1 - L .. L - 1
        # rows of 2 L, each shifted by one against the row before
        tiled = F.pad(values, (0, 1)).repeat(length).flatten()[: length * (2 * length - 1)]
        bias = tiled.view(length, 2 * length - 1)[:, length - 1 :]
        return bias[offset : offset + rows, :columns]


class TextbookRotaryBias(RotaryBias):
    def forward(self, rows: int, columns: int, offset: int = 0) -> Tensor:
        length = max(offset + rows, columns)
        half = self.alpha.numel() // 2
        frequency = 10000.0 ** (-torch.arange(half) / half)
        angle = torch.arange(length).unsqueeze(1) * frequency
        sin, cos = angle.sin(), angle.cos()

        def rotated(vector: Tensor) -> Tensor:
            first, second = vector.chunk(2)
            return torch.cat([first * cos - second * sin, second * cos + first * sin], 1)  # (L, Z)

        return (rotated(self.alpha) @ rotated(self.beta).t())[offset : offset + rows, :columns]


class TextbookAttention(GatedAttention):
    def forward(
        self, x: Tensor, padding: Tensor | None = None, state: LayerState | None = None
    ) -> tuple[Tensor, LayerState | None]:
        normed = self.norm(x) if self.pre_norm else x
        averaged, ema = self.ema(normed, padding, state and state.ema)
        value = self.hidden_dropout(self.activation(self.v_proj(normed)))
        u, z, r, c = self.mx_proj(self.dropout(F.silu(averaged))).split(self.widths, dim=-1)
        query, key = (F.silu(z).unsqueeze(-2) * self.kappa + self.mu).unbind(-2)
        cache = AttentionState(key, value)
        if state is not None and state.attention is not None:
            cache = self._append(state.attention, cache)
            attended = self.attend_to(query, cache.key, cache.value, None)
        else:
            attended = self._chunks(query, key, value, padding)
        h = self.dropout(self.activation(c + self.h_proj(F.silu(r) * attended)))
        out = torch.lerp(x, h, torch.sigmoid(u))
        out = out if self.pre_norm else self.norm(out)
        return out, state and LayerState(state.position + x.size(1), ema, cache, state.cross)

    def _append(self, cache: AttentionState, new: AttentionState) -> AttentionState:
        key, value = (torch.cat(pair, dim=1) for pair in zip(cache[:2], new[:2], strict=True))
        if 0 < self.chunk_size < key.size(1):
            key, value = key[:, self.chunk_size :], value[:, self.chunk_size :]
        return AttentionState(key, value)

    def _chunks(self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None) -> Tensor:
        length = query.size(1)
        size = min(self.chunk_size, length) if self.chunk_size > 0 else length
        if padding is None and length % size:
            padding = torch.zeros(1, length, dtype=torch.bool)
        mask = None
        if padding is not None:
            mask = F.pad(padding, (0, -length % size), value=True).unflatten(1, (-1, size))
        return merge(self.attend_to(*(split(t, size) for t in (query, key, value)), mask), length)


class TextbookFeedForward(FeedForward):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation_dropout(self.activation(self.fc1(self.norm(x) if self.pre_norm else x)))
        out = x + self.dropout(self.fc2(hidden))
        return out if self.pre_norm else self.norm(out)


class TextbookLinear(nn.Linear):
    """torch's own product: a subclass is not multiplied by ops.linear."""


class TextbookDecoder(MegaDecoder):
    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        states = self.get_incremental_state(incremental_state, "layers")
        if states:
            states = [state.reorder(new_order) for state in states]
            self.set_incremental_state(incremental_state, "layers", states)


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    MultiHeadEMA: TextbookEMA,
    SimpleBias: TextbookSimpleBias,
    RotaryBias: TextbookRotaryBias,
    GatedAttention: TextbookAttention,
    FeedForward: TextbookFeedForward,
    Dropout: TextbookDropout,
    RetainableDropout: TextbookDropout,
    nn.Linear: TextbookLinear,
    MegaDecoder: TextbookDecoder,
}


def textbook(model: nn.Module) -> nn.Module:
    """A copy of the model, or of one of its modules, that computes by the textbook."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if type(module) in CLASSES:
            module.__class__ = CLASSES[type(module)]
    return model

"""Moving average equipped gated attention: the self-attention sub-layer (Mega, section 3.2)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.linear import build_linear, kept_product, product, set_gate
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.positional_bias import build_bias
from mega_fairseq.ops.attention import attention_weights, causal_keys, unpadded_keys, weighted_sum
from mega_fairseq.ops.pieces import join, kept, pieces
from mega_fairseq.state import AttentionState, LayerState


class GatedAttention(nn.Module):
    """EMA, single-head attention within chunks, reset and update gates; residual and norm included.

    causal: a decoder, which carries state; otherwise the EMA and the attention are bidirectional.
    """

    def __init__(self, config: MegaConfig, *, causal: bool, dropout: Callable[..., Dropout] = Dropout):
        super().__init__()
        dim, z = config.embed_dim, config.zdim
        self.widths = [dim, z, config.hdim, dim]  # u, z, r, c
        self.causal, self.chunk_size = causal, config.chunk_size
        self.pre_norm, self.attention_fn = config.normalize_before, config.attention_fn
        self.activation = ACTIVATION_FUNCTIONS[config.activation_fn]
        self.norm = build_norm(config.normalization_type, dim)
        self.ema = MultiHeadEMA(dim, config.ndim, bidirectional=not causal, truncation=config.truncation)
        self.v_proj = build_linear(dim, config.hdim, config.weight_init)
        self.mx_proj = build_linear(dim, sum(self.widths), config.weight_init)
        self.h_proj = build_linear(config.hdim, dim, config.weight_init)
        update, _, reset, _ = self.mx_proj.bias.split(self.widths)
        set_gate(update, -1.0, config.weight_init)
        set_gate(reset, 2.0, config.weight_init)
        self.kappa = nn.Parameter(torch.empty(2, z))  # of queries and of keys
        self.mu = nn.Parameter(torch.zeros(2, z))
        nn.init.normal_(self.kappa, std=0.02)
        positions, flag = config.bias_positions, config.bias_flag(causal)
        self.bias = build_bias(config.rel_pos_bias, zdim=z, max_positions=positions, flag=flag)
        self.dropout = dropout(config.dropout, config.feature_dropout)
        self.hidden_dropout = dropout(config.hidden_dropout, config.feature_dropout)
        self.attention_dropout = dropout(config.attention_dropout)

    def forward(
        self, x: Tensor, padding: Tensor | None = None, state: LayerState | None = None
    ) -> tuple[Tensor, LayerState | None]:
        """x: (B, L, D); padding: (B, L), True = padded, behind each sequence.

        state: what came before x, LayerState() at the start, None to carry nothing (causal only).
        Returns (B, L, D) and the state after x, None where none was given.
        """
        normed = self.norm(x) if self.pre_norm else x
        averaged, ema = self.ema(normed, padding, state and state.ema)
        running, parts = state and state.attention, []
        begun = running.length if running else 0
        for piece in pieces([x, normed, averaged, padding], self.chunk_size, begun):  # which `gated` gets
            part, running = piece(self.gated, running, state is not None)
            parts.append(part)
        out = join(parts) if self.pre_norm else self.norm(join(parts))
        if state is None:
            return out, None
        assert ema is not None
        return out, LayerState(state.position + x.size(1), ema, running, state.cross)

    def gated(
        self,
        x: Tensor,
        normed: Tensor,
        averaged: Tensor,
        padding: Tensor | None,
        running: AttentionState | None,
        carry: bool,
    ) -> tuple[Tensor, AttentionState | None]:
        """Section 3.2 from the EMA on, of one chunk, of whole ones, or of the rest of the `running` one.

        x, its norm and the average before its SiLU: (B, L, D); carry: the keys and values of a chunk that is
        left unfinished are wanted. Returns (B, L, D), and those keys and values or None.
        product(layer, x) and kept_product(layer, x) are layer(x), kept(f, x) is f(x); see ops/pieces.py.
        """
        ema = self.dropout(F.silu(averaged).type_as(x))  # X'
        u, z, r, c = kept_product(self.mx_proj, ema).split(self.widths, dim=-1)  # X' W + b
        q, k = (F.silu(z).unsqueeze(-2) * self.kappa + self.mu).unbind(-2)  # (B, L, Z)
        v = self.hidden_dropout(self.activation(product(self.v_proj, normed)))  # (B, L, H)
        attended, running = self.attend(q, k, v, padding, running, carry)  # A V, (B, L, H)
        rho = F.silu(r)  # reset gate
        h = self.dropout(self.activation(c + kept_product(self.h_proj, rho * attended)))
        phi = torch.sigmoid(u)  # update gate
        return torch.lerp(x, h.type_as(x), phi.type_as(x)), running  # x + phi (h - x)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        padding: Tensor | None,
        running: AttentionState | None,
        carry: bool,
    ) -> tuple[Tensor, AttentionState | None]:
        """A V within chunks: q, k (B, L, Z), v (B, L, H) to (B, L, H); the others as in `gated`."""
        length = q.size(1)
        finished = self.chunk_size > 0 and length % self.chunk_size == 0
        if running is None and (finished or not carry):
            chunk = length if self.chunk_size < 0 else min(self.chunk_size, length)
            q, k, v = (t.unflatten(1, (-1, chunk)) for t in (q, k, v))  # (B, M, C, .)
            padding = None if padding is None else padding.unflatten(1, (-1, chunk))
            return self.attend_to(q, k, v, padding).flatten(1, 2), None
        running = AttentionState(k, v) if running is None else running.append(k, v)
        attended = self.attend_to(q, running.key, running.value)
        return attended, None if running.length == self.chunk_size else running

    def attend_to(self, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None = None) -> Tensor:
        """A V of q (..., rows, Z), k (..., columns, Z), v (..., columns, H); the last rows align."""
        rows, columns = q.size(-2), k.size(-2)
        if self.causal:
            permitted = causal_keys(rows, columns, q.device)
        else:
            permitted = unpadded_keys(columns, padding, q.device)
        bias = self.bias(rows, columns, columns - rows)
        weights = attention_weights(self.attention_fn, q, k, bias, permitted)
        return kept(weighted_sum, self.attention_dropout(weights), v)

"""Gated cross-attention from decoder positions to the encoder's output."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.linear import build_linear, product, set_gate
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.positional_bias import build_bias
from mega_fairseq.ops.attention import attention_weights, unpadded_keys
from mega_fairseq.state import AttentionState


class GatedCrossAttention(nn.Module):
    """Single-head attention to the source with reset and update gates; residual and norm included."""

    def __init__(self, config: MegaConfig, source_dim: int, dropout: Callable[..., Dropout] = Dropout):
        super().__init__()
        dim, z = config.embed_dim, config.zdim
        self.widths = [dim, dim, z]  # u, r, q
        self.pre_norm, self.attention_fn = config.normalize_before, config.attention_fn
        self.activation = ACTIVATION_FUNCTIONS[config.activation_fn]
        self.norm = build_norm(config.normalization_type, dim)
        self.q_proj = build_linear(dim, sum(self.widths), config.weight_init)
        self.k_proj = build_linear(source_dim, z, config.weight_init)
        self.v_proj = build_linear(source_dim, dim, config.weight_init)
        self.h_proj = build_linear(dim, dim, config.weight_init)
        set_gate(self.q_proj.bias.split(self.widths)[1], 2.0, config.weight_init)
        flag = "--max-source-positions or --max-target-positions"
        self.bias = build_bias(
            config.rel_pos_bias, zdim=z, max_positions=config.cross_max_positions, flag=flag
        )
        self.dropout = dropout(config.dropout, config.feature_dropout)
        self.hidden_dropout = dropout(config.hidden_dropout, config.feature_dropout)
        self.attention_dropout = dropout(config.attention_dropout)

    def project(self, source: Tensor) -> AttentionState:
        """Keys (B, S, Z) and values (B, S, D) of the encoder's output (B, S, source_dim): once a sentence."""
        return AttentionState(product(self.k_proj, source), self.activation(product(self.v_proj, source)))

    def forward(
        self, x: Tensor, source: AttentionState, padding: Tensor | None = None, position: int = 0
    ) -> tuple[Tensor, Tensor]:
        """x: (B, L, D) at target positions position, position + 1, ...; padding: (B, S), True = padded.

        Returns (B, L, D) and the attention weights (B, L, S).
        """
        normed = self.norm(x) if self.pre_norm else x
        u, r, q = product(self.q_proj, normed).split(self.widths, dim=-1)
        bias = self.bias(x.size(1), source.length, position)
        permitted = unpadded_keys(source.length, padding, x.device)
        a = attention_weights(self.attention_fn, q, source.key, bias, permitted)
        attended = self.attention_dropout(a) @ self.hidden_dropout(source.value)  # A V, (B, L, D)
        rho, phi = F.silu(r), torch.sigmoid(u)  # reset and update gate
        h = self.dropout(self.activation(product(self.h_proj, rho * attended)))
        out = torch.lerp(x, h.type_as(x), phi.type_as(x))  # x + phi (h - x)
        return (out if self.pre_norm else self.norm(out)), a

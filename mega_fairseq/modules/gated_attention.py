"""Moving average equipped gated attention: the self-attention sub-layer (Mega, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.linear import linear, set_gate
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.positional_bias import build_bias
from mega_fairseq.ops.attention import attention_weights, causal_mask
from mega_fairseq.ops.chunking import merge, split, split_mask
from mega_fairseq.state import AttentionState, LayerState


class GatedAttention(nn.Module):
    """EMA, single-head attention within chunks, reset and update gates; residual and norm included.

    causal: a decoder, which carries state; otherwise the EMA and the attention are bidirectional.
    """

    def __init__(self, config: MegaConfig, *, causal: bool):
        super().__init__()
        dim, z = config.embed_dim, config.zdim
        self.widths = [dim, z, config.hdim, dim]  # u, z, r, c
        self.causal, self.chunk_size = causal, config.chunk_size
        self.pre_norm, self.attention_fn = config.normalize_before, config.attention_fn
        self.activation = ACTIVATION_FUNCTIONS[config.activation_fn]
        self.norm = build_norm(config.normalization_type, dim)
        self.ema = MultiHeadEMA(dim, config.ndim, bidirectional=not causal, truncation=config.truncation)
        self.v_proj = linear(dim, config.hdim, config.weight_init)
        self.mx_proj = linear(dim, sum(self.widths), config.weight_init)
        self.h_proj = linear(config.hdim, dim, config.weight_init)
        update, _, reset, _ = self.mx_proj.bias.split(self.widths)
        set_gate(update, -1.0, config.weight_init)
        set_gate(reset, 2.0, config.weight_init)
        self.kappa = nn.Parameter(torch.empty(2, z))
        self.mu = nn.Parameter(torch.zeros(2, z))
        nn.init.normal_(self.kappa, std=0.02)
        unchunked = "--max-target-positions" if causal else "--max-source-positions"
        chunked = "--decoder-chunk-size" if causal else "--encoder-chunk-size"
        flag = chunked if config.chunk_size > 0 else unchunked
        self.bias = build_bias(config.rel_pos_bias, zdim=z, max_positions=config.bias_positions, flag=flag)
        self.dropout = Dropout(config.dropout, config.feature_dropout)
        self.hidden_dropout = Dropout(config.hidden_dropout, config.feature_dropout)
        self.attention_dropout = Dropout(config.attention_dropout)

    def forward(
        self, x: Tensor, padding: Tensor | None = None, state: LayerState | None = None
    ) -> tuple[Tensor, LayerState | None]:
        """x: (B, L, D); padding: (B, L), True = padded, behind each sequence.

        state: what came before x, LayerState() at the start, None to carry nothing (causal only).
        Returns (B, L, D) and the state after x, None where none was given.
        """
        normed = self.norm(x) if self.pre_norm else x
        averaged, ema = self.ema(normed, padding, state and state.ema)
        value = self.activation(self.v_proj(normed))
        u, z, r, c = self.mx_proj(self.dropout(averaged)).split(self.widths, dim=-1)
        query, key = (F.silu(z).unsqueeze(-2) * self.kappa + self.mu).unbind(-2)
        attended, cache = self._attend(query, key, self.hidden_dropout(value), padding, state)
        h = self.dropout(self.activation(c + self.h_proj(F.silu(r) * attended)))
        out = torch.lerp(x, h.type_as(x), torch.sigmoid(u).type_as(x))
        out = out if self.pre_norm else self.norm(out)
        if state is None:
            return out, None
        assert ema is not None
        return out, LayerState(state.position + x.size(1), ema, cache, state.cross)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, state: LayerState | None
    ) -> tuple[Tensor, AttentionState | None]:
        """Attention of new queries to the cached keys of the running chunk and to the new ones."""
        if not self.causal:
            return self._attend_chunks(query, key, value, padding), None
        cached, cache = 0, AttentionState(key, value)
        if state is not None and state.attention is not None:
            cached = state.attention.key.size(1)
            cache = state.attention.append(key, value)
        key, value, _ = cache
        length, total = query.size(1), key.size(1)
        size = self.chunk_size if self.chunk_size > 0 else total
        head = min(length, size - cached)  # queries that complete the running chunk
        if cached and head == length:
            out = self._attend_block(query, key, value, None)
        elif cached:
            first = self._attend_block(query[:, :head], key[:, :size], value[:, :size], None)
            rest = self._attend_chunks(query[:, head:], key[:, size:], value[:, size:], None)
            out = torch.cat([first, rest], dim=1)
        else:
            out = self._attend_chunks(query, key, value, None)
        if total >= size and self.chunk_size > 0:  # a new chunk has begun
            kept = total % size
            cache = AttentionState(key[:, total - kept :], value[:, total - kept :])
        return out, cache

    def _attend_chunks(self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None) -> Tensor:
        length = query.size(1)
        size = min(self.chunk_size, length) if self.chunk_size > 0 else length
        mask = split_mask(padding, length, size, query)
        query, key, value = split(query, size), split(key, size), split(value, size)
        return merge(self._attend_block(query, key, value, mask), length)

    def _attend_block(self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None) -> Tensor:
        """Attention within one block, (..., rows, width) to (..., columns, width); the last rows align."""
        rows, columns = query.size(-2), key.size(-2)
        offset = columns - rows
        if self.causal:  # padding lies behind every real query, out of its sight
            forbidden = causal_mask(rows, columns, query.device)
            count = torch.arange(offset + 1, columns + 1, device=query.device).unsqueeze(-1)
        elif padding is not None:
            forbidden = padding.unsqueeze(-2)
            count = (columns - padding.sum(-1)).clamp(min=1)[..., None, None]
        else:
            forbidden, count = None, torch.tensor(columns, device=query.device)
        bias = self.bias(rows, columns, offset)
        weights = attention_weights(
            self.attention_fn, query, key, bias, forbidden, count, every_row=self.causal
        )
        return self.attention_dropout(weights) @ value

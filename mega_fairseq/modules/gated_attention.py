"""Moving average equipped gated attention: the self-attention sub-layer (Mega, section 3.2)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.linear import Product, build_linear, set_gate
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.positional_bias import build_bias
from mega_fairseq.ops.attention import attention_weights, causal_mask, weighted_sum
from mega_fairseq.ops.pieces import Call, how_to_call, join, pieces
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
        self.kappa = nn.Parameter(torch.empty(2, z))
        self.mu = nn.Parameter(torch.zeros(2, z))
        nn.init.normal_(self.kappa, std=0.02)
        unchunked = "--max-target-positions" if causal else "--max-source-positions"
        chunked = "--decoder-chunk-size" if causal else "--encoder-chunk-size"
        flag = chunked if config.chunk_size > 0 else unchunked
        self.bias = build_bias(config.rel_pos_bias, zdim=z, max_positions=config.bias_positions, flag=flag)
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
        y, ema = self.ema.average(normed, padding, state and state.ema)
        how = _How(
            call=how_to_call(x),
            carry=state is not None,
            drop_averaged=self.dropout.for_pieces(x, x.size(-1)),
            drop_value=self.hidden_dropout.for_pieces(x, self.widths[2]),
            drop_h=self.dropout.for_pieces(x, x.size(-1)),
        )
        cache, parts = state and state.attention, []
        begun = cache.key.size(1) if cache else 0
        for piece in pieces([x, normed, y, padding], self.chunk_size, begun):
            part, cache = self._piece(how, piece, cache)
            parts.append(part)
        out = join(parts) if self.pre_norm else self.norm(join(parts))
        if state is None:
            return out, None
        assert ema is not None
        return out, LayerState(state.position + x.size(1), ema, cache, state.cross)

    def _piece(
        self,
        how: "_How",
        piece: tuple[Tensor, Tensor, Tensor, Tensor | None],
        cache: AttentionState | None,
    ) -> tuple[Tensor, AttentionState | None]:
        """All that follows the EMA, for one chunk, whole ones, or the rest of the one in `cache`.

        piece: x, norm x and the EMA's y, (B, l, D), and the padding (B, l) or None.
        Returns (B, l, D), and the keys and values of a chunk left unfinished where they are wanted.
        """
        x, normed, y, padding = piece
        dtype = x.dtype
        logits = how.call(lambda y: how.drop_averaged(F.silu(y).to(dtype)), y, then=Product(self.mx_proj))
        u, z, r, c = logits.split(self.widths, dim=-1)
        finished = self.chunk_size > 0 and z.size(1) % self.chunk_size == 0
        if cache is None and (finished or not how.carry):
            attended = how.call(self._attend_chunks, how, z, normed, padding)
        else:
            query, key, value = self._project(how, z, normed)
            cache = AttentionState(key, value) if cache is None else cache.append(key, value)
            attended = self._attend(query, cache.key, cache.value, None)
            cache = None if cache.key.size(1) == self.chunk_size else cache
        h = c + how.call(lambda r, attended: F.silu(r) * attended, r, attended, then=Product(self.h_proj))
        return how.call(self._update, how, x, h, u), cache

    def _project(self, how: "_How", z: Tensor, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys (B, L, Z), values (B, L, H)."""
        query, key = (F.silu(z).unsqueeze(-2) * self.kappa + self.mu).unbind(-2)
        return query, key, how.drop_value(self.activation(Product(self.v_proj)(normed)))

    def _attend_chunks(self, how: "_How", z: Tensor, normed: Tensor, padding: Tensor | None) -> Tensor:
        """Attention within each chunk, of a piece that is one chunk or several whole ones."""
        size = z.size(1) if self.chunk_size < 0 else min(self.chunk_size, z.size(1))
        query, key, value = (t.unflatten(1, (-1, size)) for t in self._project(how, z, normed))
        mask = None if padding is None else padding.unflatten(1, (-1, size))
        return self._attend(query, key, value, mask).flatten(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None) -> Tensor:
        """Attention of (..., rows, width) to (..., columns, width); the last rows align."""
        rows, columns = query.size(-2), key.size(-2)
        offset = columns - rows
        if self.causal:  # padding lies behind every real query, out of its sight
            forbidden = causal_mask(rows, columns, query.device) if rows > 1 else None
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
        return weighted_sum(self.attention_dropout(weights), value)

    def _update(self, how: "_How", x: Tensor, h: Tensor, u: Tensor) -> Tensor:
        h = how.drop_h(self.activation(h))
        return torch.lerp(x, h.type_as(x), torch.sigmoid(u).type_as(x))


class _How(NamedTuple):
    """What the pieces of a sequence have in common.

    call: `plain` or `recomputed`; carry: the keys and values of an unfinished chunk are wanted.
    """

    call: Call
    carry: bool
    drop_averaged: Callable[[Tensor], Tensor]
    drop_value: Callable[[Tensor], Tensor]
    drop_h: Callable[[Tensor], Tensor]

"""One Mega layer: gated attention, cross-attention where there is a source, feed-forward."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.cross_attention import GatedCrossAttention
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.feed_forward import FeedForward
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.state import LayerState


class LayerOutput(NamedTuple):
    """x (B, L, D); the state after it; the cross-attention's weights (B, L, S), or None."""

    x: Tensor
    state: LayerState | None
    weights: Tensor | None


class MegaLayer(nn.Module):
    """source_dim: width of the encoder's output for a layer with cross-attention, else None.

    Each sub-layer has its norm and its residual in itself.
    """

    def __init__(
        self,
        config: MegaConfig,
        *,
        source_dim: int | None = None,
        causal: bool,
        dropout: Callable[..., Dropout] = Dropout,
    ):
        super().__init__()
        self.attention = GatedAttention(config, causal=causal, dropout=dropout)
        self.cross_attention = GatedCrossAttention(config, source_dim, dropout) if source_dim else None
        self.feed_forward = FeedForward(config, dropout) if config.ffn_dim else None

    def forward(
        self,
        x: Tensor,
        padding: Tensor | None = None,
        state: LayerState | None = None,
        source: Tensor | None = None,
        source_padding: Tensor | None = None,
    ) -> LayerOutput:
        """x: (B, L, D); source: (B, S, source_dim); masks (B, L) and (B, S), True = padded."""
        position, cross = (state.position, state.cross) if state else (0, None)
        x, state = self.attention(x, padding, state)
        weights = None
        if self.cross_attention is not None and source is not None:
            cross = cross or self.cross_attention.project(source)
            x, weights = self.cross_attention(x, cross, source_padding, position)
            state = state and state._replace(cross=cross)
        if self.feed_forward is not None:
            x = self.feed_forward(x)
        return LayerOutput(x, state, weights)

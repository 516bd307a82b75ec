"""A stack of Mega layers and its final norm."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.layer import MegaLayer
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.state import LayerState


class StackOutput(NamedTuple):
    """x (B, L, D); a state per layer; a layer's cross-attention (B, L, S); outputs of layers, on request."""

    x: Tensor
    states: list[LayerState | None]
    weights: Tensor | None
    hiddens: list[Tensor]


class MegaStack(nn.Module):
    """The layers, then a norm iff pre-norm.

    dropout: makes a dropout of p and feature; wrap: applied to each new layer (activation checkpointing,
    sharding); container: holds the layers, for instance a list that drops some of them in training.
    """

    def __init__(
        self,
        config: MegaConfig,
        *,
        causal: bool,
        dropout: Callable[..., Dropout] = Dropout,
        source_dim: int | None = None,
        wrap: Callable[[nn.Module], nn.Module] = lambda layer: layer,
        container: Callable[[Iterable[nn.Module]], nn.ModuleList] = nn.ModuleList,
    ):
        super().__init__()
        self.layers = container(
            [
                wrap(MegaLayer(config, causal=causal, source_dim=source_dim, dropout=dropout))
                for _ in range(config.layers)
            ]
        )
        self.final_norm = None
        if config.normalize_before and config.final_norm:
            self.final_norm = build_norm(
                config.normalization_type, config.embed_dim, affine=config.affine_final_norm
            )

    def forward(
        self,
        x: Tensor,
        padding: Tensor | None = None,
        states: list[LayerState | None] | None = None,
        source: Tensor | None = None,
        source_padding: Tensor | None = None,
        alignment_layer: int = -1,
        keep_hiddens: bool = False,
    ) -> StackOutput:
        """x: (B, L, D); source: (B, S, source_dim); masks True = padded; alignment_layer: whose weights.

        keep_hiddens: return x and every layer's output as well.
        """
        hiddens, new_states, weights = [x] if keep_hiddens else [], [], []
        for i, layer in enumerate(self.layers):
            x, state, attended = layer(x, padding, states[i] if states else None, source, source_padding)
            if keep_hiddens:
                hiddens.append(x)
            new_states.append(state)
            weights.append(attended)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(-1), 0.0)
        return StackOutput(x, new_states, _of_layer(alignment_layer, weights), hiddens)


def _of_layer(layer: int, weights: list[Tensor | None]) -> Tensor | None:
    """The layer's, or the last one's where layers were dropped in training."""
    return weights[min(layer, len(weights) - 1)] if weights else None

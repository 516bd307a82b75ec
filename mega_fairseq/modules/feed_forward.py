"""The position-wise feed-forward sub-layer."""

from collections.abc import Callable

from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.linear import build_linear, kept_product, product
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.ops.pieces import join, pieces


class FeedForward(nn.Module):
    """x + dropout(fc2(dropout_act(act(fc1(norm x))))), or the norm of that sum with post-norm."""

    def __init__(self, config: MegaConfig, dropout: Callable[..., Dropout] = Dropout):
        super().__init__()
        self.pre_norm = config.normalize_before
        self.activation = ACTIVATION_FUNCTIONS[config.activation_fn]
        self.norm = build_norm(config.normalization_type, config.embed_dim)
        self.fc1 = build_linear(config.embed_dim, config.ffn_dim, config.weight_init)
        self.fc2 = build_linear(config.ffn_dim, config.embed_dim, config.weight_init)
        self.dropout = dropout(config.dropout, config.feature_dropout)
        self.activation_dropout = dropout(config.activation_dropout, config.feature_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, L, D), as the result."""
        normed = self.norm(x) if self.pre_norm else x
        out = join([piece(self.transform) for piece in pieces([x, normed])])
        return out if self.pre_norm else self.norm(out)

    def transform(self, x: Tensor, normed: Tensor) -> Tensor:
        """All but the norms, position by position."""
        hidden = self.activation_dropout(self.activation(product(self.fc1, normed)))  # (B, L, F)
        return x + self.dropout(kept_product(self.fc2, hidden, needed=False))

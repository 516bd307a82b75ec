"""The position-wise feed-forward sub-layer."""

import functools
from collections.abc import Callable

from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.linear import Product, build_linear
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.ops.pieces import how_to_call, join, pieces, plain


class FeedForward(nn.Module):
    """x + dropout(fc2(dropout_act(act(fc1(norm x))))), or the norm of that sum with post-norm."""

    def __init__(self, config: MegaConfig, dropout: Callable[..., Dropout] = Dropout):
        super().__init__()
        self.pre_norm = config.normalize_before
        self.hidden_dim = config.ffn_dim
        self.activation = ACTIVATION_FUNCTIONS[config.activation_fn]
        self.norm = build_norm(config.normalization_type, config.embed_dim)
        self.fc1 = build_linear(config.embed_dim, config.ffn_dim, config.weight_init)
        self.fc2 = build_linear(config.ffn_dim, config.embed_dim, config.weight_init)
        self.dropout = dropout(config.dropout, config.feature_dropout)
        self.activation_dropout = dropout(config.activation_dropout, config.feature_dropout)

    def forward(self, x: Tensor) -> Tensor:
        inputs, call = self.norm(x) if self.pre_norm else x, how_to_call(x)
        drop_hidden = self.activation_dropout.for_pieces(x, self.hidden_dim)
        drop = self.dropout.for_pieces(x, x.size(-1))

        first, parameters = Product(self.fc1), [] if call is plain else list(self.fc1.parameters())

        def hidden(x: Tensor, *parameters: Tensor) -> Tensor:
            """parameters: fc1's, where their gradients are asked for here."""
            return drop_hidden(self.activation(first.given(x, *parameters) if parameters else first(x)))

        transform = functools.partial(call, hidden, then=Product(self.fc2))
        out = join([part + drop(transform(x, *parameters)) for part, x in pieces([x, inputs])])
        return out if self.pre_norm else self.norm(out)

"""Embeddings of tokens: tables, characters or adaptive ones, and their way into a stack."""

import ast
import math
from typing import Any

import torch
from fairseq import utils
from fairseq.modules import CharacterTokenEmbedder
from torch import Tensor, nn

from mega_fairseq.models.adaptive import build_adaptive_input
from mega_fairseq.models.config import CharacterConfig, EmbeddingConfig, SideConfig
from mega_fairseq.models.dropout import RetainableDropout
from mega_fairseq.modules.linear import product
from mega_fairseq.modules.norm import build_norm


def build_embedding(config: SideConfig, dictionary: Any) -> nn.Module:
    """Embeddings of the dictionary's words; characters and adaptive ones end in the stack's width.

    Raises ValueError, naming the flag, for options that make none.
    """
    embedding, dim = config.embedding, config.stack.embed_dim
    if embedding.characters is not None:
        return _characters(embedding.characters, dictionary, dim)
    if embedding.adaptive is not None:
        layers = config.layers
        noise = (layers.quant_noise, layers.quant_noise_block)
        return build_adaptive_input(embedding.adaptive, dictionary, embedding.width, dim, noise)
    return _table(embedding, dictionary)


def _table(config: EmbeddingConfig, dictionary: Any) -> nn.Embedding:
    """N(0, width^-0.5) with a zero pad row; from a text file of vectors where one is given."""
    embedding = nn.Embedding(len(dictionary), config.width, padding_idx=dictionary.pad())
    nn.init.normal_(embedding.weight, std=config.width**-0.5)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    try:
        if config.path:
            utils.load_embedding(utils.parse_embedding(config.path), dictionary, embedding)
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        raise ValueError(
            f"cannot use {config.path} of --encoder-embed-path/--decoder-embed-path "
            f"({type(error).__name__}: {error}); give a text file with a header, then lines of a word and "
            f"{config.width} numbers, or, for a trained model, None by --model-overrides"
        ) from error
    return embedding


def _characters(config: CharacterConfig, dictionary: Any, dim: int) -> nn.Module:
    """fairseq's embeddings of words by convolutions over their bytes."""
    try:
        filters = [(int(width), int(channels)) for width, channels in ast.literal_eval(config.filters)]
        return CharacterTokenEmbedder(dictionary, filters, config.dim, dim, config.highway_layers)
    except (ValueError, TypeError, SyntaxError, RuntimeError) as error:
        raise ValueError(
            "--character-filters must be a list of widths and channels like '[(1, 64), (2, 128)]', and "
            "--character-embedding-dim and --char-embedder-highway-layers numbers; got "
            f"{config.filters!r}, {config.dim} and {config.highway_layers}"
        ) from error


class RealEmbedding(nn.Module):
    """x w + b of real numbers x (B, L), to (B, L, width); w from N(0, 1), b from N(0, 0.1)."""

    padding_idx = None  # no number stands for padding

    def __init__(self, width: int):
        super().__init__()
        self.embedding_dim = width
        self.weight, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        nn.init.normal_(self.weight)
        nn.init.normal_(self.bias, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x.unsqueeze(-1), self.weight)


class TokenEmbedding(nn.Module):
    """Scaled embeddings (B, L, width) to stack inputs (B, L, D): projection, norm, dropout, zero at pads.

    scale: what embeddings are multiplied by; name: what --retain-dropout-modules calls its dropout.
    """

    def __init__(self, config: SideConfig, width: int, name: str):
        super().__init__()
        stack = config.stack
        self.scale = math.sqrt(stack.embed_dim) if config.embedding.scaled else 1.0
        self.projection = nn.Linear(width, stack.embed_dim, bias=False) if width != stack.embed_dim else None
        normalize = config.embedding.normalize
        self.norm = build_norm(stack.normalization_type, stack.embed_dim) if normalize else None
        self.dropout = RetainableDropout(stack.dropout, stack.feature_dropout, module_name=name)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        if self.projection is not None:
            x = product(self.projection, x)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        return x if padding is None else x.masked_fill(padding.unsqueeze(-1), 0.0)

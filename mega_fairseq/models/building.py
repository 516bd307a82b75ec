"""What encoder and decoder build alike: embeddings, the embedding front end, wrapped stacks."""

import math
from typing import Any

from fairseq import utils
from fairseq.distributed import fsdp_wrap
from fairseq.modules import LayerDropModuleList
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.quantization.scalar.utils import MAPPING, IntLinear
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.models.adaptive import build_adaptive_input
from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.modules.linear import Linear
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.stack import MegaStack

MAPPING[Linear] = IntLinear  # --quant-noise-scalar looks layers up by their class


def build_embedding(dictionary: Any, dim: int, path: str | None = None) -> nn.Embedding:
    """Embeddings N(0, dim^-0.5) with a zero pad row; from a text file of vectors where `path` is given."""
    if dim < 1:
        raise ValueError(
            f"--encoder-embed-dim, --decoder-embed-dim and --decoder-input-dim must be at least 1; got {dim}"
        )
    embedding = nn.Embedding(len(dictionary), dim, padding_idx=dictionary.pad())
    nn.init.normal_(embedding.weight, std=dim**-0.5)
    nn.init.zeros_(embedding.weight[dictionary.pad()])
    try:
        if path:
            utils.load_embedding(utils.parse_embedding(path), dictionary, embedding)
    except (OSError, ValueError, RuntimeError, StopIteration) as error:
        raise ValueError(
            f"cannot use {path} of --encoder-embed-path/--decoder-embed-path "
            f"({type(error).__name__}: {error}); give a text file with a header, then lines of a word and "
            f"{dim} numbers, or, for a trained model, None by --model-overrides"
        ) from error
    return embedding


def build_decoder_embedding(cfg: Any, dictionary: Any, width: int, dim: int) -> nn.Module:
    """Embeddings of a decoder's tokens: width `width`, or the adaptive input, which ends in width `dim`."""
    if cfg.adaptive_input:
        return build_adaptive_input(cfg, dictionary, width, dim)
    return build_embedding(dictionary, width, cfg.decoder_embed_path)


def build_stack(cfg: Any, config: MegaConfig, *, layerdrop: float, **kwargs: Any) -> MegaStack:
    """A MegaStack whose layers are checkpointed, sharded and dropped as cfg says."""
    if not 0.0 <= layerdrop < 1.0:
        raise ValueError(f"--encoder-layerdrop/--decoder-layerdrop must lie in [0, 1); got {layerdrop}")
    checkpointed = cfg.checkpoint_activations or cfg.offload_activations

    def wrap(layer: nn.Module) -> nn.Module:
        if checkpointed:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if checkpointed else cfg.min_params_to_wrap)

    def container(layers: list[nn.Module]) -> nn.ModuleList:
        return LayerDropModuleList(layerdrop, layers) if layerdrop > 0 else nn.ModuleList(layers)

    return MegaStack(config, wrap=wrap, container=container, **kwargs)


class TokenEmbedding(nn.Module):
    """Tokens (B, L) to stack inputs (B, L, D): scaled embedding, projection, norm, dropout, zero at pads."""

    def __init__(self, cfg: Any, config: MegaConfig, embed_tokens: nn.Module):
        super().__init__()
        width, dim = embed_tokens.embedding_dim, config.embed_dim
        self.scale = 1.0 if cfg.no_scale_embedding else math.sqrt(dim)
        self.projection = Linear(width, dim, bias=False) if width != dim else None
        normalize = cfg.normalize_embedding or cfg.layernorm_embedding
        if normalize and config.normalize_before:
            raise ValueError("--normalize-embedding does not go with --normalize-before; drop one of them")
        self.norm = build_norm(config.normalization_type, dim) if normalize else None
        self.dropout = Dropout(config.dropout, config.feature_dropout)

    def forward(self, embedded: Tensor, padding: Tensor | None) -> Tensor:
        x = self.scale * embedded
        if self.projection is not None:
            x = self.projection(x)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        return x if padding is None else x.masked_fill(padding.unsqueeze(-1), 0.0)

"""What encoder and decoder build alike: embeddings, the embedding front end, wrapped stacks."""

import ast
import functools
import math
from typing import Any

from fairseq import utils
from fairseq.distributed import fsdp_wrap
from fairseq.modules import CharacterTokenEmbedder, LayerDropModuleList
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.quant_noise import quant_noise
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.models.adaptive import build_adaptive_input
from mega_fairseq.models.dropout import RetainableDropout
from mega_fairseq.modules.linear import product
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.modules.stack import MegaStack


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
    """Embeddings of a decoder's tokens: width `width`, or of characters or adaptive, which end in `dim`."""
    if getattr(cfg, "character_embeddings", False):
        return build_character_embedding(cfg, dictionary, dim)
    if cfg.adaptive_input:
        return build_adaptive_input(cfg, dictionary, width, dim)
    return build_embedding(dictionary, width, cfg.decoder_embed_path)


def build_character_embedding(cfg: Any, dictionary: Any, dim: int) -> nn.Module:
    """fairseq's embeddings of words by convolutions over their bytes. Raises ValueError naming the flag."""
    for flag in ("adaptive_input", "decoder_embed_path"):
        if getattr(cfg, flag):
            raise ValueError(f"--character-embeddings does not go with --{flag.replace('_', '-')}; drop one")
    try:
        filters = [(int(width), int(channels)) for width, channels in ast.literal_eval(cfg.character_filters)]
        return CharacterTokenEmbedder(
            dictionary, filters, cfg.character_embedding_dim, dim, cfg.char_embedder_highway_layers
        )
    except (ValueError, TypeError, SyntaxError, RuntimeError) as error:
        raise ValueError(
            "--character-filters must be a list of widths and channels like '[(1, 64), (2, 128)]', and "
            "--character-embedding-dim and --char-embedder-highway-layers numbers; got "
            f"{cfg.character_filters!r}, {cfg.character_embedding_dim} and {cfg.char_embedder_highway_layers}"
        ) from error


def build_stack(cfg: Any, config: MegaConfig, side: str, **kwargs: Any) -> MegaStack:
    """The MegaStack of one side whose layers are checkpointed, sharded, dropped and noisy as cfg says."""
    layerdrop = getattr(cfg, f"{side}_layerdrop")
    if not 0.0 <= layerdrop < 1.0:
        raise ValueError(f"--{side}-layerdrop must lie in [0, 1); got {layerdrop}")
    checkpointed = cfg.checkpoint_activations or cfg.offload_activations

    def wrap(layer: nn.Module) -> nn.Module:
        _add_quant_noise(layer, cfg.quant_noise_pq, cfg.quant_noise_pq_block_size)
        if checkpointed:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if checkpointed else cfg.min_params_to_wrap)

    def container(layers: list[nn.Module]) -> nn.ModuleList:
        return LayerDropModuleList(layerdrop, layers) if layerdrop > 0 else nn.ModuleList(layers)

    dropout = functools.partial(RetainableDropout, module_name=f"Mega{side.title()}Layer")
    return MegaStack(config, dropout=dropout, wrap=wrap, container=container, **kwargs)


def _add_quant_noise(layer: nn.Module, p: float, block_size: int) -> None:
    """Train a layer's linear maps for product quantisation (--quant-noise-pq), as fairseq's transformer's."""
    if not 0.0 <= p < 1.0:
        raise ValueError(f"--quant-noise-pq must lie in [0, 1); got {p}")
    if p == 0.0:
        return
    for name, linear in layer.named_modules():
        if isinstance(linear, nn.Linear):
            if block_size < 1 or linear.in_features % block_size:
                raise ValueError(
                    f"--quant-noise-pq-block-size must divide the widths of the model; got {block_size}, and "
                    f"{name} takes {linear.in_features}"
                )
            quant_noise(linear, p, block_size)


class TokenEmbedding(nn.Module):
    """Scaled embeddings (B, L, width) to stack inputs (B, L, D): projection, norm, dropout, zero at pads.

    scale: what embeddings are multiplied by; name: what --retain-dropout-modules calls its dropout.
    """

    def __init__(self, cfg: Any, config: MegaConfig, embed_tokens: nn.Module, name: str):
        super().__init__()
        width, dim = embed_tokens.embedding_dim, config.embed_dim
        self.scale = 1.0 if cfg.no_scale_embedding else math.sqrt(dim)
        self.projection = nn.Linear(width, dim, bias=False) if width != dim else None
        normalize = cfg.normalize_embedding or cfg.layernorm_embedding
        if normalize and config.normalize_before:
            raise ValueError("--normalize-embedding does not go with --normalize-before; drop one of them")
        self.norm = build_norm(config.normalization_type, dim) if normalize else None
        self.dropout = RetainableDropout(config.dropout, config.feature_dropout, module_name=name)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        if self.projection is not None:
            x = product(self.projection, x)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(x)
        return x if padding is None else x.masked_fill(padding.unsqueeze(-1), 0.0)

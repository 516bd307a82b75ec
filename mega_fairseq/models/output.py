"""From a decoder's features to scores of words."""

from typing import Any

import torch
from torch import Tensor, nn

from mega_fairseq.models.adaptive import adaptive_target_log_probs, build_adaptive_softmax
from mega_fairseq.modules.linear import product


def build_output(
    cfg: Any, dictionary: Any, dim: int, embed_tokens: nn.Module
) -> tuple[nn.Module | None, nn.Module | None]:
    """(output projection, None), or (None, adaptive softmax) where there are cutoffs.

    dim: width of the features. Raises ValueError, naming the flags, for options that do not go together.
    """
    if cfg.adaptive_softmax_cutoff:
        return None, build_adaptive_softmax(cfg, dictionary, dim, embed_tokens)
    if cfg.tie_adaptive_weights or cfg.tie_adaptive_proj:
        raise ValueError("--tie-adaptive-weights and --tie-adaptive-proj need --adaptive-softmax-cutoff")
    projection = nn.Linear(dim, len(dictionary), bias=False)
    if not cfg.share_decoder_input_output_embed:
        nn.init.normal_(projection.weight, std=dim**-0.5)
        return projection, None
    if cfg.adaptive_input or not isinstance(embed_tokens, nn.Embedding):
        other = "--adaptive-input" if cfg.adaptive_input else "--character-embeddings"
        raise ValueError(f"--share-decoder-input-output-embed does not go with {other}")
    if len(dictionary) != embed_tokens.num_embeddings:
        raise ValueError("--share-decoder-input-output-embed does not go with --output-dictionary-size")
    if embed_tokens.embedding_dim != dim:
        raise ValueError(
            f"--share-decoder-input-output-embed needs --decoder-input-dim ({embed_tokens.embedding_dim}) to "
            f"equal --decoder-output-dim, or --decoder-embed-dim where that is not given ({dim})"
        )
    projection.weight = embed_tokens.weight
    return projection, None


def target_log_probs(decoder: Any, features: Tensor, target: Tensor, positions: int) -> Tensor:
    """log p(target) (B, L) float32 of features (B, L, D) of a MegaDecoder.

    positions: how many of them have their scores for the whole vocabulary held at once.
    """
    parts = []
    for rows, words in zip(
        features.flatten(0, 1).split(positions), target.flatten().split(positions), strict=True
    ):
        if decoder.adaptive_softmax is not None:
            parts.append(adaptive_target_log_probs(decoder.adaptive_softmax, rows, words))
        else:
            scores = decoder.output_layer(rows).float().log_softmax(-1)
            parts.append(scores.gather(-1, words.unsqueeze(-1)).squeeze(-1))
    return torch.cat(parts).view_as(target)


def project(layer: nn.Module | None, x: Tensor) -> Tensor:
    """layer(x), or x where there is none."""
    return x if layer is None else product(layer, x)

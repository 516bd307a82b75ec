"""From a decoder's features to scores of words."""

import torch
from torch import Tensor, nn

from mega_fairseq.models.adaptive import adaptive_target_log_probs, build_adaptive_softmax
from mega_fairseq.models.config import DecoderConfig
from mega_fairseq.modules.linear import product


def build_feature_projection(config: DecoderConfig) -> nn.Linear | None:
    """From the stack's width to that of the features, None where they are the same."""
    dim, width = config.stack.embed_dim, config.output.width
    if width == dim:
        return None
    projection = nn.Linear(dim, width, bias=False)
    nn.init.xavier_uniform_(projection.weight)
    return projection


def build_output(
    config: DecoderConfig, vocabulary: int, embed_tokens: nn.Module
) -> tuple[nn.Module | None, nn.Module | None]:
    """(output projection, None), or (None, adaptive softmax) where there are cutoffs.

    Raises ValueError, naming the flags, for options that do not go together.
    """
    output = config.output
    if output.adaptive is not None:
        return None, build_adaptive_softmax(output, config.embedding, vocabulary, embed_tokens)
    projection = nn.Linear(output.width, vocabulary, bias=False)
    if output.shared:
        _check_shared(config, vocabulary, embed_tokens)
        projection.weight = embed_tokens.weight
    else:
        nn.init.normal_(projection.weight, std=output.width**-0.5)
    return projection, None


def _check_shared(config: DecoderConfig, vocabulary: int, embed_tokens: nn.Module) -> None:
    adaptive, width = config.embedding.adaptive, config.output.width
    if adaptive is not None or not isinstance(embed_tokens, nn.Embedding):
        other = "--character-embeddings" if adaptive is None else "--adaptive-input"
        raise ValueError(f"--share-decoder-input-output-embed does not go with {other}")
    if vocabulary != embed_tokens.num_embeddings:
        raise ValueError("--share-decoder-input-output-embed does not go with --output-dictionary-size")
    if embed_tokens.embedding_dim != width:
        raise ValueError(
            f"--share-decoder-input-output-embed needs --decoder-input-dim ({embed_tokens.embedding_dim}) to "
            f"equal --decoder-output-dim, or --decoder-embed-dim where that is not given ({width})"
        )


def target_log_probs(
    projection: nn.Module | None,
    adaptive_softmax: nn.Module | None,
    features: Tensor,
    target: Tensor,
    positions: int,
) -> Tensor:
    """log p(target) (B, L) float32 of features (B, L, D), by one of the two.

    positions: how many of them have their scores for the whole vocabulary held at once.
    """
    parts = []
    for rows, words in zip(
        features.flatten(0, 1).split(positions), target.flatten().split(positions), strict=True
    ):
        if adaptive_softmax is not None:
            parts.append(adaptive_target_log_probs(adaptive_softmax, rows, words))
        else:
            scores = project(projection, rows).float().log_softmax(-1)
            parts.append(scores.gather(-1, words.unsqueeze(-1)).squeeze(-1))
    return torch.cat(parts).view_as(target)


def project(layer: nn.Module | None, x: Tensor) -> Tensor:
    """layer(x), or x where there is none."""
    return x if layer is None else product(layer, x)

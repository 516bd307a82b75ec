"""Adaptive input and softmax: fairseq's modules, built from checked options, and the cost of one target."""

from typing import Any

import torch
from fairseq.modules import AdaptiveInput, AdaptiveSoftmax
from torch import Tensor, nn

from mega_fairseq.models.config import AdaptiveConfig, EmbeddingConfig, OutputConfig


def build_adaptive_input(
    config: AdaptiveConfig, dictionary: Any, width: int, dim: int, quant_noise: tuple[float, int]
) -> AdaptiveInput:
    """Embeddings of `width` for the most frequent words and fewer for others, projected to `dim`.

    fairseq takes one word of each band for padding, and it stays zero. The transformer adds a position to it;
    in Mega norms without variance would follow, whose gradients overflow. Here only the padding is zero.
    """
    cutoffs = config.numbers(len(dictionary), width)
    adaptive = AdaptiveInput(
        len(dictionary), dictionary.pad(), width, config.factor, dim, cutoffs, *quant_noise
    )
    for words, _ in adaptive.embeddings[1:]:
        with torch.no_grad():
            words.weight[words.padding_idx].normal_(std=words.embedding_dim**-0.5)
        words.padding_idx = None
    return adaptive


def build_adaptive_softmax(
    output: OutputConfig, embedding: EmbeddingConfig, vocabulary: int, embed_tokens: nn.Module
) -> AdaptiveSoftmax:
    """The softmax, tied to the adaptive input on request. Raises ValueError where the two do not fit."""
    config = output.adaptive
    assert config is not None
    cutoffs = config.numbers(vocabulary, output.width)
    if output.tie_weights:
        _check_tied(output, embedding, vocabulary, cutoffs)
        if embed_tokens.weights_for_band(0)[0].size(1) != output.width:
            raise ValueError(
                "--tie-adaptive-weights needs --decoder-input-dim to equal --decoder-embed-dim, and "
                "--decoder-output-dim as well"
            )
    return AdaptiveSoftmax(
        vocabulary,
        output.width,
        cutoffs,
        dropout=config.dropout,
        factor=config.factor,
        adaptive_inputs=embed_tokens if output.tie_weights else None,
        tie_proj=output.tie_proj,
    )


def _check_tied(
    output: OutputConfig, embedding: EmbeddingConfig, vocabulary: int, cutoffs: list[int]
) -> None:
    if embedding.adaptive is None:
        raise ValueError("--tie-adaptive-weights needs --adaptive-input")
    pairs = [
        ("cutoff", embedding.adaptive.numbers(vocabulary, embedding.width), cutoffs),
        ("factor", embedding.adaptive.factor, output.adaptive.factor),
    ]
    for name, ours, theirs in pairs:
        if ours != theirs:
            raise ValueError(
                f"--tie-adaptive-weights needs equal --adaptive-input-{name} ({ours}) and "
                f"--adaptive-softmax-{name} ({theirs})"
            )


def adaptive_target_log_probs(softmax: AdaptiveSoftmax, flat: Tensor, words: Tensor) -> Tensor:
    """log p(word) (T,) float32 of features (T, D), with each word's own cluster only."""
    head = softmax.head(flat).float().log_softmax(-1)
    clusters = torch.bucketize(words, torch.tensor(softmax.cutoff, device=words.device), right=True)
    first = softmax.cutoff[0]
    result = head.gather(1, torch.where(clusters > 0, first + clusters - 1, words).unsqueeze(1)).squeeze(1)
    for i, tail in enumerate(softmax.tail):
        rows = clusters.eq(i + 1).nonzero().squeeze(1)
        if rows.numel():
            scores = tail(flat[rows]).float().log_softmax(-1)
            within = (words[rows] - softmax.cutoff[i]).unsqueeze(1)
            result[rows] = result[rows] + scores.gather(1, within).squeeze(1)
    return result

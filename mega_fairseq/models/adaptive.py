"""Adaptive input and softmax: fairseq's modules, built from checked options, and the cost of one target."""

from typing import Any

import torch
from fairseq.modules import AdaptiveInput, AdaptiveSoftmax
from torch import Tensor, nn


def parse_cutoffs(text: Any, flag: str, vocabulary: int) -> list[int]:
    """ "20000,60000" -> [20000, 60000]. Raises ValueError naming the flag for anything else."""
    try:
        cutoffs = [int(part) for part in str(text).strip("[]() ").split(",")]
    except ValueError:
        raise ValueError(f"{flag} must be whole numbers like 20000,60000; got {text!r}") from None
    if cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary:
        raise ValueError(f"{flag} must rise and stay below the {vocabulary} words; got {text!r}")
    return cutoffs


def input_cutoffs(cfg: Any, vocabulary: int) -> list[int]:
    """The cutoffs of the adaptive input, which default to the softmax's."""
    if cfg.adaptive_input_cutoff:
        return parse_cutoffs(cfg.adaptive_input_cutoff, "--adaptive-input-cutoff", vocabulary)
    if not cfg.adaptive_softmax_cutoff:
        raise ValueError("--adaptive-input needs --adaptive-input-cutoff, for instance 20000,60000")
    return parse_cutoffs(cfg.adaptive_softmax_cutoff, "--adaptive-softmax-cutoff", vocabulary)


def check_factor(factor: float, flag: str, width: int, cutoffs: list[int]) -> None:
    """Raises ValueError where the rarest words would have no dimension."""
    if not factor >= 1 or width // factor ** len(cutoffs) < 1:
        raise ValueError(
            f"{flag} must be at least 1 and leave a dimension: {width} is divided by it once for each of "
            f"{len(cutoffs)} cutoffs; got {factor}"
        )


def build_adaptive_input(cfg: Any, dictionary: Any, width: int, dim: int) -> AdaptiveInput:
    """Embeddings of `width` for the most frequent words and fewer for others, projected to `dim`.

    fairseq takes one word of each band for padding, and it stays zero. The transformer adds a position to it;
    in Mega norms without variance would follow, whose gradients overflow. Here only the padding is zero.
    """
    cutoffs = input_cutoffs(cfg, len(dictionary))
    check_factor(cfg.adaptive_input_factor, "--adaptive-input-factor", width, cutoffs)
    adaptive = AdaptiveInput(
        len(dictionary),
        dictionary.pad(),
        width,
        cfg.adaptive_input_factor,
        dim,
        cutoffs,
        cfg.quant_noise_pq,
        cfg.quant_noise_pq_block_size,
    )
    for words, _ in adaptive.embeddings[1:]:
        with torch.no_grad():
            words.weight[words.padding_idx].normal_(std=words.embedding_dim**-0.5)
        words.padding_idx = None
    return adaptive


def build_adaptive_softmax(cfg: Any, dictionary: Any, dim: int, embed_tokens: nn.Module) -> AdaptiveSoftmax:
    """The softmax, tied to the adaptive input on request. Raises ValueError where the two do not fit."""
    words = len(dictionary)
    cutoffs = parse_cutoffs(cfg.adaptive_softmax_cutoff, "--adaptive-softmax-cutoff", words)
    check_factor(cfg.adaptive_softmax_factor, "--adaptive-softmax-factor", dim, cutoffs)
    if not 0.0 <= cfg.adaptive_softmax_dropout < 1.0:
        raise ValueError(f"--adaptive-softmax-dropout must lie in [0, 1); got {cfg.adaptive_softmax_dropout}")
    if cfg.tie_adaptive_weights:
        if not cfg.adaptive_input:
            raise ValueError("--tie-adaptive-weights needs --adaptive-input")
        pairs = [
            ("cutoff", input_cutoffs(cfg, words), cutoffs),
            ("factor", cfg.adaptive_input_factor, cfg.adaptive_softmax_factor),
        ]
        for name, ours, theirs in pairs:
            if ours != theirs:
                raise ValueError(
                    f"--tie-adaptive-weights needs equal --adaptive-input-{name} ({ours}) and "
                    f"--adaptive-softmax-{name} ({theirs})"
                )
        if embed_tokens.weights_for_band(0)[0].size(1) != dim:
            raise ValueError(
                "--tie-adaptive-weights needs --decoder-input-dim to equal --decoder-embed-dim, and "
                "--decoder-output-dim as well"
            )
    elif cfg.tie_adaptive_proj:
        raise ValueError("--tie-adaptive-proj needs --tie-adaptive-weights")
    return AdaptiveSoftmax(
        words,
        dim,
        cutoffs,
        dropout=cfg.adaptive_softmax_dropout,
        factor=cfg.adaptive_softmax_factor,
        adaptive_inputs=embed_tokens if cfg.tie_adaptive_weights else None,
        tie_proj=cfg.tie_adaptive_proj,
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

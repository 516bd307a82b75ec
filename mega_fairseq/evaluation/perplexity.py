"""Perplexity with its protocol: everything that a number needs beside it, from one evaluation."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fairseq.sequence_scorer import SequenceScorer
from fairseq_cli import eval_lm


class Recorded:
    """What a run of fairseq-eval-lm scored: nats and contexts of its blocks, chunk sizes of its models."""

    def __init__(self, skipped: int):
        self.skipped = skipped  # tokens that begin each block and are no text
        self.nats: list[float] = []
        self.contexts: list[np.ndarray] = []  # how many tokens each token was predicted from
        self.chunks: set[int | None] = set()

    def add(self, models: list[Any], sample: dict[str, Any], scored: list[list[dict[str, Any]]]) -> None:
        """A batch, and what SequenceScorer found for it."""
        self.chunks.update(getattr(model.decoder, "chunk_size", None) for model in models)
        for (found,), start in zip(scored, sample.get("start_indices", [0] * len(scored)), strict=True):
            scores = found["positional_scores"].double()[self.skipped :]
            self.nats.append(-scores.sum().item())
            self.contexts.append(np.arange(start, start + len(scores)) + 1 + self.skipped)


@contextlib.contextmanager
def recording(recorded: Recorded) -> Iterator[None]:
    """fairseq-eval-lm returns no sums: inside, what its scorers find is noted."""

    class Recorder(SequenceScorer):
        def generate(self, models, sample, **kwargs):
            scored = super().generate(models, sample, **kwargs)
            recorded.add(models, sample, scored)
            return scored

    theirs = eval_lm.SequenceScorer
    eval_lm.SequenceScorer = Recorder
    try:
        yield
    finally:
        eval_lm.SequenceScorer = theirs


def evaluate(cfg: Any) -> dict[str, Any]:
    """Run fairseq-eval-lm; the sum in nats, and how many tokens each one was predicted from.

    Raises ValueError where a token got no probability, and OverflowError for a perplexity beyond numbers.
    """
    # The sign that begins a block is no text.
    recorded = Recorded(skipped=int(getattr(cfg.task, "add_bos_token", False)))
    with recording(recorded):
        eval_lm.main(cfg)
    context, total, chunks = np.concatenate(recorded.contexts), sum(recorded.nats), recorded.chunks
    if not math.isfinite(total):
        raise ValueError(f"the text costs {total} nats: a token got no probability; try without --fp16")
    return {
        "checkpoint": cfg.common_eval.path,
        "subset": cfg.dataset.gen_subset,
        "tokens": len(context),
        "blocks": len(recorded.contexts),
        "chunk": chunks.pop() if len(chunks) == 1 else sorted(chunks),
        "context_median": int(np.median(context)),
        "context_min": int(context.min()),
        "nats": total,
        "nats_per_token": total / len(context),
        "bits_per_token": total / len(context) / math.log(2),
        "perplexity_per_token": math.exp(total / len(context)),
    }


def counts(path: Path) -> tuple[int, int]:
    """Words and characters of a text file.

    Words are its whitespace-separated pieces and one line end a line (WikiText's convention); characters are
    its code points, line ends included. Raises OSError or ValueError.
    """
    text = path.read_text(encoding="utf-8")
    return len(text.split()) + text.count("\n"), len(text)


def per_unit(nats: float, words: int | None, characters: int | None) -> dict[str, Any]:
    """Perplexity per word and bits per character, where their numbers are known. Raises OverflowError."""
    found: dict[str, Any] = {}
    if words:
        found.update(words=words, perplexity_per_word=math.exp(nats / words))
    if characters:
        found.update(characters=characters, bits_per_character=nats / characters / math.log(2))
    return found

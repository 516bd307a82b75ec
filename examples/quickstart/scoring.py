"""From the output of fairseq-generate to a BLEU score and sentences to look at."""

import random
from pathlib import Path

from stage import StageError

# What comes from mega_fairseq is imported late: torch comes with it and would fill memory during training.


def hypotheses(output: Path, count: int) -> list[str]:
    """The best translation of each of the `count` sentences in fairseq-generate's output, in input order.

    Raises StageError unless every sentence has one.
    """
    from mega_fairseq.evaluation.generated import GeneratedError, read_generated

    try:
        return read_generated(output, count).hypotheses
    except GeneratedError as error:
        raise StageError(str(error)) from error


def bleu(translations: list[str], references: list[str], lang: str) -> tuple[str, str]:
    """sacreBLEU's score and its signature, both as text."""
    from mega_fairseq.evaluation import scoring

    metric = scoring.bleu(lang)
    score = metric.corpus_score(translations, [references])
    return f"{score.score:.1f}", str(metric.get_signature())


def samples(sources: list[str], *others: list[str], count: int = 10, seed: int = 1) -> list[tuple[str, ...]]:
    """`count` random sentences of three words or more, in order, each with its lines in the other lists."""
    long = [i for i, source in enumerate(sources) if len(source.split()) >= 3]
    chosen = sorted(random.Random(seed).sample(long, min(count, len(long))))
    return [tuple(lines[i] for lines in (sources, *others)) for i in chosen]

"""From the output of fairseq-generate to a BLEU score and sentences to look at."""

import random
from pathlib import Path

from corpus import read_lines
from sacrebleu.metrics import BLEU
from stage import StageError

TOKENIZE = {"ja": "char", "ko": "char", "zh-Hans": "zh", "zh-Hant": "zh"}  # 13a knows only spaces


def hypotheses(output: Path, count: int) -> list[str]:
    """The best translation of each of the `count` sentences in fairseq-generate's output, in input order.

    Raises StageError unless every sentence has one.
    """
    best: dict[int, str] = {}
    for line in read_lines(output):
        if line.startswith("H-"):
            number, _, text = line.removeprefix("H-").split("\t")
            best.setdefault(int(number), text)
    missing = sorted(set(range(count)) - set(best))
    if missing or len(best) != count:
        raise StageError(
            f"{output} has translations of {len(best)} sentences where the test split has {count}"
            + (f"; the first one missing is number {missing[0]}" if missing else "")
        )
    return [best[number] for number in range(count)]


def bleu(translations: list[str], references: list[str], lang: str) -> tuple[str, str]:
    """sacreBLEU's score and its signature, both as text."""
    metric = BLEU(tokenize=TOKENIZE.get(lang, "13a"))
    score = metric.corpus_score(translations, [references])
    return f"{score.score:.1f}", str(metric.get_signature())


def samples(sources: list[str], *others: list[str], count: int = 10, seed: int = 1) -> list[tuple[str, ...]]:
    """`count` random sentences of three words or more, in order, each with its lines in the other lists."""
    long = [i for i, source in enumerate(sources) if len(source.split()) >= 3]
    chosen = sorted(random.Random(seed).sample(long, min(count, len(long))))
    return [tuple(lines[i] for lines in (sources, *others)) for i in chosen]

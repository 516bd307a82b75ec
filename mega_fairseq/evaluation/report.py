"""The report of scoring: what is compared with what, read and checked, and each metric's numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mega_fairseq.evaluation.generated import is_generated, read_generated, read_text, split_lines
from mega_fairseq.evaluation.scoring import (
    METRICS,
    TESTS,
    ScoringError,
    Systems,
    check_pieces,
    comet,
    detokenizer,
    evaluate,
    measures,
)

FORMATS = ("auto", "generate", "plain")


@dataclass(frozen=True)
class Comparison:
    """Systems, references and how to score them, as the options of mega-score (its help says more).

    names: one for each file of hypotheses, the files themselves where None. format: of FORMATS.
    Raises ScoringError for options that do not fit each other.
    """

    hypotheses: Sequence[Path]
    references: Sequence[Path]
    names: Sequence[str] | None = None
    sources: Path | None = None
    format: str = "auto"
    metrics: Sequence[str] = METRICS
    detokenize: str = "none"
    target_lang: str = ""
    test: str | None = None
    samples: int | None = None
    seed: int | None = None
    compound_split: bool = False
    comet: str | None = None

    def __post_init__(self) -> None:
        self._check_names()
        self._check_language()
        self._check_tests()
        if self.comet and not self.sources:
            raise ScoringError(f"--comet {self.comet} needs --sources, the source text")
        if self.sources and not self.comet:
            raise ScoringError(f"--sources {self.sources} is for --comet; give --comet, or leave it out")

    @property
    def called(self) -> list[str]:
        """The systems' names."""
        return [*(self.names or map(str, self.hypotheses))]

    @property
    def tests(self) -> tuple[str, ...]:
        """Those of TESTS that --test asks for."""
        return tuple(TESTS) if self.test == "both" else (self.test,) if self.test else ()

    def _check_names(self) -> None:
        names, given = self.called, len(self.hypotheses)
        if len(names) != given:
            raise ScoringError(
                f"--names has {len(names)} names for {given} files of --hypotheses; give each one"
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ScoringError(f"two systems are called {twice}; give different --names")

    def _check_language(self) -> None:
        lang = self.target_lang
        if lang and not re.fullmatch("[A-Za-z]{2,3}([-_][A-Za-z0-9_-]+)?", lang):
            raise ScoringError(f"--target-lang {lang} is no language code; give one like de or zh-Hans")
        moses = ["--compound-split"] * self.compound_split
        moses += [f"--detokenize {kind}" for kind in ("moses", "subword-nmt") if kind == self.detokenize]
        if moses and not lang:
            raise ScoringError(f"{moses[-1]} needs --target-lang, the language of the translations, like de")

    def _check_tests(self) -> None:
        if self.test and len(self.hypotheses) < 2:
            raise ScoringError(
                f"--test {self.test} needs two or more files of --hypotheses; the first one is the baseline"
            )
        for flag in ("samples", "seed"):
            if getattr(self, flag) is not None and not self.test:
                raise ScoringError(f"--{flag} is of a paired test; give --test as well, or leave it out")


def report(asked: Comparison) -> dict[str, Any]:
    """Read the files and run every metric. Raises OSError, GeneratedError or ScoringError."""
    references = [split_lines(read_text(path)) for path in asked.references]
    first, count = asked.references[0], len(references[0])
    if not count:
        raise ScoringError(f"{first} is empty; give the reference translations, one a line")
    for path, lines in zip(asked.references, references, strict=True):
        matched(path, "references", lines, first, count)
    systems: Systems = {}
    for name, path in zip(asked.called, asked.hypotheses, strict=True):
        lines = hypotheses(path, asked.format, asked.detokenize, asked.target_lang)
        systems[name] = matched(path, "hypotheses", lines, first, count)
    metrics: dict[str, Any] = {}
    if asked.comet and asked.sources:  # first, because it may fail
        sources = split_lines(read_text(asked.sources))
        matched(asked.sources, "sources", sources, first, count)
        metrics["COMET"] = comet(asked.comet, systems, sources, references[0])
    how = (asked.tests, asked.samples, asked.seed or 12345)
    for name, measure in measures(tuple(asked.metrics), asked.target_lang, asked.compound_split).items():
        metrics[name] = evaluate(measure, systems, references, *how)
    return {
        "sentences": count,
        "systems": dict(zip(systems, map(str, asked.hypotheses), strict=True)),
        "references": [*map(str, asked.references)],
        "detokenize": asked.detokenize,
        "metrics": metrics,
    }


def hypotheses(path: Path, kind: str, detokenize: str, lang: str) -> list[str]:
    """One system's translations as plain text. Raises OSError, GeneratedError or ScoringError."""
    text = read_text(path)
    plain = detokenizer(detokenize, lang)
    if kind == "plain" or (kind == "auto" and not is_generated(text)):
        lines, others = split_lines(text), []
    else:
        found = read_generated(path)
        detokenized = detokenize == "none" and found.detokenized
        lines, others = detokenized or found.hypotheses, found.sources
    check_pieces(str(path), lines, others, detokenize)
    return [plain(line) for line in lines]


def matched(path: Path, what: str, lines: list[str], other: Path, count: int) -> list[str]:
    """The lines. Raises ScoringError unless there are as many as references."""
    if len(lines) != count:
        raise ScoringError(
            f"{path} has {len(lines)} {what} and {other} has {count} references; give files of one text, "
            "each of them whole"
        )
    return lines

"""BLEU, chrF, TER and COMET with their signatures, for one system or several with paired tests.

    python scripts/score.py --hypotheses generate.txt --references test.de --detokenize sentencepiece
    python scripts/score.py --hypotheses a.txt b.txt --references test.de --test bootstrap

Hypotheses are outputs of fairseq-generate or plain text, one sentence a line; references are plain text.
Several files of references are several references of each sentence. The first system is the baseline.
"""

import argparse
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

from tools import positive

from mega_fairseq.evaluation.generated import (
    GeneratedError,
    is_generated,
    read_generated,
    read_text,
    split_lines,
)
from mega_fairseq.evaluation.scoring import (
    DETOKENIZE,
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


def main(argv: list[str] | None = None) -> int:
    """Print the report; the exit status."""
    options = parse(argv)
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of every step of a test
    try:
        check(options)
        report = score(options)
    except (OSError, GeneratedError, ScoringError) as error:
        print(f"score.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, ensure_ascii=False) if options.json else table(report))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    files: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "FILE"}
    add = parser.add_argument
    add("--hypotheses", **files, required=True, help="translations, a file for each system")
    add("--references", **files, required=True, help="plain text, a file for each set of references")
    add("--names", nargs="+", metavar="NAME", help="what to call the systems (default: their files)")
    add("--sources", type=Path, metavar="FILE", help="plain source text, which --comet reads")
    add(
        "--format",
        choices=["auto", "generate", "plain"],
        default="auto",
        help="of the hypotheses: fairseq's output or plain text (auto: by whether most lines begin like H-0)",
    )
    add("--metrics", nargs="+", choices=METRICS, default=list(METRICS), help="which ones (default: all)")
    add(
        "--detokenize",
        choices=DETOKENIZE,
        default="none",
        help="make plain text of the hypotheses: join sentencepieces; undo Moses' tokenizer; join what "
        "subword-nmt split (@@) and undo Moses' tokenizer; none = take what fairseq detokenized (D- lines)",
    )
    add("--target-lang", default="", metavar="LANG", help="code like de, for tokenizers (BLEU: 13a without)")
    add("--test", choices=[*TESTS, "both"], help="paired test of each system against the first one")
    add("--samples", type=positive, help="of a test (default: 1000 for bootstrap, 10000 for randomization)")
    add("--seed", type=positive, help="of a test (default: 12345)")
    add("--compound-split", action="store_true", help="also the tokenized BLEU of papers on WMT En-De")
    add("--comet", metavar="MODEL", help="also COMET: a model's name, or a .ckpt file that you trust")
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def check(options: argparse.Namespace) -> None:
    """Fill in names. Raises ScoringError for options that do not fit each other."""
    given, lang, test = len(options.hypotheses), options.target_lang, options.test
    names = options.names = options.names or [str(path) for path in options.hypotheses]
    if len(names) != given:
        raise ScoringError(f"--names has {len(names)} names for {given} files of --hypotheses; give each one")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ScoringError(f"two systems are called {twice}; give different --names")
    if lang and not re.fullmatch("[A-Za-z]{2,3}([-_][A-Za-z0-9_-]+)?", lang):
        raise ScoringError(f"--target-lang {lang} is no language code; give one like de or zh-Hans")
    moses = ["--compound-split"] * options.compound_split
    moses += [f"--detokenize {kind}" for kind in ("moses", "subword-nmt") if kind == options.detokenize]
    if moses and not lang:
        raise ScoringError(f"{moses[-1]} needs --target-lang, the language of the translations, like de")
    if test and given < 2:
        raise ScoringError(
            f"--test {test} needs two or more files of --hypotheses; the first one is the baseline"
        )
    for flag in ("samples", "seed"):
        if getattr(options, flag) is not None and not test:
            raise ScoringError(f"--{flag} is of a paired test; give --test as well, or leave it out")
    if options.comet and not options.sources:
        raise ScoringError(f"--comet {options.comet} needs --sources, the source text")
    if options.sources and not options.comet:
        raise ScoringError(f"--sources {options.sources} is for --comet; give --comet, or leave it out")


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


def score(options: argparse.Namespace) -> dict[str, Any]:
    """Read the files and run every metric. Raises OSError, GeneratedError or ScoringError."""
    first, lang = options.references[0], options.target_lang
    references = [split_lines(read_text(path)) for path in options.references]
    count = len(references[0])
    if not count:
        raise ScoringError(f"{first} is empty; give the reference translations, one a line")
    for path, lines in zip(options.references, references, strict=True):
        matched(path, "references", lines, first, count)
    systems: Systems = {}
    for name, path in zip(options.names, options.hypotheses, strict=True):
        lines = hypotheses(path, options.format, options.detokenize, lang)
        systems[name] = matched(path, "hypotheses", lines, first, count)
    metrics: dict[str, Any] = {}
    if options.comet:  # first, because it may fail
        sources = split_lines(read_text(options.sources))
        matched(options.sources, "sources", sources, first, count)
        metrics["COMET"] = comet(options.comet, systems, sources, references[0])
    tests = tuple(TESTS) if options.test == "both" else (options.test,) if options.test else ()
    how = (tests, options.samples, options.seed or 12345)
    for name, measure in measures(tuple(options.metrics), lang, options.compound_split).items():
        metrics[name] = evaluate(measure, systems, references, *how)
    return {
        "sentences": count,
        "systems": dict(zip(systems, map(str, options.hypotheses), strict=True)),
        "references": [*map(str, options.references)],
        "detokenize": options.detokenize,
        "metrics": metrics,
    }


def table(report: dict[str, Any]) -> str:
    """Scores, a block for each test, and what the metrics were."""
    metrics = report["metrics"]
    systems = list(next(iter(metrics.values()))["scores"])
    digits = {name: 4 if name == "COMET" else 1 for name in metrics}
    rows = [["", *metrics]]
    rows += [[s, *(f"{m['scores'][s]:.{digits[name]}f}" for name, m in metrics.items())] for s in systems]
    blocks = [aligned(rows)]
    for test in TESTS:
        tested = {name: metric[test] for name, metric in metrics.items() if test in metric}
        if tested:
            rows = [[f"paired {test}", *tested]]
            rows += [[s, *(cell(t["systems"][s]) for t in tested.values())] for s in systems]
            blocks.append(f"{aligned(rows)}\np: of no difference from {systems[0]}")
    notes = []
    for name, metric in metrics.items():
        notes += [[name, metric["signature"] + (f" ({metric['note']})" if "note" in metric else "")]]
        notes += [[f"{name}, {test}", metric[test]["signature"]] for test in TESTS if test in metric]
    return "\n\n".join([f"{report['sentences']:,} sentences", *blocks, aligned(notes)])


def cell(values: dict[str, float]) -> str:
    """Mean and interval, and p, where there are any."""
    mean = f"{values['mean']:.1f} ± {values['interval']:.1f}" if "mean" in values else ""
    return " ".join(filter(None, [mean, f"p = {values['p']:.4f}" if "p" in values else ""])) or "-"


def aligned(rows: list[list[str]]) -> str:
    """Columns, with two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    sys.exit(main())

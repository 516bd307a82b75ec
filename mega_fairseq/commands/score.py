"""BLEU, chrF, TER and COMET with their signatures, for one system or several with paired tests.

    %(prog)s --hypotheses generate.txt --references test.de --detokenize sentencepiece
    %(prog)s --hypotheses a.txt b.txt --references test.de --test bootstrap

Hypotheses are outputs of fairseq-generate or plain text, one sentence a line; references are plain text.
Several files of references are several references of each sentence. The first system is the baseline.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from mega_fairseq.commands import arguments
from mega_fairseq.evaluation.generated import GeneratedError
from mega_fairseq.evaluation.report import FORMATS, Comparison, report
from mega_fairseq.evaluation.scoring import DETOKENIZE, METRICS, TESTS, ScoringError


def main(argv: list[str] | None = None, prog: str = "mega-score") -> int:
    """Print the report; the exit status."""
    options = vars(parse(argv, prog))
    as_json = options.pop("json")
    logging.getLogger("sacrebleu").setLevel(logging.WARNING)  # it tells of every step of a test
    try:
        found = report(Comparison(**options))
    except (OSError, GeneratedError, ScoringError) as error:
        return arguments.failed(prog, error)
    print(json.dumps(found, ensure_ascii=False) if as_json else table(found))
    return 0


def parse(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    parser = arguments.parser(prog, __doc__)
    files: dict[str, Any] = {"type": Path, "nargs": "+", "metavar": "FILE"}
    add = parser.add_argument
    add("--hypotheses", **files, required=True, help="translations, a file for each system")
    add("--references", **files, required=True, help="plain text, a file for each set of references")
    add("--names", nargs="+", metavar="NAME", help="what to call the systems (default: their files)")
    add("--sources", type=Path, metavar="FILE", help="plain source text, which --comet reads")
    add(
        "--format",
        choices=FORMATS,
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
    add(
        "--samples",
        type=arguments.positive,
        help="of a test (default: 1000 for bootstrap, 10000 for randomization)",
    )
    add("--seed", type=arguments.positive, help="of a test (default: 12345)")
    add("--compound-split", action="store_true", help="also the tokenized BLEU of papers on WMT En-De")
    add("--comet", metavar="MODEL", help="also COMET: a model's name, or a .ckpt file that you trust")
    add("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(argv)


def table(found: dict[str, Any]) -> str:
    """Scores, a block for each test, and what the metrics were."""
    metrics = found["metrics"]
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
    return "\n\n".join([f"{found['sentences']:,} sentences", *blocks, aligned(notes)])


def cell(values: dict[str, float]) -> str:
    """Mean and interval, and p, where there are any."""
    mean = f"{values['mean']:.1f} ± {values['interval']:.1f}" if "mean" in values else ""
    return " ".join(filter(None, [mean, f"p = {values['p']:.4f}" if "p" in values else ""])) or "-"


def aligned(rows: list[list[str]]) -> str:
    """Columns, with two spaces between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

"""Perplexity with its protocol: everything that a number needs beside it, from one evaluation.

    %(prog)s DATA --path CHECKPOINT --gen-subset test --text test.txt [...]

takes every option of fairseq-eval-lm besides its own. Blocks, chunks and context are the evaluation's.

Words of --text are its whitespace-separated pieces and one line end a line (WikiText's convention);
characters are its code points, line ends included.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from mega_fairseq.commands import arguments
from mega_fairseq.compat.repairs.plugin import PACKAGE
from mega_fairseq.evaluation.perplexity import counts, evaluate, per_unit


def main(argv: list[str] | None = None, prog: str = "mega-perplexity") -> int:
    """Print the report; the exit status."""
    given = parse(argv, prog)
    try:
        words, characters = counts(given.text) if given.text else (None, None)
        report = evaluate(convert_namespace_to_omegaconf(given))
        report.update(per_unit(report["nats"], given.words or words, given.characters or characters))
    except OverflowError:
        return arguments.failed(prog, "a perplexity beyond numbers: is --words, or --text, this split's?")
    except (OSError, ValueError, RuntimeError) as error:
        return arguments.failed(prog, error)
    print(json.dumps(report) if given.json else table(report))
    return 0


def parse(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Our options and fairseq-eval-lm's. Exits with the usage on nonsense."""
    parser = arguments.describe(options.get_eval_lm_parser(), prog, __doc__)
    parser.add_argument("--text", type=Path, help="original text, to count words and characters")
    parser.add_argument("--words", type=arguments.positive, help="words of the original text")
    parser.add_argument("--characters", type=arguments.positive, help="characters of the original text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    argv = sys.argv[1:] if argv is None else argv
    return options.parse_args_and_arch(parser, ["--user-dir", str(PACKAGE), *argv])


def table(report: dict[str, Any]) -> str:
    """One line for each figure."""

    def shown(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.4f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    return "\n".join(f"{name.replace('_', ' '):22}{shown(value)}" for name, value in report.items())

"""Perplexity with its protocol: everything that a number needs beside it, from one evaluation.

    python scripts/perplexity.py DATA --path CHECKPOINT --gen-subset test --text test.txt [...]

takes every option of fairseq-eval-lm besides its own. Blocks, chunks and context are the evaluation's.

Words of --text are its whitespace-separated pieces and one line end a line (WikiText's convention);
characters are its code points, line ends included.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.sequence_scorer import SequenceScorer
from fairseq_cli import eval_lm
from tools import positive

import mega_fairseq


def main(argv: list[str] | None = None) -> int:
    """Print the report; the exit status."""
    parser = options.get_eval_lm_parser()
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--text", type=Path, help="original text, to count words and characters")
    parser.add_argument("--words", type=positive, help="words of the original text")
    parser.add_argument("--characters", type=positive, help="characters of the original text")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = sys.argv[1:] if argv is None else argv
    arguments = options.parse_args_and_arch(parser, ["--user-dir", mega_fairseq.__path__[0], *given])
    try:
        words, characters = counts(arguments.text)
        report = evaluate(convert_namespace_to_omegaconf(arguments))
        report.update(per_unit(report, arguments.words or words, arguments.characters or characters))
    except OverflowError:
        print(
            "perplexity.py: a perplexity beyond numbers: is --words, or --text, this split's?",
            file=sys.stderr,
        )
        return 1
    except (OSError, ValueError, RuntimeError) as error:
        print(f"perplexity.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if arguments.json else table(report))
    return 0


def counts(path: Path | None) -> tuple[int | None, int | None]:
    """Words and characters of a text file."""
    if path is None:
        return None, None
    text = path.read_text(encoding="utf-8")
    return len(text.split()) + text.count("\n"), len(text)


def evaluate(cfg: Any) -> dict[str, Any]:
    """Run fairseq-eval-lm; the sum in nats, and how many tokens each one was predicted from."""
    nats, contexts, chunks = [], [], set()
    skipped = int(getattr(cfg.task, "add_bos_token", False))  # the sign that begins a block is no text

    class Recorder(SequenceScorer):
        def generate(self, models, sample, **kwargs):
            scored = super().generate(models, sample, **kwargs)
            chunks.update(getattr(model.decoder, "chunk_size", None) for model in models)
            for (found,), start in zip(scored, sample.get("start_indices", [0] * len(scored)), strict=True):
                scores = found["positional_scores"].double()[skipped:]
                nats.append(-scores.sum().item())
                contexts.append(np.arange(start, start + len(scores)) + 1 + skipped)
            return scored

    eval_lm.SequenceScorer = Recorder
    eval_lm.main(cfg)
    context, total = np.concatenate(contexts), sum(nats)
    if not math.isfinite(total):
        raise ValueError(f"the text costs {total} nats: a token got no probability; try without --fp16")
    return {
        "checkpoint": cfg.common_eval.path,
        "subset": cfg.dataset.gen_subset,
        "tokens": len(context),
        "blocks": len(contexts),
        "chunk": chunks.pop() if len(chunks) == 1 else sorted(chunks),
        "context_median": int(np.median(context)),
        "context_min": int(context.min()),
        "nats": total,
        "nats_per_token": total / len(context),
        "bits_per_token": total / len(context) / math.log(2),
        "perplexity_per_token": math.exp(total / len(context)),
    }


def per_unit(report: dict[str, Any], words: int | None, characters: int | None) -> dict[str, Any]:
    """Perplexity per word and bits per character, where their numbers are known."""
    found: dict[str, Any] = {}
    if words:
        found.update(words=words, perplexity_per_word=math.exp(report["nats"] / words))
    if characters:
        found.update(characters=characters, bits_per_character=report["nats"] / characters / math.log(2))
    return found


def table(report: dict[str, Any]) -> str:
    """One line for each figure."""

    def shown(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.4f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    return "\n".join(f"{name.replace('_', ' '):22}{shown(value)}" for name, value in report.items())


if __name__ == "__main__":
    sys.exit(main())

"""Where a translation model looks: the cross-attention of one sentence pair, with its tokens on both axes.

    %(prog)s DATA --path CHECKPOINT --source TEXT [--target TEXT] --out attention

takes every option of fairseq-interactive besides its own, such as --bpe sentencepiece --sentencepiece-model.
Without --target the model's own translation is shown. A row holds the weights from which its token was
predicted; what they let through is gated afterwards.
"""

import argparse
import sys

from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from mega_fairseq.commands import arguments, pictures
from mega_fairseq.compat.repairs.plugin import PACKAGE
from mega_fairseq.evaluation.pictures.attention import load, picture


def main(argv: list[str] | None = None, prog: str = "mega-plot attention") -> int:
    """Write the picture; the exit status."""
    given = parse(argv, prog)
    return pictures.run(
        prog,
        given.out,
        lambda: picture(load(convert_namespace_to_omegaconf(given)), given.source, given.target, given.layer),
    )


def parse(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Our options and fairseq-interactive's. Exits with the usage on nonsense."""
    parser = arguments.describe(options.get_interactive_generation_parser(), prog, __doc__)
    parser.add_argument("--source", required=True, help="sentence to translate")
    parser.add_argument("--target", help="its translation (default: the model's, with --beam and the like)")
    parser.add_argument("--layer", default="mean", help="a decoder layer from 1, mean (default), or all")
    pictures.add_out(parser)
    argv = sys.argv[1:] if argv is None else argv
    return options.parse_args_and_arch(parser, ["--user-dir", str(PACKAGE), *argv])

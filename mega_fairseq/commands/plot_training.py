"""Curves of trainings from fairseq's logs: loss, perplexity, BLEU, learning rate, gradient norm, speed.

    %(prog)s LOG... [--names NAME...] --out curves

reads what fairseq-train printed (--log-format json or simple; a file of --log-file or of Hydra as well).
A log may hold a training and its resumptions one after another: where updates repeat, the later ones count.
A last line without an end was cut off and is left out. fairseq reports losses in bits, to base 2.
"""

from pathlib import Path

from mega_fairseq.commands import arguments, pictures
from mega_fairseq.evaluation.pictures.training import draw, named


def main(argv: list[str] | None = None, prog: str = "mega-plot training") -> int:
    """Write the picture; the exit status."""
    parser = arguments.parser(prog, __doc__)
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="what fairseq-train printed")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="names of the runs, one for each log")
    pictures.add_out(parser)
    options = parser.parse_args(argv)
    return pictures.run(prog, options.out, lambda: draw(named(options.logs, options.names)))

"""What the moving averages of a trained model remember: time scales and impulse responses of each layer.

    %(prog)s CHECKPOINT --out ema

Left: how many tokens pass until a component of the EMA has fallen to 1/e, -1/ln q, over all D x N components.
Right: the weight k[d, t] of an input t tokens away, each channel's largest set to 1, for the channels with a
short, a middling and a long memory (mean distance |t| weighted by |k|). Inputs left of 0 came earlier; an
encoder has a second average from right to left. A --truncation-length cuts k, not the time scales.
"""

from pathlib import Path

from mega_fairseq.commands import arguments, pictures
from mega_fairseq.evaluation.pictures.ema import chosen, draw, read_averages


def main(argv: list[str] | None = None, prog: str = "mega-plot ema") -> int:
    """Write the picture; the exit status."""
    parser = arguments.parser(prog, __doc__)
    parser.add_argument("checkpoint", type=Path, help="of a mega_nmt or mega_lm")
    pictures.add_out(parser)
    parser.add_argument("--layers", type=arguments.positive, nargs="+", help="layers, from 1 (default: all)")
    parser.add_argument("--taps", type=arguments.positive, default=32, help="tokens of the responses shown")
    options = parser.parse_args(argv)
    return pictures.run(
        prog,
        options.out,
        lambda: draw(chosen(read_averages(options.checkpoint), options.layers), options.taps),
    )

"""Pictures of a training, of what a model's EMA remembers, and of where a translation model looks.

    %(prog)s training LOG... --out curves
    %(prog)s ema CHECKPOINT --out ema
    %(prog)s attention DATA --path CHECKPOINT --source TEXT --out attention

--out x.png or x.svg writes that file, --out x both. `%(prog)s NAME --help` tells the options of each.
"""

import importlib
import sys

from mega_fairseq.commands import arguments

PICTURES = ("training", "ema", "attention")


def main(argv: list[str] | None = None, prog: str = "mega-plot") -> int:
    """Run the command of the picture that the first argument names; its exit status."""
    given = sys.argv[1:] if argv is None else argv
    parser = arguments.parser(prog, __doc__)
    parser.usage = f"{prog} [-h] {{{','.join(PICTURES)}}} ..."
    parser.add_argument("picture", choices=PICTURES, help="what to draw")
    picture = parser.parse_args(given[:1]).picture
    command = importlib.import_module(
        f"mega_fairseq.commands.plot_{picture}"
    )  # only now is matplotlib needed
    return command.main(given[1:], f"{prog} {picture}")

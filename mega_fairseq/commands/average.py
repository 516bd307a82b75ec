"""The average of several checkpoints of one training, as a checkpoint.

    %(prog)s --inputs a.pt b.pt --output average.pt
    %(prog)s --inputs checkpoints --num-update-checkpoints 5 --output average.pt

Options as in fairseq's script of this name. Nothing in the inputs is run. Sums are in float64; numbers keep
their type, tied tensors stay tied. Whole numbers, settings and the state of the training are those of the
last input (the newest, or the best, of a folder); the optimizer's state is left out.
"""

import argparse
from pathlib import Path

from mega_fairseq.checkpoints.averaging import KINDS, average, check_output, chosen
from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.checkpoints.files import save
from mega_fairseq.commands import arguments


def main(argv: list[str] | None = None, prog: str = "mega-average") -> int:
    """Average and write; the exit status."""
    options = parse(argv, prog)
    counts = {kind: getattr(options, f"num_{kind}_checkpoints") for kind in KINDS}
    kind, count = next(((kind, count) for kind, count in counts.items() if count), (None, 0))
    try:
        paths = chosen(options.inputs, kind, count, options.checkpoint_upper_bound)
        check_output(options.output, paths)
        save(average(paths), options.output, "--output")
    except (OSError, CheckpointError) as error:
        return arguments.failed(prog, error)
    print(f"{options.output}: average of {len(paths)} checkpoints, {', '.join(map(str, paths))}")
    return 0


def parse(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    parser = arguments.parser(prog, __doc__)
    add = parser.add_argument
    add("--inputs", type=Path, nargs="+", required=True, help="checkpoints, or the folder of --num-*")
    add("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write")
    number = parser.add_mutually_exclusive_group()
    for kind, (_, example) in KINDS.items():
        which = "best ones" if kind == "best" else "newest"
        text = f"average the N {which} of the files in the folder that are named like {example}"
        number.add_argument(f"--num-{kind}-checkpoints", type=arguments.positive, metavar="N", help=text)
    text = "leave out what comes after this epoch (--num-epoch-*) or update (--num-update-*)"
    add("--checkpoint-upper-bound", type=int, metavar="N", help=text)
    return parser.parse_args(argv)

"""A checkpoint of the reference implementation of Mega as one of ours, or back with --reverse.

    %(prog)s IN OUT

Nothing in IN is run. Arguments are translated to fairseq 0.12; the optimizer's state is left out.
"""

import logging
import warnings
from pathlib import Path

from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.checkpoints.files import convert
from mega_fairseq.commands import arguments


def main(argv: list[str] | None = None, prog: str = "mega-convert") -> int:
    """Convert one file; the exit status."""
    parser = arguments.parser(prog, __doc__)
    parser.add_argument("source", metavar="IN", type=Path, help="checkpoint to read")
    parser.add_argument("target", metavar="OUT", type=Path, help="checkpoint to write")
    parser.add_argument("--reverse", action="store_true", help="from ours to the reference's")
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # hydra says much, and warns of how fairseq uses it
    try:
        with warnings.catch_warnings(action="ignore"):
            tensors = convert(options.source, options.target, options.reverse)
    except (OSError, CheckpointError) as error:
        return arguments.failed(prog, error)
    finally:
        logging.disable(logging.NOTSET)
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{options.target}: {len(tensors)} tensors, {numbers:,} numbers")
    return 0

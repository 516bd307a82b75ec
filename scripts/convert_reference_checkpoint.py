"""A checkpoint of the reference implementation of Mega as one of ours, or back with --reverse.

    python scripts/convert_reference_checkpoint.py IN OUT

Nothing in IN is run. Arguments are translated to fairseq 0.12; the optimizer's state is left out.
"""

import argparse
import logging
import sys
import warnings
from pathlib import Path

from tools import save

import mega_fairseq  # noqa: F401
from mega_fairseq.checkpoints import untrusted
from mega_fairseq.checkpoints.conversion import from_reference, to_reference
from mega_fairseq.checkpoints.errors import FOREIGN, CheckpointError, explained, one_line


def main(argv: list[str] | None = None) -> int:
    """Convert one file; the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("source", metavar="IN", type=Path, help="checkpoint to read")
    parser.add_argument("target", metavar="OUT", type=Path, help="checkpoint to write")
    parser.add_argument("--reverse", action="store_true", help="from ours to the reference's")
    options = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # hydra says much, and warns of how fairseq uses it
    try:
        with warnings.catch_warnings(action="ignore"):
            convert(options.source, options.target, options.reverse)
    except (OSError, CheckpointError) as error:
        print(f"convert_reference_checkpoint.py: {error}", file=sys.stderr)
        return 1
    finally:
        logging.disable(logging.NOTSET)
    return 0


def convert(source: Path, target: Path, reverse: bool) -> None:
    """Raises OSError or CheckpointError, naming the file; then `target` is as it was."""
    with explained(str(source), "IN"), source.open("rb") as file:
        checkpoint = untrusted.load(file)
    if target.exists() and target.samefile(source):
        raise CheckpointError(f"OUT {target} is IN; give the converted checkpoint another name")
    try:
        if not isinstance(checkpoint, dict):
            raise ValueError(f"it holds a {type(checkpoint).__name__}")
        converted = (to_reference if reverse else from_reference)(checkpoint)
    except FOREIGN as error:
        wanted, other = ("ours", "without") if reverse else ("the reference", "with")
        raise CheckpointError(
            f"cannot convert {source}: {one_line(error)}. Give a checkpoint of {wanted}; the other way goes "
            f"{other} --reverse"
        ) from error
    save(converted, target, "OUT")
    tensors = converted["model"]
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{target}: {len(tensors)} tensors, {numbers:,} numbers")


if __name__ == "__main__":
    sys.exit(main())

"""What the commands that draw share: where the picture goes, and how it is told."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path

from mega_fairseq.commands import arguments
from mega_fairseq.evaluation.pictures import figures


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option --out."""
    parser.add_argument("--out", type=Path, required=True, help="picture; without .png or .svg: both")


def run(prog: str, out: Path, draw: Callable[[], figures.Figure]) -> int:
    """Save the picture that `draw` makes and say where; the exit status. Errors are told in one sentence."""
    logging.disable(logging.INFO)  # fairseq's imports let everything through
    try:
        for file in figures.write(out, draw):
            print(file)
    except (OSError, ValueError, RuntimeError) as error:
        return arguments.failed(prog, str(error).partition("\n")[0])  # torch lists what differs
    finally:
        logging.disable(logging.NOTSET)
    return 0

"""What these commands share: numbers above 0, and checkpoints that are written whole or not at all."""

import os
from pathlib import Path
from typing import Any

import torch

from mega_fairseq.checkpoints.errors import CheckpointError


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def save(state: dict[str, Any], path: Path, option: str) -> None:
    """Write a checkpoint so that `path`, given as `option`, is whole or as it was.

    Raises CheckpointError or OSError.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        torch.save(state, part)
        os.replace(part, path)
    except RuntimeError as error:  # torch's, where it cannot write
        raise CheckpointError(f"cannot write {option} {path}: {error}") from error
    finally:
        part.unlink(missing_ok=True)

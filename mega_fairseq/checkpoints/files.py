"""Checkpoint files: written whole or not at all, and converted from the reference's or to them."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mega_fairseq.checkpoints import untrusted
from mega_fairseq.checkpoints.conversion import from_reference, to_reference
from mega_fairseq.checkpoints.errors import FOREIGN, CheckpointError, explained, one_line


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


def convert(source: Path, target: Path, reverse: bool = False) -> dict[str, Tensor]:
    """Write a checkpoint of the reference as one of ours, or back where `reverse`; the tensors written.

    Raises OSError or CheckpointError, naming the file; then `target` is as it was.
    """
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
    return converted["model"]

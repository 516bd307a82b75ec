"""Repairs of how fairseq writes and copies checkpoints: a file of that name is always whole."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator

import torch
from fairseq import checkpoint_utils, file_io
from fairseq.file_io import PathManager

from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.compat.registry import repairs

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TRIES, PAUSE = 3, 2.5  # fairseq's, for file systems that fail for a moment


@repairs(checkpoint_utils, "torch_persistent_save")
def write_whole(original, obj, filename, async_write=False):
    """checkpoint_utils.py tries a failed write again behind the bytes it has written, so that what it then
    calls a checkpoint cannot be read. On a full disk it leaves its half there and ends inside torch.
    """
    if async_write or not PathManager.supports_rename(filename):
        original(obj, filename, async_write)
        return
    for left in reversed(range(TRIES)):
        try:
            with _renamed_when_whole(filename) as temporary, open(temporary, "wb") as file:
                torch.save(obj, file)
            return
        except (OSError, RuntimeError) as error:
            fault = _fault(error)
            if left == 0 or fault is None or fault.errno in FULL:
                raise _told(filename, error) from error
            time.sleep(PAUSE)


@repairs(PathManager, "copy")
def copy_whole(original, src_path, dst_path, overwrite=False):
    """file_io.py copies checkpoint_last.pt in place: a kill leaves nothing to resume from."""
    if file_io.IOPathManager:
        return original(src_path, dst_path, overwrite=overwrite)
    try:
        with _renamed_when_whole(dst_path) as temporary:
            shutil.copyfile(src_path, temporary)
    except OSError as error:
        raise _told(dst_path, error) from error
    return dst_path


@contextlib.contextmanager
def _renamed_when_whole(path: str) -> Iterator[str]:
    """A file beside it that takes its name at the end.

    Its name is always the same, so that what a killed process leaves there is written over and not added to.
    """
    temporary = f"{path}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def _fault(error: BaseException | None) -> OSError | None:
    """The system's error that torch hides behind its own, of a position in the file."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _told(path: str, error: Exception) -> Exception:
    fault = _fault(error)
    if fault is None:
        return error
    remedy = "check --save-dir"
    if fault.errno in FULL:
        remedy = (
            "make room, keep fewer checkpoints (--no-epoch-checkpoints, --keep-last-epochs 1, "
            "--keep-interval-updates 1), or move the folder and name it in --save-dir"
        )
    return CheckpointError(
        f"cannot write {path}: {fault.strerror or fault}; {remedy}. The checkpoints before it are whole, "
        "and the same command goes on from checkpoint_last.pt"
    )

"""Repairs of how fairseq reads and writes checkpoints."""

import os
import pickle
import re
import shutil

from fairseq import checkpoint_utils, file_io
from fairseq.trainer import Trainer

from mega_fairseq.compat.registry import repairs


class CheckpointError(RuntimeError):
    """A checkpoint file that cannot be used, told in one sentence."""


@repairs(checkpoint_utils, "load_checkpoint_to_cpu")
def explain_bad_checkpoints(original, path, *args, **kwargs):
    """checkpoint_utils.py lets a truncated or foreign file surface as an error from deep inside torch."""
    try:
        return original(path, *args, **kwargs)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {path}; check --path or --restore-file") from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise CheckpointError(_unreadable(path, error)) from error
        raise CheckpointError(
            f"refused to load {path}: it refers to {refused[1]}, which is no plain data and could run "
            "code. Use a checkpoint that fairseq wrote, or, if you trust this type, allow it with "
            "torch.serialization.add_safe_globals."
        ) from error
    except (EOFError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def _unreadable(path: str, error: Exception) -> str:
    # torch begins with advice to turn its safe loading off, which is no remedy
    text = str(error).rpartition("error: ")[2].strip() or "the file is empty"
    reason = re.split(r"\.\s|\n", text)[0].rstrip(".")
    return (
        f"cannot read {path} as a fairseq checkpoint ({type(error).__name__}: {reason}); it may be truncated "
        "or of another kind. Use another checkpoint of that folder, or delete this one to start again."
    )


@repairs(file_io.PathManager, "copy")
def copy_atomically(original, src_path, dst_path, overwrite=False):
    """file_io.py copies checkpoint_last.pt in place: a kill leaves nothing to resume from."""
    if file_io.IOPathManager:
        return original(src_path, dst_path, overwrite=overwrite)
    temporary = f"{dst_path}.tmp.{os.getpid()}"
    try:
        shutil.copyfile(src_path, temporary)
        os.replace(temporary, dst_path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return dst_path


@repairs(Trainer, "load_checkpoint")
def restore_the_task(original, self, filename, reset_optimizer=False, *args, **kwargs):
    """trainer.py writes the task's state into every checkpoint and never reads it."""
    read, states = checkpoint_utils.load_checkpoint_to_cpu, []

    def read_and_keep(*arguments, **options):
        state = read(*arguments, **options)
        states.append(state.get("task_state"))
        return state

    checkpoint_utils.load_checkpoint_to_cpu = read_and_keep
    try:
        extra_state = original(self, filename, reset_optimizer, *args, **kwargs)
    finally:
        checkpoint_utils.load_checkpoint_to_cpu = read
    if states and states[0] and not reset_optimizer:
        self.task.load_state_dict(states[0])
    return extra_state

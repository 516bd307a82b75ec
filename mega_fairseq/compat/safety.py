"""Safety: what keeps a file from running code, or from lying about what it holds (see checkpoints/)."""

import os
import types

import torch
from fairseq import checkpoint_utils
from omegaconf import OmegaConf, open_dict

from mega_fairseq.checkpoints import safe_types, untrusted
from mega_fairseq.checkpoints.conversion import described
from mega_fairseq.checkpoints.errors import FOREIGN, CheckpointError, one_line
from mega_fairseq.checkpoints.names import of_reference
from mega_fairseq.compat.checks.checkpoints import MISFIT, misfit
from mega_fairseq.compat.registry import guards, setting, swapped

setting("safety", "eval in fairseq's modules that read options")(safe_types.read_literals_only)


@setting("safety", "fairseq.checkpoint_utils.torch")
def check_what_is_loaded() -> None:
    """checkpoint_utils.py makes a configuration of what torch.load returns; its torch here looks first."""
    if not isinstance(checkpoint_utils.torch, _CheckingTorch):
        checkpoint_utils.torch = _CheckingTorch("torch")


class _CheckingTorch(types.ModuleType):
    @staticmethod
    def load(file, map_location="cpu"):
        state = untrusted.load(file, map_location)
        if of_reference(state):
            raise CheckpointError(
                f"{file.name} is a checkpoint of the reference implementation; convert it first with "
                "mega-convert"
            )
        return state

    def __getattr__(self, name):
        return getattr(torch, name)


SPARE = 10_000_000  # numbers that a model may have beyond its checkpoint's, which then tells what differs


@guards(checkpoint_utils, "load_model_ensemble_and_task")
def explain_other_models(original, filenames, *args, **kwargs):
    """checkpoint_utils.py names no flag for an absent file, lists every tensor that does not fit, and builds
    a model of any size that a file asks for.
    """
    read = checkpoint_utils.load_checkpoint_to_cpu

    def read_and_fit(path, *arguments, **options):
        state = read(path, *arguments, **options)
        _check_size(path, state)
        return state

    try:
        with swapped(checkpoint_utils, "load_checkpoint_to_cpu", read_and_fit):
            return original(filenames, *args, **kwargs)
    except (CheckpointError, FileNotFoundError):
        raise
    except OSError as error:
        text, _, path = str(error).partition(" not found: ")
        if text != "Model file":
            raise
        raise FileNotFoundError(f"there is no checkpoint {path}; check --path") from error
    except FOREIGN as error:
        text = misfit(str(error)) if MISFIT in str(error) else one_line(error)
        names = map(os.path.basename if text.startswith("cannot use ") else str, filenames)  # names another
        raise CheckpointError(f"cannot load {' or '.join(names)}: {text}") from error


def _check_size(path: str, state: dict) -> None:
    """Raises CheckpointError where a mega model, described without memory, is far larger than its tensors.

    What differs by less is told as it is loaded.
    """
    options, tensors = state["cfg"]["model"], state["model"]
    name = str(options.get("_name") if hasattr(options, "get") else getattr(options, "_name", None))
    if not name.startswith(("mega_nmt", "mega_lm")) or state.get("fsdp_metadata"):
        return
    layers = max(int(options.get(f"{side}_layers") or 0) for side in ("encoder", "decoder"))
    if layers > len(tensors):
        raise CheckpointError(
            f"cannot load {path}: its configuration asks for {layers:,} layers and it holds "
            f"{len(tensors):,} tensors; use another checkpoint"
        )
    options = OmegaConf.create(OmegaConf.to_container(options))
    with open_dict(options):
        options.encoder_embed_path = options.decoder_embed_path = None  # the vectors are in the checkpoint
    try:
        size = sum(tensor.numel() for tensor in described(options, tensors).values())
    except FOREIGN as error:
        raise CheckpointError(f"cannot load {path}: {one_line(error)}; use another checkpoint") from error
    held = sum(tensor.numel() for tensor in tensors.values())
    if size > 2 * held + SPARE:
        raise CheckpointError(
            f"cannot load {path}: its configuration describes a model of {size:,} numbers and it holds "
            f"{held:,}; use another checkpoint"
        )

"""Repairs of how fairseq reads checkpoints."""

import argparse
import logging
import os
import re

from fairseq import checkpoint_utils, utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from mega_fairseq.checkpoints.conversion import described
from mega_fairseq.checkpoints.errors import FOREIGN, CheckpointError, explained, is_folder, one_line
from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import repairs, swapped

logger = logging.getLogger(__name__)
SPARE = 10_000_000  # numbers that a model may have beyond its checkpoint's, which then tells what differs
MISFIT = "Error(s) in loading state_dict"


@repairs(checkpoint_utils, "load_checkpoint_to_cpu")
def explain_bad_checkpoints(original, path, *args, **kwargs):
    """checkpoint_utils.py lets a truncated or foreign file surface as an error from deep inside torch."""
    with explained(path):
        return original(path, *args, **kwargs)


@repairs(checkpoint_utils, "load_model_ensemble_and_task", safety=True)
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
        text = _misfit(str(error)) if MISFIT in str(error) else one_line(error)
        names = map(os.path.basename if text.startswith("cannot use ") else str, filenames)  # names another
        raise CheckpointError(f"cannot load {' or '.join(names)}: {text}") from error


@repairs(checkpoint_utils, "prune_state_dict")
def prune_once(original, state_dict, model_cfg):
    """checkpoint_utils.py prunes again what a pruned training has saved, so that it fits no model; and where
    one of two sides is pruned, it drops all layers of the other.
    """
    kept = {name: getattr(model_cfg, f"{name}_layers_to_keep", None) for name in ("encoder", "decoder")}
    if not any(kept.values()):
        return original(state_dict, model_cfg)
    arch = model_cfg._name if isinstance(model_cfg, DictConfig) else getattr(model_cfg, "arch", None)
    options = argparse.Namespace(arch=arch)
    for side, text in kept.items():
        found = (re.match(rf"{side}.*?\.layers\.(\d+)\.", name) for name in state_dict)
        held = sorted({int(match[1]) for match in found if match})
        wanted = text if text and len(text.split(",")) < len(held) else ",".join(map(str, held))
        setattr(options, f"{side}_layers_to_keep", wanted)
    return original(state_dict, options)


@repairs(checkpoint_utils, "load_model_ensemble_and_task")
def split_an_ensemble(original, filenames, *args, **kwargs):
    """fairseq_cli/eval_lm.py takes a --path of several checkpoints, as fairseq-generate's, for one name."""
    each = ([name] if PathManager.isfile(name) else utils.split_paths(name) for name in filenames)
    return original([name for names in each for name in names], *args, **kwargs)


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


def _misfit(text: str) -> str:
    """torch's list of the tensors that do not fit, in one sentence."""
    shapes = r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)"
    for name, *pair in re.findall(shapes, text):
        (saved, *width), (ours, *our_width) = (shape.split(", ") for shape in pair)
        if name.endswith("embed_tokens.weight") and width == our_width:
            side = "source" if name.startswith("encoder") else "target"
            return (
                f"it was trained with a {side} dictionary of {saved} words and the data folder's has {ours}; "
                "use the data of the training, or give its dict.*.txt to fairseq-preprocess as --srcdict and "
                "--tgtdict"
            )
    names = re.findall(r"size mismatch for (\S+):", text) or re.findall(r'"([^"]+)"', text)
    return (
        f"it holds another model, which differs in {', '.join(names[:3])}; give --arch and sizes as in its "
        "training, or another --save-dir to begin anew"
    )


@repairs(Trainer, "load_checkpoint")
def restore_the_task(original, self, filename, reset_optimizer=False, *args, **kwargs):
    """trainer.py writes the task's state into every checkpoint and never reads it, and does not say in what
    another model differs. It goes on without a --restore-file that is absent, and so do we, with a warning;
    but a folder to --finetune-from-model would be forgotten.
    """
    if option(self, "cfg.checkpoint.finetune_from_model") == filename and os.path.isdir(filename):
        raise CheckpointError(is_folder(filename))
    _warn_of_absent(filename, option(self, "cfg.checkpoint.save_dir", "", str))
    read, states = checkpoint_utils.load_checkpoint_to_cpu, []

    def read_and_keep(*arguments, **options):
        state = read(*arguments, **options)
        states.append(state.get("task_state"))
        return state

    try:
        with swapped(checkpoint_utils, "load_checkpoint_to_cpu", read_and_keep):
            extra_state = original(self, filename, reset_optimizer, *args, **kwargs)
    except Exception as error:
        cause = str(error.__context__)
        if not str(error).startswith("Cannot load model parameters"):
            raise
        reason = _misfit(cause) if MISFIT in cause else cause
        raise CheckpointError(f"cannot resume from {filename}: {reason}") from error
    if states and states[0] and not reset_optimizer:
        self.task.load_state_dict(states[0])
    return extra_state


def _warn_of_absent(filename: str, save_dir: str) -> None:
    # scripts name checkpoint_last.pt of their --save-dir for beginning and resuming alike
    elsewhere = os.path.abspath(os.path.dirname(filename)) != os.path.abspath(save_dir)
    if PathManager.isfile(filename) or not (elsewhere or PathManager.exists(filename)):
        return
    found = is_folder(filename) if PathManager.exists(filename) else f"there is no checkpoint {filename}"
    logger.warning("%s; training begins anew. Check --restore-file", found)

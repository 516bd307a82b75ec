"""Repairs of how fairseq reads checkpoints."""

import argparse
import logging
import os
import re

from fairseq import checkpoint_utils, utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from omegaconf import DictConfig

from mega_fairseq.checkpoints import safe_types
from mega_fairseq.checkpoints.errors import CheckpointError, is_folder
from mega_fairseq.compat.checks.checkpoints import MISFIT, misfit
from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import repairs, setting, swapped

logger = logging.getLogger(__name__)
setting(
    "repair",
    "torch.serialization.add_safe_globals",
    until="torch.load reads these types by itself, which 2.6 began to refuse",
)(safe_types.allow_what_fairseq_writes)


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
        reason = misfit(cause) if MISFIT in cause else cause
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

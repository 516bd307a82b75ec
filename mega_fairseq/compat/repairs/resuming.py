"""Repairs of what a resumed training forgets: its place on another number of processes, and its patience."""

import logging
import sys
from collections.abc import Callable

from fairseq import checkpoint_utils
from fairseq.data import iterators
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.trainer import Trainer

from mega_fairseq.compat.partial import NUMBER, option, set_option
from mega_fairseq.compat.registry import repairs

logger = logging.getLogger(__name__)


@repairs(iterators.EpochBatchIterator, "state_dict")
def say_how_many_shared(original, self):
    """data/iterators.py does not save among how many processes it counts its batches (find_the_place)."""
    return {**original(self), "num_shards": self.num_shards}


@repairs(iterators.EpochBatchIterator, "load_state_dict")
def find_the_place(original, self, state_dict):
    """data/iterators.py counts the batches of one process. On twice as many processes a resumed training
    leaves out as much of the epoch as it had read, or stops with "dataloader mismatch"; on half as many it
    reads half of it again.
    """
    shared, read = state_dict.get("num_shards", self.num_shards), state_dict.get("iterations_in_epoch", 0)
    original(self, {**state_dict, "iterations_in_epoch": read * shared // self.num_shards})


@repairs(Trainer, "state_dict")
def save_the_patience(original, self):
    """fairseq_cli/train.py counts for --patience in its process only: resumed, it waits as long anew."""
    state, counter = original(self), _counter()
    state["extra_state"]["early_stop"] = dict(vars(counter)) if counter else {}
    return state


@repairs(Trainer, "load_checkpoint")
def restore_the_patience(original, self, filename, reset_optimizer=False, *args, **kwargs):
    """trainer.py does not read the counts that save_the_patience puts into a checkpoint."""
    extra_state = original(self, filename, reset_optimizer, *args, **kwargs)
    anew, counter = reset_optimizer or kwargs.get("reset_meters"), _counter()
    for name, value in (extra_state or {}).get("early_stop", {}).items():
        if counter and not anew and name in ("best", "num_runs"):
            setattr(counter, name, value)
    return extra_state


def _counter() -> Callable | None:
    """fairseq-train's should_stop_early, which has what it counts as attributes."""
    for name in ("__main__", "fairseq_cli.train"):
        found = getattr(sys.modules.get(name), "should_stop_early", None)
        if found is not None:
            return found
    return None


@repairs(ReduceLROnPlateauLRSchedule, "state_dict")
def save_the_plateau(original, self):
    """optim/lr_scheduler/reduce_lr_on_plateau.py leaves out how many epochs were no better."""
    return {**original(self), "num_bad_epochs": self.lr_scheduler.num_bad_epochs}


@repairs(ReduceLROnPlateauLRSchedule, "load_state_dict")
def restore_the_plateau(original, self, state_dict):
    """optim/lr_scheduler/reduce_lr_on_plateau.py does not read the counts that save_the_plateau saves."""
    original(self, state_dict)
    self.lr_scheduler.num_bad_epochs = state_dict.get("num_bad_epochs", 0)


@repairs(checkpoint_utils, "load_checkpoint")
def find_the_end(original, cfg, trainer, **kwargs):
    """fairseq_cli/train.py makes one more update each time that a finished training is started again. And it
    saves an epoch's end before the learning rate's schedule sees its loss: resumed there, it never does.
    """
    extra_state, batches = original(cfg, trainer, **kwargs)
    if extra_state is None:
        return extra_state, batches
    at_end = extra_state.get("train_iterator", {}).get("iterations_in_epoch") == 0
    resets = ("reset_dataloader", "reset_optimizer", "reset_lr_scheduler", "finetune_from_model")
    if at_end and not any(option(cfg, name) for name in resets):
        trainer.lr_step(batches.epoch - 1, extra_state.get("val_loss"))
    limits = {"--patience": (getattr(_counter(), "num_runs", 0), option(cfg, "patience", 0, NUMBER))}
    most = option(trainer, "cfg.optimization.max_update", 0, NUMBER)
    if most > 0:
        limits["--max-update"] = (trainer.get_num_updates(), most)
    for flag, (reached, limit) in limits.items():
        if reached >= limit > 0:
            logger.info("this training has ended at %s %s; raise it to go on", flag, limit)
            # fewer than any epoch; 0 is no limit
            set_option(trainer.cfg.optimization, "max_epoch", -1)
    return extra_state, batches

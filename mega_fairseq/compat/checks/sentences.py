"""Checks of sentences: too long for the model or for a batch, or without a translation."""

import re

import numpy as np
from fairseq import tasks
from fairseq.data import LanguagePairDataset
from fairseq.trainer import Trainer

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import checks


@checks(tasks.FairseqTask, "filter_indices_by_size")
def name_a_long_sentence(original, self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
    """tasks/fairseq_task.py names no limit, and a number that fairseq-interactive counts in its buffer."""
    try:
        return original(self, indices, dataset, max_positions, ignore_invalid_inputs)
    except Exception as error:
        found = re.match(r"Size of sample #(\d+) is invalid", str(error))
        if found is None or isinstance(max_positions, dict):
            raise
        raise ValueError(_too_long(dataset, int(found[1]), max_positions) or str(error)) from error


def _too_long(dataset, index, max_positions):
    sizes, limits = np.atleast_1d(dataset.size(index)), np.atleast_1d(max_positions)
    sides = ("source", "target") if len(limits) == 2 else ("target",)
    typed = getattr(dataset, "tgt", dataset) is None
    words = getattr(dataset, "src_dict", None)
    sentence = "the sentence" if typed else f"sentence {index}"
    if words is not None:
        sentence += f" ({words.string(dataset.src[index][:5])} ...)"
    for side, size, limit in zip(sides, sizes, limits, strict=False):
        if size > limit:
            return (
                f"{sentence} has {size} {side} tokens and the model takes {limit} (--max-{side}-positions); "
                "shorten it, or leave it out with --skip-invalid-size-inputs-valid-test"
            )
    return None


@checks(Trainer, "get_train_iterator")
def measure_validation_data_first(original, self, *args, **kwargs):
    """trainer.py names no option where no sentence is left, and takes a split that has one side only; 0.12.2
    meets a validation sentence that is too long after the first epoch, which is then lost.
    """
    given = list(option(self, "task.datasets", {}, dict))
    try:
        batches = original(self, *args, **kwargs)
    except Exception as error:
        if "dataset is empty" not in str(error):
            raise
        raise ValueError(
            f"no sentence of {option(self.cfg, 'dataset.train_subset')} fits --max-tokens "
            f"{option(self.cfg, 'dataset.max_tokens')} and the model; raise --max-tokens, or "
            "--max-source-positions and --max-target-positions"
        ) from error
    for subset, dataset in option(self, "task.datasets", {}, dict).items():
        if isinstance(dataset, LanguagePairDataset) and dataset.tgt is None:
            language = option(self.task, "cfg.target_lang", "target", str)
            raise FileNotFoundError(
                f"the split {subset!r} in {option(self.cfg, 'task.data')} has no {language} side; give "
                "fairseq-preprocess both texts"
            )
    if option(self.cfg, "dataset.train_subset") not in given:
        for subset in given:
            self.get_valid_iterator(subset)
        self.reset_dummy_batch(batches.first_batch)
    return batches

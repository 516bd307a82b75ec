"""Repairs of what fairseq says to bad input: the flag or file, its value and the remedy, in one sentence."""

import argparse
import difflib
import fileinput
import os
import re
import sys
import types

import numpy as np
from fairseq import models, options, tasks
from fairseq.data import LanguagePairDataset
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import repairs


@repairs(options, "add_model_args")
def suggest_architectures(original, parser):
    """options.py answers a misspelt --arch with all the names it has, on one line."""

    def known(name):
        if name in ARCH_MODEL_REGISTRY:
            return name
        ours = [arch for arch in ARCH_MODEL_REGISTRY if arch.startswith("mega_")]
        close = difflib.get_close_matches(name, ARCH_MODEL_REGISTRY) or ours
        raise argparse.ArgumentTypeError(f"there is no {name!r}; did you mean {' or '.join(close)}?")

    group = original(parser)
    for action in parser._actions:
        if action.dest == "arch":
            action.type = known
    return group


@repairs(models, "build_model")
def name_an_unknown_architecture(original, cfg, *args, **kwargs):
    """models/__init__.py fails in its own message, with KeyError: "'_name'"."""
    name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
    if name and name not in ARCH_MODEL_REGISTRY and name not in MODEL_DATACLASS_REGISTRY:
        raise ValueError(f"there is no architecture {name!r}; give the --user-dir of the plugin that has it")
    return original(cfg, *args, **kwargs)


@repairs(TranslationTask, "setup_task")
def obey_one_language(original, cls, cfg, **kwargs):
    """tasks/translation.py overwrites a --source-lang that comes without --target-lang."""
    sides = ("source", "target")
    given = [option(cfg, f"{side}_lang") for side in sides]
    task = original(cls, cfg, **kwargs)
    for flag, wanted in zip(sides, given, strict=True):
        found = option(cfg, f"{flag}_lang")
        if wanted not in (None, found):
            raise ValueError(
                f"--{flag}-lang {wanted} is not the {flag} language of {cfg.data}, which is {found}; "
                "leave it out, or pass both --source-lang and --target-lang"
            )
    return task


@repairs(tasks.FairseqTask, "filter_indices_by_size")
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


@repairs(Trainer, "get_train_iterator")
def measure_validation_data_first(original, self, *args, **kwargs):
    """trainer.py meets a validation sentence that is too long after the first epoch, which is then lost."""
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


@repairs(options, "add_interactive_args")
def read_any_bytes(original, parser):
    """fairseq_cli/interactive.py stops at a byte that is no UTF-8 and ends a line at a carriage return.

    Such bytes become U+FFFD here, and every line gets its translation.
    """
    reading = {"encoding": "utf-8", "errors": "replace", "newline": "\n"}

    def open_text(name, mode):
        if not os.path.isfile(name):
            raise FileNotFoundError(f"there is no file {name}; check --input")
        return open(name, mode, **reading)

    class FileInput(types.ModuleType):
        hook_encoded = staticmethod(lambda encoding, errors=None: open_text)

        def __getattr__(self, name):
            return getattr(fileinput, name)

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(**reading)
    for name in ("__main__", "fairseq_cli.interactive"):
        if getattr(sys.modules.get(name), "fileinput", None) is fileinput:
            sys.modules[name].fileinput = FileInput("fileinput")
    return original(parser)

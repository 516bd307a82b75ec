"""Repairs of what fairseq says to bad input: the flag or file, its value and the remedy, in one sentence."""

import argparse
import difflib
import fileinput
import os
import re
import sys

import numpy as np
from fairseq import models, options, tasks, utils
from fairseq.data import Dictionary, data_utils
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

from mega_fairseq.compat.registry import repairs

SKIP = "--skip-invalid-size-inputs-valid-test"


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


@repairs(data_utils, "infer_language_pair")
def name_the_data_folder(original, path):
    """data/data_utils.py lists a folder that may be absent, and may find no languages in it."""
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no data folder {path}; pass the --destdir of fairseq-preprocess")
    source, target = original(path)
    if source is None:
        raise ValueError(
            f"there is no data like train.en-de.en.idx in {path}; pass the --destdir of fairseq-preprocess, "
            "or both --source-lang and --target-lang"
        )
    return source, target


@repairs(TranslationTask, "setup_task")
def obey_one_language(original, cls, cfg, **kwargs):
    """tasks/translation.py overwrites a --source-lang that comes without --target-lang."""
    given = cfg.source_lang, cfg.target_lang
    task = original(cls, cfg, **kwargs)
    for flag, wanted, found in zip(
        ("source", "target"), given, (cfg.source_lang, cfg.target_lang), strict=True
    ):
        if wanted not in (None, found):
            raise ValueError(
                f"--{flag}-lang {wanted} is not the {flag} language of {cfg.data}, which is {found}; leave it "
                "out, or pass both --source-lang and --target-lang"
            )
    return task


@repairs(Dictionary, "load")
def name_the_dictionary(original, cls, f, *args, **kwargs):
    """data/dictionary.py names the absent file, but not what would bring it."""
    try:
        return original(cls, f, *args, **kwargs)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no dictionary {f}; check --source-lang and --target-lang, and that the folder is the "
            "--destdir of fairseq-preprocess"
        ) from error


@repairs(data_utils, "load_indexed_dataset")
def name_an_empty_data_set(original, path, *args, **kwargs):
    """data/indexed_dataset.py cannot map a file of 0 bytes, and does not say which."""
    for file in (path, f"{path}.bin"):
        if os.path.isfile(file) and os.path.getsize(file) == 0:
            raise ValueError(
                f"{file} has no sentences; give text to --trainpref, --validpref and --testpref of "
                "fairseq-preprocess, and train without validation data with --disable-validation"
            )
    return original(path, *args, **kwargs)


@repairs(tasks.FairseqTask, "filter_indices_by_size")
def name_a_long_sentence(original, self, indices, dataset, max_positions=None, ignore_invalid_inputs=False):
    """tasks/fairseq_task.py tells of a sample number, which fairseq-interactive counts from 0 in each buffer."""
    try:
        return original(self, indices, dataset, max_positions, ignore_invalid_inputs)
    except Exception as error:
        found = re.match(r"Size of sample #(\d+) is invalid", str(error))
        if found is None or isinstance(max_positions, dict):
            raise
    index = int(found[1])
    sizes, limits = np.atleast_1d(dataset.size(index)), np.atleast_1d(max_positions)
    sides = ("source", "target") if len(limits) == 2 else ("target",)
    words = getattr(dataset, "src_dict", None)
    text = f" ({words.string(dataset.src[index][:5])} ...)" if words else ""
    for side, size, limit in zip(sides, sizes, limits, strict=False):
        if size > limit:
            raise ValueError(
                f"sentence {index}{text} has {size} {side} tokens and the model takes {limit} "
                f"(--max-{side}-positions); shorten it, or leave it out with {SKIP}"
            )


@repairs(Trainer, "get_train_iterator")
def measure_validation_data_first(original, self, *args, **kwargs):
    """trainer.py meets a validation sentence that the model cannot take after the first epoch, and then stops
    without saving it.
    """
    cfg, known = self.cfg.dataset, self.task.datasets
    if cfg.train_subset not in known and not cfg.skip_invalid_size_inputs_valid_test:
        limits = utils.resolve_max_positions(self.task.max_positions(), self.model.max_positions())
        for dataset in known.values():
            dataset.set_epoch(1)
            self.task.filter_indices_by_size(np.arange(len(dataset)), dataset, limits)
    return original(self, *args, **kwargs)


@repairs(options, "add_interactive_args")
def read_any_bytes(original, parser):
    """fairseq_cli/interactive.py stops at a byte that is no UTF-8, and takes a carriage return for a line's end.
    Such bytes become U+FFFD, and every line gets its translation.
    """
    reading = {"encoding": "utf-8", "errors": "replace", "newline": "\n"}
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(**reading)
    fileinput.hook_encoded = lambda encoding, errors=None: lambda name, mode: open(name, mode, **reading)
    return original(parser)

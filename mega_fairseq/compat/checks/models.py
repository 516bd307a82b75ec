"""Checks of a model's name."""

import argparse
import difflib

from fairseq import models, options
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY

from mega_fairseq.compat.registry import checks


@checks(options, "add_model_args")
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


@checks(models, "build_model")
def name_an_unknown_architecture(original, cfg, *args, **kwargs):
    """models/__init__.py fails in its own message, with KeyError: "'_name'"."""
    name = getattr(cfg, "_name", None) or getattr(cfg, "arch", None)
    if name and name not in ARCH_MODEL_REGISTRY and name not in MODEL_DATACLASS_REGISTRY:
        raise ValueError(f"there is no architecture {name!r}; give the --user-dir of the plugin that has it")
    return original(cfg, *args, **kwargs)

"""Checks of options that fairseq takes without a look: out of range, misspelt, or of another form."""

import argparse
import ast
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from fairseq import options, utils
from fairseq.distributed import utils as distributed_utils
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.language_modeling import LanguageModelingTask
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import checks

FEW = 12  # choices that argparse may list
AT_LEAST_1 = """batch_size batch_size_valid max_tokens max_tokens_valid update_freq
    required_batch_size_multiple save_interval validate_interval log_interval tokens_per_sample beam nbest
    num_shards workers"""
AT_LEAST_0 = "num_workers lr weight_decay warmup_updates max_len_a max_len_b shard_id"
RANGES = {
    **dict.fromkeys(AT_LEAST_1.split(), (1, math.inf)),
    **dict.fromkeys(AT_LEAST_0.split(), (0, math.inf)),
    **dict.fromkeys(["lenpen", "unkpen"], (-math.inf, math.inf)),
    "temperature": (0.001, math.inf),
    "label_smoothing": (0, 1),
}
FORMS = {
    "adam_betas": (ast.literal_eval, tuple, "two numbers like '(0.9, 0.98)'"),
    "model_overrides": (ast.literal_eval, dict, "a dictionary like \"{'decoder_chunk_size': 512}\""),
    "eval_bleu_args": (json.loads, dict, "a JSON object like '{\"beam\": 4}'"),
    "eval_bleu_detok_args": (json.loads, dict, 'a JSON object like \'{"target_lang": "de"}\''),
}
PIECES = ("subword_nmt", "@@ ", "@@", "sentencepiece", "wordpiece", "letter", "silence", "_EOW", "none")


def faults(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each option that cannot be, and what it must be."""
    for name, (low, high) in RANGES.items():
        value = given.get(name)
        for number in value if isinstance(value, list | tuple | ListConfig) else [value]:
            if isinstance(number, int | float) and not low <= number <= high:
                least = "be a number" if low == -math.inf else f"be at least {low:g}"
                yield (
                    name,
                    f"must {least if high == math.inf else f'lie in [{low:g}, {high:g}]'}; got {number}",
                )
    for name, (read, kind, form) in FORMS.items():
        text = given.get(name)
        if isinstance(text, str) and not _reads(text, read, kind):
            yield name, f"must be {form}; got {text!r}"
    pieces = given.get("post_process")
    if isinstance(pieces, str) and pieces not in PIECES:
        yield "post_process", f"must be one of {', '.join(map(repr, PIECES))}; got {pieces!r}"


def _reads(text, read, kind) -> bool:
    try:
        value = read(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, kind) and (kind is dict or len(value) == 2)


def _unknown(name: str, known) -> str:
    close = difflib.get_close_matches(name, known)
    remedy = f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(sorted(known))}"
    return f"there is no {name!r}; {remedy if len(remedy) < 350 else f'{remedy[:350]} ...'}"


def _explain(action: argparse.Action) -> None:
    """argparse answers a misspelt name with all that there are, and what is no list with "<lambda>"."""
    read, choices = action.type, action.choices

    def known(name):
        if name in choices:
            return name
        raise argparse.ArgumentTypeError(_unknown(name, choices))

    def numbers(text):
        try:
            return read(text)
        except (ValueError, TypeError, SyntaxError):
            raise argparse.ArgumentTypeError(
                f"must be a number or a list like '[1, 2]'; got {text!r}"
            ) from None

    if read is None and choices is not None and len(list(choices)) > FEW:
        action.type = known
    elif getattr(read, "__name__", "") == "<lambda>":
        action.type = numbers


@checks(options, "parse_args_and_arch")
def refuse_nonsense(original, parser, *args, **kwargs):
    """options.py lets through what divides by zero later, never ends, or trains away from the data."""
    for action in parser._actions:
        _explain(action)
    parsed = original(parser, *args, **kwargs)
    given = vars(parsed[0] if isinstance(parsed, tuple) else parsed)
    for name, fault in faults(given):
        parser.error(f"argument --{name.replace('_', '-')}: {fault}")
    shards, shard = option(given, "num_shards", 0, int), option(given, "shard_id", 0, int)
    if 0 < shards <= shard:
        parser.error(f"argument --shard-id: must be below --num-shards ({shards}); got {shard}")
    longest, least = option(given, "max_len_b", math.inf, int), option(given, "min_len", 0, int)
    if option(given, "max_len_a", 1) == 0 and least > longest:
        parser.error(f"argument --min-len: must not exceed --max-len-b ({longest}); got {least}")
    return parsed


@checks(distributed_utils, "call_main")
def refuse_nonsense_in_yaml(original, cfg, *args, **kwargs):
    """distributed/utils.py is where a configuration that hydra composed begins; argparse saw none of it."""
    if isinstance(cfg, DictConfig) and HydraConfig.initialized():
        utils.import_user_module(cfg.get("common"))  # it may bring more names
        registries = {kind: registry["registry"] for kind, registry in REGISTRIES.items()}
        registries |= {"task": TASK_REGISTRY, "model": ARCH_MODEL_REGISTRY}
        for kind, known in registries.items():
            name = (cfg.get(kind) or {}).get("_name")
            if name is not None and name not in known:
                raise ValueError(f"{kind}._name: {_unknown(name, known)}")
            if name is None and kind in ("task", "model"):
                raise ValueError(f"{kind}._name is missing; name one, like {kind}._name={_example(kind)}")
        if "data" in cfg.task and cfg.task.data is None:
            raise ValueError("task.data is missing; give the --destdir of fairseq-preprocess")
        for group in filter(lambda group: isinstance(cfg[group], DictConfig), cfg):
            for name, fault in faults(cfg[group]):
                raise ValueError(f"{group}.{name} {fault}")
    return original(cfg, *args, **kwargs)


def _example(kind: str) -> str:
    return {"task": "translation", "model": "mega_nmt"}[kind]


@checks(LanguageModelingTask, "setup_dictionary")
def keep_the_unknown_word(original, cls, args, **kwargs):
    """tasks/language_modeling.py takes 0 for no limit, and fails later below the special symbols."""
    if 0 <= option(args, "output_dictionary_size", -1, int) < 5:
        raise ValueError(
            "--output-dictionary-size must be at least 5 (four special symbols and a word), or -1 for all "
            f"words; got {args.output_dictionary_size}"
        )
    return original(cls, args, **kwargs)

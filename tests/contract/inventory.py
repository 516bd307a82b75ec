"""Where each of fairseq's flags is shown: the tables of rows, what Mega refuses, and what needs no row."""

import argparse
import re

import rows
import tasks
from fairseq import options
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY

from mega_fairseq.models import refused

# Heading, rows, the file of the test
TABLES = [
    ("`fairseq-train`: what does not concern the model", rows.TRAIN, "test_training.py"),
    (
        "`fairseq-train`, translation and language models",
        rows.TRAIN_BOTH,
        "test_training.py, test_training_lm.py",
    ),
    ("`fairseq-train`, translation", rows.TRAIN_NMT, "test_training.py"),
    ("`fairseq-train`, translation, two processes on CPUs", rows.DISTRIBUTED, "test_distributed.py"),
    ("`fairseq-train`, translation with word alignments", rows.TRAIN_ALIGN, "test_training.py"),
    ("`fairseq-train`, language models", rows.TRAIN_LM, "test_training_lm.py"),
    ("`fairseq-generate`, translation", rows.GENERATE, "test_generation.py"),
    ("`fairseq-interactive`, translation", rows.INTERACTIVE, "test_generation.py"),
    ("`fairseq-interactive`, translation with constraints", rows.CONSTRAINTS, "test_generation.py"),
    ("`fairseq-generate`, language models", rows.GENERATE_LM, "test_generation_lm.py"),
    ("`fairseq-interactive`, language models", rows.INTERACTIVE_LM, "test_generation_lm.py"),
    ("`fairseq-eval-lm`", rows.EVAL_LM, "test_generation_lm.py"),
    ("`fairseq-validate`", rows.VALIDATE, "test_generation.py, test_generation_lm.py"),
    ("`fairseq-validate`, translation", rows.VALIDATE_NMT, "test_generation.py"),
]
# Flags without a row, and why they need none.
PREPROCESSING = (
    "--align-suffix --alignfile --destdir --dict-only --joined-dictionary --nwordssrc --nwordstgt "
    "--only-source --padding-factor --srcdict --testpref --tgtdict --thresholdsrc --thresholdtgt --trainpref "
    "--validpref --workers"
)
ELSEWHERE = {
    PREPROCESSING: "`fairseq-preprocess` knows no model",
    "--arch --task --criterion --path --save-dir --user-dir": "they are in every row",
    "--distributed-init-method": "for several processes: `tests/cli/test_processes.py`",
    "--help": "`tests/cli/test_entry_points.py`",
}
# Parts that are chosen by name and never meet the model: their own flags go with them.
PARTS = ("optimizer", "lr_scheduler", "tokenizer", "bpe", "scoring")


def flags(parser):
    """The long flags of a parser."""
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}


def of(part):
    """Those that a registered class adds."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    if getattr(part, "__dataclass", None):
        gen_parser_from_dataclass(parser, part.__dataclass())
    elif hasattr(part, "add_args"):
        part.add_args(parser)
    return flags(parser)


def asked():
    """Those of fairseq's commands, tasks, transformers, and of the criteria that go with these."""
    parsers = [
        options.get_preprocessing_parser(),
        options.get_eval_lm_parser(),
        options.get_validation_parser(),
    ]
    parsers += [options.get_generation_parser(), options.get_interactive_generation_parser()]
    parsers += [options.get_training_parser(task) for task in ("translation", "language_modeling")]
    parts = [TASK_REGISTRY[name] for name in ("translation", "language_modeling")]
    parts += [ARCH_MODEL_REGISTRY[name] for name in ("transformer", "transformer_align", "transformer_lm")]
    criteria = REGISTRIES["criterion"]["registry"]
    parts += [criteria[named.split()[0]] for named, stops in tasks.CRITERIA.items() if not stops]
    return set().union(*map(flags, parsers), *map(of, parts))


def shown():
    """Those that are given in a row, refused, or need no row."""
    given = [text for _, table, _ in TABLES for row in table for text in (row.given, row.base)]
    given += [row.given for _, _, table in tasks.TASKS for row in table]
    given += [f"--criterion {criterion}" for criterion in tasks.CRITERIA]
    found = set(re.findall(r"(?<!\S)--[\w-]+", " ".join(given)))
    found |= {flag for flag, _, _ in refused.TRANSLATION + refused.LANGUAGE}
    return found | set(" ".join(ELSEWHERE).split())

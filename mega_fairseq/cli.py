"""fairseq's commands with the plugin loaded (`mega-train` and so on, see setup.py)."""

import importlib
import logging
import sys

from mega_fairseq.compat import PACKAGE, CheckpointError


def train() -> None:
    _run("train")


def generate() -> None:
    _run("generate")


def interactive() -> None:
    _run("interactive")


def eval_lm() -> None:
    _run("eval_lm")


def preprocess() -> None:
    _run("preprocess")


def validate() -> None:
    _run("validate")


def hydra_train() -> None:
    if not any(argument.lstrip("+").startswith("common.user_dir=") for argument in sys.argv[1:]):
        quoted = str(PACKAGE).replace("'", r"\'")
        sys.argv.append(f"common.user_dir='{quoted}'")
    _call("hydra_train")


def _run(command: str) -> None:
    if not any(argument.partition("=")[0] == "--user-dir" for argument in sys.argv[1:]):
        sys.argv += ["--user-dir", str(PACKAGE)]
    _call(command)


def _call(command: str) -> None:
    # Importing fairseq sets up a bare log on stderr; without it, the command sets up its own as usual.
    logging.root.handlers.clear()
    try:
        importlib.import_module(f"fairseq_cli.{command}").cli_main()
    except (CheckpointError, OSError) as error:  # told in one sentence already
        sys.exit(f"mega-{command.replace('_', '-')}: {error}")

"""fairseq's commands with the plugin loaded (`mega-train` and so on, see setup.py)."""

import importlib
import logging
import os
import sys
from pathlib import Path

from hydra._internal.utils import get_args
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.compat.repairs.plugin import PACKAGE


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
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or hydra ends each message with advice to set it
    file = _configuration()
    try:
        _call("hydra_train")
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        sys.exit(f"mega-hydra-train: {_one_line(error)}; correct {file} or the command line")


def _one_line(error: BaseException) -> str:
    """What an error of omegaconf, hydra or yaml says over several lines, and what caused it."""
    cause = error.__cause__ if isinstance(error, HydraException) else None
    return " ".join(f"{error} {cause or ''}".replace("object_type=", "an option of ").split())[:350]


def _configuration() -> str:
    """The file that --config-dir and --config-name name; fairseq takes its own where it is absent."""
    given = get_args()
    if not given.config_dir or not given.config_name:
        return "the configuration"
    file = Path(given.config_dir, given.config_name.removesuffix(".yaml") + ".yaml")
    if not file.is_file():
        sys.exit(f"mega-hydra-train: there is no file {file}; check --config-dir and --config-name")
    return str(file)


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
    except OmegaConfBaseException as error:
        if command == "hydra_train":
            raise
        sys.exit(
            f"mega-{command.replace('_', '-')}: {_one_line(error)}; see --help for what is missing or wrong"
        )

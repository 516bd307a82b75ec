"""Repairs of how fairseq imports a --user-dir."""

import logging
import sys
from pathlib import Path

from fairseq import models, tasks, utils

from mega_fairseq.compat.registry import repairs

logger = logging.getLogger(__name__)
PACKAGE = Path(__file__).resolve().parents[2]


@repairs(utils, "import_user_module")
def accept_any_spelling(original, args):
    """utils.py refuses a --user-dir whose package is loaded from another path: a link, an installed copy."""
    user_dir = getattr(args, "user_dir", None)
    if user_dir is None:
        return
    real = Path(user_dir).resolve()
    if real != PACKAGE and real.name != "mega_fairseq":
        try:
            original(args)
        except (FileNotFoundError, ModuleNotFoundError) as error:
            if real.is_dir():
                raise
            raise FileNotFoundError(f"there is no folder {user_dir}; check --user-dir") from error
    elif real != PACKAGE and real.exists():
        logger.warning("--user-dir %s is not used: mega_fairseq is already loaded from %s", user_dir, PACKAGE)


@repairs(models, "import_models")
@repairs(tasks, "import_tasks")
def import_once(original, folder, namespace):
    """models/__init__.py imports files by the folder's name: a link would register our models again."""
    if sys.modules.get(namespace.partition(".")[0]) is not sys.modules["mega_fairseq"]:
        original(folder, namespace)

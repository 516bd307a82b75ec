"""Classification heads of a checkpoint and those of the model that loads it."""

import logging
from typing import Any

from torch import nn

logger = logging.getLogger(__name__)


def fit_heads(model: Any, state_dict: dict[str, Any], prefix: str) -> None:
    """Let `state_dict`, whose heads begin with prefix, have the heads of model.classification_heads.

    A head that only the checkpoint has is left out, or made where the model loads heads (fairseq's hub); one
    that only the model has stays as it is. Raises ValueError where the numbers of classes differ.
    """
    heads: nn.ModuleDict = model.classification_heads
    saved = {key[len(prefix) :].split(".")[0] for key in state_dict if key.startswith(prefix)}
    for head in sorted(saved - set(heads)):
        classes, hidden = state_dict[f"{prefix}{head}.out_proj.weight"].shape
        if getattr(model.args, "load_checkpoint_heads", False):
            model.register_classification_head(head, classes, hidden)
            continue
        logger.warning("the checkpoint's head %s of %d classes is left out", head, classes)
        for key in [key for key in state_dict if key.startswith(f"{prefix}{head}.")]:
            del state_dict[key]
    for head, module in heads.items():
        if head not in saved:
            logger.warning("the checkpoint has no head %s, which begins anew", head)
        else:
            _check_classes(head, len(state_dict[f"{prefix}{head}.out_proj.weight"]), module)
        for key, tensor in module.state_dict().items():
            state_dict.setdefault(f"{prefix}{head}.{key}", tensor)


def _check_classes(name: str, saved: int, head: Any) -> None:
    classes = head.out_proj.out_features
    if saved != classes:
        raise ValueError(
            f"the checkpoint's head {name} has {saved} classes and this task {classes}; give --num-classes "
            f"{saved}, or train a new head under another --classification-head-name"
        )

"""Configurations as callers build them: only some groups and fields, a Namespace, or a mock."""

import copy
from typing import Any

from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

NUMBER = (int, float)


def option(cfg: Any, names: str, default: Any = None, kind: Any = object) -> Any:
    """What `cfg` has at `names` ("checkpoint.patience"); `default` where that is absent or of no `kind`."""
    for name in names.split("."):
        try:
            cfg = cfg.get(name) if isinstance(cfg, dict) else getattr(cfg, name, None)
        except OmegaConfBaseException:  # a value that is missing, or of another tree
            return default
        if cfg is None:
            return default
    return cfg if isinstance(cfg, kind) else default


def changed(cfg: Any, name: str, value: Any) -> Any:
    """A copy of `cfg` that has `value` at `name`, known to its structure or not."""
    cfg = copy.copy(cfg)
    set_option(cfg, name, value)
    return cfg


def set_option(cfg: Any, name: str, value: Any) -> None:
    """`cfg.name = value`, also where a structure does not know the name."""
    if isinstance(cfg, DictConfig):
        with open_dict(cfg):
            cfg[name] = value
    else:
        setattr(cfg, name, value)

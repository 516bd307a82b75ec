"""What is read from a checkpoint is data: the types it may hold, and its strings as literals."""

import _codecs
import argparse
import ast
import collections
import importlib
import sys
import typing
from typing import Any

import numpy as np
import torch
from fairseq.distributed.utils import _TensorPlaceholder
from omegaconf import base, dictconfig, listconfig, nodes

_NODES = [
    dictconfig.DictConfig,
    listconfig.ListConfig,
    base.ContainerMetadata,
    base.Metadata,
    *(node for node in vars(nodes).values() if isinstance(node, type) and issubclass(node, nodes.ValueNode)),
]
_BUILTINS = [bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, slice, str, tuple]


def _numpy_types() -> list[Any]:
    """Arrays, scalars and dtypes; their constructors under the module names of NumPy 1 and of NumPy 2."""
    multiarray = importlib.import_module(f"numpy.{'_core' if hasattr(np, '_core') else 'core'}.multiarray")
    constructors = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ]
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"]}
    return [np.ndarray, np.dtype, *dtypes, *constructors]


def allow() -> None:
    """Let `torch.load(weights_only=True)`, the default since torch 2.6, read what fairseq writes.

    checkpoint_utils.py and distributed/utils.py: training arguments (Namespace), the NumPy numbers that
    --eval-bleu leaves in the metrics, OmegaConf trees (with an empty defaultdict), and on data-parallel
    resume the placeholders of the tensors that are sent apart. None of these runs code when it is built.
    """
    torch.serialization.add_safe_globals(
        [
            argparse.Namespace,
            collections.defaultdict,
            typing.Any,
            _codecs.encode,
            _TensorPlaceholder,
            *_BUILTINS,
            *_NODES,
            *_numpy_types(),
        ]
    )


def read_literals_only() -> None:
    """utils.py, optim/*.py and models/*_lm.py eval() strings, some of them from a checkpoint's configuration.

    They get an eval that reads literals. Models configured by expressions (fconv, wav2vec) keep theirs.
    """
    users = "utils optim.adam optim.cpu_adam optim.adamax optim.adafactor optim.fused_lamb"
    for name in f"{users} models.transformer_lm models.lightconv_lm".split():
        module = sys.modules.get(f"fairseq.{name}")
        if module is not None:
            module.eval = _literal  # type: ignore[attr-defined]


def _literal(text: str) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"expected a string, got {text!r}")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"expected a literal such as 5e-4 or (0.9, 0.98), got {text!r}") from error

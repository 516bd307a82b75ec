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
# Modules that eval() what may be a checkpoint's.
EVALUATING = """
    utils optim.adam optim.cpu_adam optim.adamax optim.adafactor optim.fused_lamb criterions.ctc
    models.transformer_lm models.lightconv_lm models.fconv models.fconv_lm models.fconv_self_att
    models.wav2vec.wav2vec models.wav2vec.wav2vec2 models.hubert.hubert
    models.multires_hubert.multires_hubert models.speech_to_text.s2t_wav_transformer
    data.audio.raw_audio_dataset
"""
LONGEST = 10_000  # list that an expression may make
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


def allow_what_fairseq_writes() -> None:
    """`torch.load(weights_only=True)`, the default since torch 2.6, refuses what fairseq writes.

    checkpoint_utils.py and distributed/utils.py: training arguments (Namespace), the NumPy numbers that
    --eval-bleu leaves in the metrics, OmegaConf trees (with an empty defaultdict), and on data-parallel
    resume the placeholders of the tensors that are sent apart. These are let through; none of them runs code
    when it is built.
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
    """fairseq's options, optimizers, criteria and models eval() strings, some of them from a checkpoint.

    They get an eval that reads literals, and sums and multiples of lists, as fconv and wav2vec write them.
    """
    for name in EVALUATING.split():
        module = sys.modules.get(f"fairseq.{name}")
        if module is not None:
            module.eval = _literal  # type: ignore[attr-defined]


def _literal(text: str) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"expected a string, got {text!r}")
    try:
        return _value(ast.parse(text.lstrip(), mode="eval").body)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"expected a literal such as 5e-4 or (0.9, 0.98), got {text[:80]!r}") from error


def _value(node: ast.expr) -> Any:
    """`[(512, 3)] * 2 + [(4, 1)]` and the like; else a literal."""
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Add | ast.Mult):
        return ast.literal_eval(node)
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Add):
        return left + right
    if not isinstance(left, list | tuple) or len(left) * right > LONGEST:
        raise ValueError("no multiple of a list, or a long one")
    return left * right

"""Put every change in place: importing these modules registers what they change.

Of several changes of one function those registered later stand around the earlier: checks within repairs.
"""

import re

import torch

from mega_fairseq.compat import registry, safety  # noqa: F401
from mega_fairseq.compat.checks import (  # noqa: F401
    checkpoints,
    data,
    models,
    options,
    sentences,
    training,
)
from mega_fairseq.compat.checks import texts as checked_texts  # noqa: F401
from mega_fairseq.compat.process import allocator, environment  # noqa: F401
from mega_fairseq.compat.repairs import (  # noqa: F401
    batches,
    generation,
    layers,
    loading,
    long_texts,
    numpy_names,
    plugin,
    precision,
    processes,
    resuming,
    saving,
    shares,
    tasks,
    texts,
)
from mega_fairseq.compat.repairs.sharding import wrapping  # noqa: F401


def apply() -> None:
    """Apply every change. Harmless when repeated."""
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise ImportError(
            f"mega_fairseq needs torch 2.6 or newer and found {torch.__version__}: older ones run code "
            "hidden in a checkpoint. Install torch==2.13.0."
        )
    registry.put_in_place()

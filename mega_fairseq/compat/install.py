"""Put every change in place: importing these modules registers what they change."""

import re

import torch

from mega_fairseq.compat import registry, safety  # noqa: F401
from mega_fairseq.compat.checks import data as data_checks  # noqa: F401
from mega_fairseq.compat.checks import input as input_checks  # noqa: F401
from mega_fairseq.compat.checks import options  # noqa: F401
from mega_fairseq.compat.process import allocator, environment
from mega_fairseq.compat.repairs import (  # noqa: F401
    data,
    fully_sharded,
    generation,
    loading,
    long_texts,
    plugin,
    processes,
    resuming,
    saving,
    tasks,
    training,
)

registry.setting("OMP_WAIT_POLICY, GOMP_SPINCOUNT of the environment")(environment.spin_for_a_moment)
registry.setting("THP_MEM_ALLOC_ENABLE of the environment")(environment.use_large_pages)
registry.setting("mallopt of glibc")(allocator.keep_small_tensors)


def apply() -> None:
    """Apply every change. Harmless when repeated."""
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise ImportError(
            f"mega_fairseq needs torch 2.6 or newer and found {torch.__version__}: older ones run code "
            "hidden in a checkpoint. Install torch==2.13.0."
        )
    registry.put_in_place()

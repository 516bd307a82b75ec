"""Repairs of fairseq, applied when the plugin is imported.

Each repair names the upstream file and the fault, and changes nothing where a fairseq does not have it. The
original stays within reach as `replaced.mega_original`. docs/repairs.md lists them; MEGA_REPAIRS_OFF switches
them off by name.
"""

import re

import torch

from mega_fairseq import allocator, environment, safe_types
from mega_fairseq.compat import (  # noqa: F401
    bad_data,
    bad_input,
    bad_options,
    checkpoints,
    data,
    fully_sharded,
    generation,
    long_texts,
    plugin,
    processes,
    registry,
    resuming,
    saving,
    tasks,
    training,
)
from mega_fairseq.compat.checkpoints import CheckpointError
from mega_fairseq.compat.plugin import PACKAGE

__all__ = ["PACKAGE", "CheckpointError", "apply"]

registry.setting("OMP_WAIT_POLICY, GOMP_SPINCOUNT of the environment")(environment.spin_for_a_moment)
registry.setting("THP_MEM_ALLOC_ENABLE of the environment")(environment.use_large_pages)
registry.setting("mallopt of glibc")(allocator.keep_small_tensors)
registry.setting("torch.serialization.add_safe_globals")(safe_types.allow_what_fairseq_writes)
registry.setting("eval in fairseq's modules that read options", safety=True)(safe_types.read_literals_only)


def apply() -> None:
    """Apply every repair. Harmless when repeated."""
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise ImportError(
            f"mega_fairseq needs torch 2.6 or newer and found {torch.__version__}: older ones run code "
            "hidden in a checkpoint. Install torch==2.13.0."
        )
    registry.put_in_place()

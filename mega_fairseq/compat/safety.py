"""Safety: what keeps a file from running code, or from lying about what it holds (see checkpoints/)."""

import types

import torch
from fairseq import checkpoint_utils

from mega_fairseq.checkpoints import safe_types, untrusted
from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.checkpoints.names import of_reference
from mega_fairseq.compat.registry import setting

setting("torch.serialization.add_safe_globals")(safe_types.allow_what_fairseq_writes)
setting("eval in fairseq's modules that read options", safety=True)(safe_types.read_literals_only)


@setting("fairseq.checkpoint_utils.torch", safety=True)
def check_what_is_loaded() -> None:
    """checkpoint_utils.py makes a configuration of what torch.load returns; its torch here looks first."""
    if not isinstance(checkpoint_utils.torch, _CheckingTorch):
        checkpoint_utils.torch = _CheckingTorch("torch")


class _CheckingTorch(types.ModuleType):
    @staticmethod
    def load(file, map_location="cpu"):
        state = untrusted.load(file, map_location)
        if of_reference(state):
            raise CheckpointError(
                f"{file.name} is a checkpoint of the reference implementation; convert it first with "
                "scripts/convert_reference_checkpoint.py"
            )
        return state

    def __getattr__(self, name):
        return getattr(torch, name)

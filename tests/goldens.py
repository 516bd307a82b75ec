"""Reference tensors: all of them where MEGA_SHARED names the folder, else the part in tests/golden."""

import gzip
from pathlib import Path

import torch
from outside import outside

HERE = Path(__file__).parent
GOLDENS = outside("goldens")


def cases(name: str) -> dict:
    """The cases of one golden file: name -> {config, state_dict, inputs, outputs}."""
    if GOLDENS is not None:
        return torch.load(GOLDENS / f"{name}.pt", weights_only=True)
    with gzip.open(HERE / "golden" / f"{name}.pt.gz") as file:
        return torch.load(file, weights_only=True)


def close(actual, expected, where=None, what=""):
    """Within 2e-5 absolute plus 2e-6 relative (for float32 sums of hundreds), where `where` is True."""
    if where is not None:
        actual, expected = actual[where], expected[where]
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-6, msg=lambda m: f"{what}: {m}")

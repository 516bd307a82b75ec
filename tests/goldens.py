"""Reference tensors: all of them where MEGA_SHARED names the folder, else the part in tests/golden."""

import gzip
import os
from pathlib import Path

import torch
from outside import outside

HERE = Path(__file__).parent
GOLDENS = outside("goldens")


def cases(name: str) -> dict:
    """The cases of one golden file: name -> {config, state_dict, inputs, outputs}.

    MEGA_NAME_GOLDENS, for instance MEGA_CLASSIFY_GOLDENS, names another file of the same form.
    """
    given = os.environ.get(f"MEGA_{name.upper()}_GOLDENS")
    if given:
        return torch.load(given, weights_only=True)
    if GOLDENS is not None:
        return torch.load(GOLDENS / f"{name}.pt", weights_only=True)
    with gzip.open(HERE / "golden" / f"{name}.pt.gz") as file:
        return torch.load(file, weights_only=True)


def close(actual, expected, where=None, what=""):
    """Within 2e-5 absolute plus 2e-6 relative (for float32 sums of hundreds), where `where` is True."""
    if where is not None:
        actual, expected = actual[where], expected[where]
    torch.testing.assert_close(actual, expected, atol=2e-5, rtol=2e-6, msg=lambda m: f"{what}: {m}")

"""Data that is not the project's: in the folder that MEGA_SHARED names, and nowhere else.

Tests that need it skip without it. The folder has `goldens/` (tensors and checkpoints of the reference
implementation; every test of parity runs on the part of them in tests/golden too) and `data/` (public
corpora).
"""

import os
from pathlib import Path

import pytest

VARIABLE = "MEGA_SHARED"
SOURCES = {
    "goldens": "tests/golden has a part of them, which the other tests of parity use",
    "data/wikitext": "WikiText is on huggingface.co/datasets/Salesforce/wikitext",
    "data/wmt16-sample": "lines of WMT'16 English-German, of statmt.org/wmt16/translation-task.html",
}


def outside(part: str) -> Path | None:
    """The path of a part of the folder, like data/wikitext; None where there is none."""
    folder = os.environ.get(VARIABLE)
    path = Path(folder) / part if folder else None
    return path if path is not None and path.exists() else None


def needs(part: str) -> pytest.MarkDecorator:
    """The mark of a test that is skipped, with the reason, where `part` is absent."""
    source = next(text for name, text in SOURCES.items() if part.startswith(name))
    return pytest.mark.skipif(
        outside(part) is None, reason=f"needs {part} in the folder that {VARIABLE} names; {source}"
    )

"""Every package of requirements.lock imports, and what cannot be imported beside our torch is not in it."""

import importlib
import re
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKED = re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
LOCKED.sort(key=lambda name: name != "setuptools")  # it does not load after pip has loaded distutils


def modules(name):
    """The importable names that a distribution has at its top."""
    files = distribution(name).files or []
    heads = {file.parts[0] for file in files if len(file.parts) > 1 and file.parts[-1] == "__init__.py"}
    heads |= {file.stem for file in files if len(file.parts) == 1 and file.suffix == ".py"}
    return sorted(head for head in heads if head.isidentifier() and not head.startswith("_"))


@pytest.mark.parametrize("name", LOCKED)
def test_a_locked_package_imports(name):
    for module in modules(name)[:1] if name in SEVERAL else modules(name):
        importlib.import_module(module)


def test_torchaudio_is_absent_or_loads():
    if find_spec("torchaudio") is not None:
        importlib.import_module("torchaudio")


SEVERAL = {"setuptools"}  # its other modules stand in for the standard library's

"""Checkpoint files that would run code, were they believed; and what such files are made of.

Made when the tests run. What they would run writes one marker file, or prints "owned".
"""

import argparse
import collections
import functools
import importlib
import io
import operator
import os
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

State = dict[str, Any]
LOADED, BUILT, HARMLESS = "where it is read", "where its model is built", "nowhere"


class Kind(NamedTuple):
    """A hostile file.

    make(state, folder): its bytes, from an honest state, ours or the reference's; the marker is folder/owned.
    refused: LOADED, BUILT or HARMLESS; says: words of the refusal; why: what makes it harmless elsewhere.
    """

    make: Callable[[State, Path], bytes]
    refused: str
    says: str = ""
    why: str = ""


def written(state: Any, **options: Any) -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    """The records of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def archive(
    records: dict[str, bytes],
    compression: int = zipfile.ZIP_STORED,
    lie: Callable[[list[zipfile.ZipInfo]], Any] = lambda listed: None,
) -> bytes:
    """A zip archive; `lie` may change its table of contents before that is written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, content in records.items():
            opened.writestr(name, content)
        lie(opened.filelist)
    return buffer.getvalue()


def opcodes(state: State, code: bytes) -> bytes:
    """A checkpoint whose task_state is made by these opcodes of pickle."""
    records = read(written({**state, "task_state": "HERE"}))
    name = next(name for name in records if name.endswith("data.pkl"))
    assert records[name].count(text("HERE")) == 1
    return archive({**records, name: records[name].replace(text("HERE"), code)})


def text(value: str) -> bytes:
    """The opcode of a string."""
    return b"X" + struct.pack("<L", len(value)) + value.encode()


class Calls:
    """Something whose unpickling calls a function, and restores a state."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None):
        self.reduced = (function, arguments, state) if state else (function, arguments)

    def __call__(self) -> None:
        raise AssertionError("only pickle takes it for a function")

    def __reduce__(self) -> Any:
        return self.reduced


class CallsEx(Calls):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.reduced


class Restores:
    """Something whose state is restored by a method of its own."""

    def __init__(self, command: str):
        self.command = command

    def __setstate__(self, state: dict[str, str]) -> None:
        os.system(state["command"])


def touch(folder: Path) -> str:
    """A command of the shell that leaves the marker."""
    return f"touch {folder}/owned"


def expression(folder: Path) -> str:
    """The same in Python."""
    return f"__import__('os').system({touch(folder)!r})"


def imported(name: str) -> Calls:
    return Calls(importlib.import_module, name)


RUNS: dict[str, Callable[[Path], Any]] = {  # what runs as it is unpickled, given the marker's folder
    "os.system": lambda f: Calls(os.system, touch(f)),
    "subprocess": lambda f: Calls(subprocess.Popen, touch(f).split()),
    "eval": lambda f: Calls(eval, expression(f)),
    "exec": lambda f: Calls(exec, f"import os; os.system({touch(f)!r})"),
    "a chain of getattr": lambda f: Calls(Calls(getattr, imported("os"), "system"), touch(f)),
    "getattr of builtins": lambda f: Calls(Calls(getattr, imported("builtins"), "eval"), expression(f)),
    "__reduce_ex__": lambda f: CallsEx(os.system, touch(f)),
    "__setstate__": lambda f: Restores(touch(f)),
    "a namespace's state": lambda f: Calls(argparse.Namespace, state={"x": Calls(os.system, touch(f))}),
    "partial": lambda f: Calls(functools.partial(os.system, touch(f))),
    "attrgetter": lambda f: Calls(Calls(Calls(operator.attrgetter, "system"), imported("os")), touch(f)),
    "methodcaller": lambda f: Calls(Calls(operator.methodcaller, "system", touch(f)), imported("os")),
    "map": lambda f: Calls(list, Calls(map, os.system, [touch(f)])),
    "a factory": lambda f: Calls(collections.defaultdict, functools.partial(os.system, touch(f))),
    "an archive inside": lambda f: Calls(
        torch.storage._load_from_bytes, written([Calls(os.system, touch(f))])
    ),
    "numpy.load": lambda f: Calls(np.load, f"{f}/owned.npy", None, True),
    "torch.hub": lambda f: Calls(torch.hub.load, str(f), "owned"),
    "an array of objects": lambda f: np.array([Calls(os.system, touch(f))], dtype=object),
}
PLACES: dict[str, Callable[[State, Any], Any]] = {  # where a checkpoint may hold it
    "task_state": lambda state, it: {**state, "task_state": {"x": it}},
    "extra_state": lambda state, it: {**state, "extra_state": {"train_iterator": it}},
    "last_optimizer_state": lambda state, it: {**state, "last_optimizer_state": {"state": {0: it}}},
    "args": lambda state, it: {**state, "args": argparse.Namespace(arch=it)},
    "cfg": lambda state, it: {**state, "cfg": {"model": {"_name": it}}},
    "model": lambda state, it: {**state, "model": {**state["model"], "x": it}},
    "place of everything": lambda state, it: it,
}


def running(payload: str, place: str = "task_state") -> Kind:
    """A payload somewhere in a checkpoint."""
    return Kind(lambda state, f: written(PLACES[place](state, RUNS[payload](f))), LOADED, "refused to load")


def legacy(state: State, folder: Path) -> bytes:
    """torch's format before archives."""
    state = {**state, "task_state": RUNS["os.system"](folder)}
    return written(state, _use_new_zipfile_serialization=False)


def legacy_tar(state: State, folder: Path) -> bytes:
    """torch's oldest format: a tar of pickles."""
    buffer = io.BytesIO()
    code = b"cposix\nsystem\n" + text(touch(folder)) + b"\x85R."
    with tarfile.open(fileobj=buffer, mode="w") as opened:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(code)
            opened.addfile(member, io.BytesIO(code))
    return buffer.getvalue()


def torch_script(state: State, folder: Path) -> bytes:
    """An archive that torch.load could hand to the reader of programs."""
    records = read(written(state))
    root = next(iter(records)).split("/")[0]
    return archive({**records, f"{root}/constants.pkl": b"\x80\x02)."})


SYSTEM = b"posix\nsystem\n"
PAYLOADS = {
    **{f"pickle: {payload}": running(payload) for payload in RUNS},
    **{f"os.system in {place}": running("os.system", place) for place in list(PLACES)[1:]},
    "legacy format": Kind(legacy, LOADED, "refused to load"),
    "legacy tar": Kind(legacy_tar, LOADED, "cannot read"),
    "TorchScript": Kind(torch_script, LOADED, "cannot read"),
    "opcode GLOBAL": Kind(
        lambda s, f: opcodes(s, b"c" + SYSTEM + text(touch(f)) + b"\x85R"), LOADED, "posix.system"
    ),
    "opcode STACK_GLOBAL": Kind(
        lambda s, f: opcodes(s, text("posix") + text("system") + b"\x93" + text(touch(f)) + b"\x85R"),
        *(LOADED, "cannot read"),
    ),
    "opcode INST": Kind(
        lambda s, f: opcodes(s, b"(" + text(touch(f)) + b"i" + SYSTEM), LOADED, "cannot read"
    ),
    "opcode OBJ": Kind(
        lambda s, f: opcodes(s, b"(c" + SYSTEM + text(touch(f)) + b"o"), LOADED, "posix.system"
    ),
}

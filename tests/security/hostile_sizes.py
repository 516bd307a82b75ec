"""Files that lie about their sizes, or unfold into more memory or time than there is."""

import collections
import io
import struct
import zipfile
from _codecs import encode
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hostile import BUILT, LOADED, Calls, Kind, State, archive, opcodes, read, written
from hostile_options import STEP, option

reconstruct = np.empty(0).__reduce__()[0]  # how NumPy pickles an array


def holding(value: Any) -> Kind:
    """A file that would unfold into more memory than there is."""
    return Kind(lambda state, folder: written({**state, "task_state": value}), LOADED, "unfolds into more")


def with_tensor(tensor: Any, says: str) -> Kind:
    """A file whose first tensor is another."""

    def make(state: State, folder: Path) -> bytes:
        return written({**state, "model": {**state["model"], next(iter(state["model"])): tensor}})

    return Kind(make, LOADED, says)


def rebuilt(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> Calls:
    """A tensor of 4 numbers that says it has another shape."""
    arguments = (torch.ones(4).storage(), offset, shape, stride, False, collections.OrderedDict())
    return Calls(torch._utils._rebuild_tensor_v2, *arguments)


def claiming(listed: list[zipfile.ZipInfo]) -> None:
    """The largest record has 1 TB."""
    one = max(listed, key=lambda record: record.file_size)
    one.file_size = one.compress_size = 1 << 40


def overlapping(listed: list[zipfile.ZipInfo]) -> None:
    """The largest record has a hundred names."""
    one = max(listed, key=lambda record: record.file_size)
    for i in range(100):
        again = zipfile.ZipInfo(f"{one.filename}{i}")
        for name in ("file_size", "compress_size", "CRC", "header_offset", "compress_type"):
            setattr(again, name, getattr(one, name))
        listed.append(again)


def bomb(state: State, folder: Path) -> bytes:
    """64 MB of zeros in 64 KB, as one more record."""
    records, buffer = read(written(state)), io.BytesIO()
    root = next(iter(records)).split("/")[0]
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in records.items():
            opened.writestr(name, content, zipfile.ZIP_STORED)
        with opened.open(f"{root}/data/99999", "w", force_zip64=True) as record:
            record.write(bytes(64 << 20))
    return buffer.getvalue()


def parts(state: State) -> tuple[bytes, bytes, bytes]:
    """The records, the table of contents and the end of an honest archive."""
    honest = archive(read(written(state)))
    end = honest.rindex(b"PK\x05\x06")
    start = struct.unpack("<L", honest[end + 16 : end + 20])[0]
    return honest[:start], honest[start:end], honest[end:]


def two_tables(state: State, folder: Path) -> bytes:
    """Python's zipfile reads the second table of contents, torch the first."""
    records, table, end = parts(state)
    return records + table + table + end


def shifted_table(state: State, folder: Path) -> bytes:
    """torch finds the table of contents, Python's zipfile looks for it elsewhere."""
    records, table, end = parts(state)
    return records + table + bytes(100) + end


def short(state: State, folder: Path) -> bytes:
    """The largest tensor's record has 4 bytes."""
    records = read(written(state))
    name = max((name for name in records if "/data/" in name), key=lambda name: len(records[name]))
    return archive({**records, name: records[name][:4]})


def doubling(times: int) -> Any:
    value: Any = b"0" * 1000
    for _ in range(times):
        value = Calls(encode, value, "hex")
    return value


def laughing(times: int) -> Any:
    value: Any = ["ha"]
    for _ in range(times):
        value = [value, value]
    return value


def many_names(state: State, folder: Path) -> bytes:
    """5,000 tensors that are one."""
    aliases = dict.fromkeys((f"x{i}" for i in range(5000)), torch.ones(100_000))
    return written({**state, "model": {**state["model"], **aliases}})


def terminal(state: State, folder: Path) -> bytes:
    """A tensor whose name sets the title of a terminal."""
    return written({**state, "model": {**state["model"], "\x1b]0;owned\x07": torch.ones(1)}})


def unlike(state: State, folder: Path) -> bytes:
    """An EMA of 10^5 channels by 10^5, were its tensors believed one by one."""
    model = dict(state["model"])
    for name in model:
        if name.endswith((".ema.omega", ".move.omega")):
            model[name] = torch.ones(100_000)
        elif name.endswith((".ema.alpha", ".move.alpha")):
            model[name] = torch.ones(1, 100_000)
    return written({**state, "model": model})


def diverged(state: State, folder: Path) -> bytes:
    model = {name: torch.full_like(tensor, torch.nan) for name, tensor in state["model"].items()}
    return written({**state, "model": model})


RECORDS = {
    "a record of 1 TB": Kind(lambda s, f: archive(read(written(s)), lie=claiming), LOADED, "claim 1,099,5"),
    "records that overlap": Kind(
        lambda s, f: archive(read(written(s)), lie=overlapping), LOADED, "records claim"
    ),
    "a compressed record": Kind(
        lambda s, f: archive(read(written(s)), zipfile.ZIP_DEFLATED), LOADED, "is compressed"
    ),
    "a zip bomb": Kind(bomb, LOADED, "is compressed"),
    "two tables of contents": Kind(two_tables, LOADED, "table of contents"),
    "a shifted table of contents": Kind(shifted_table, LOADED, "cannot read"),
    "a short record": Kind(short, LOADED, "cannot read"),
    "a name for the terminal": Kind(terminal, LOADED, "unprintable"),
}
TENSORS = {
    "a shape beyond its numbers": with_tensor(rebuilt(0, (1000, 1000), (1000, 1)), "cannot read"),
    "one number 10^12 times": with_tensor(rebuilt(0, (10**6, 10**6), (0, 0)), "and 4 numbers"),
    "a negative stride": with_tensor(rebuilt(3, (4,), (-1,)), "cannot read"),
    "an offset outside": with_tensor(rebuilt(10**9, (4,), (1,)), "cannot read"),
    "10^12 rows of width 0": with_tensor(torch.empty(10**12, 0), "has the shape"),
    "no numbers": with_tensor(torch.empty(10**6, 10**6, device="meta"), "no plain tensor"),
    "a sparse tensor": with_tensor(torch.eye(10**3).to_sparse(), "no plain tensor"),
    "a tensor of many names": Kind(many_names, LOADED, "refer to"),
}
UNFOLDING = {
    "10^5 levels": Kind(lambda s, f: opcodes(s, b"]" * 10**5 + b"a" * (10**5 - 1)), LOADED, "levels"),
    "a billion laughs": Kind(lambda s, f: written({**s, "task_state": laughing(40)}), LOADED, "a great many"),
    "bytes that double": holding(doubling(40)),
    "a terabyte of bytes": holding(Calls(bytearray, 1 << 40)),
    "an array of 1 TB": holding(Calls(reconstruct, np.ndarray, (1 << 40,), b"b")),
}
DIMENSIONS = {
    "width 10^9": option("model", LOADED, "more than any model", decoder_embed_dim=10**9),
    "FFN of 9 million": option("model", BUILT, "describes a model of", STEP, decoder_ffn_embed_dim=9_000_000),
    "10^9 layers": option("model", LOADED, "more than any model", decoder_layers=10**9),
    "900 layers": option("model", BUILT, "900 layers", STEP, decoder_layers=900),
    "10^9 positions": option("model", LOADED, "more than any model", max_target_positions=10**9),
    "EMA of 9 million": option("model", BUILT, "describes a model of", STEP, decoder_n_dim=9_000_000),
    "a word for a width": option("model", BUILT, "", STEP, decoder_embed_dim="wide"),
    "output of 10^12 words": option("generation", LOADED, "more than any model", max_len_b=10**12),
}
SIZES = {**RECORDS, **TENSORS, **UNFOLDING, **DIMENSIONS}

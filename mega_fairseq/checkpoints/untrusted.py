"""What torch's safe loading lets through and no training writes: refused before anything is made of it.

Safe loading builds no object that runs code. A file can still lie about its sizes, unfold into more memory
than there is, or bring text that is run, looked up or fetched later on.
"""

import argparse
import contextlib
import os
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from omegaconf import base
from torch import Tensor

DEPTH, SHARED = 100, 100_000  # levels, and containers met again: no checkpoint has nearly as many
ALIASES = 100  # bytes that tensors may refer to for each byte of the file; tied weights refer to 2 or 3
SLACK = 2 << 30  # bytes that loading may take beside 4 times the file
LARGEST, DEEPEST = 10_000_000, 1_000  # of a model's sizes, and of its numbers of layers
EMPTY = 100_000  # rows without a number
SIZE = re.compile(r"(?:^|_)(?:dims?|layers|heads|positions)$")
LONGEST = 1_000_000  # option of generation
SEARCHED = {"beam", "nbest", "max_len_a", "max_len_b", "min_len", "prefix_size", "sampling_topk"}
FETCHED = {  # options whose file or URL fairseq opens itself
    *("bpe_codes", "bpe_merges", "bpe_vocab", "bpe_vocab_file", "gpt2_encoder_json", "gpt2_vocab_bpe"),
    *("sentencepiece_model", "sentencepiece_model_path"),
}
FAIRSEQS = "https://dl.fbaipublicfiles.com/"  # its defaults for GPT-2's BPE
CODE = re.compile(
    r"__(?:import|builtins|class|bases?|mro|subclasses|globals|getattribute|dict|code|call)__"
    r"|\b(?:eval|exec|compile|getattr|import_module|open|system|popen|Popen)\s*\(|\blambda\b.*:"
)


class Untrusted(ValueError):
    """Why a file is refused, in words that follow "refused to load FILE: "."""


def load(file: IO[bytes], map_location: Any = "cpu") -> Any:
    """torch.load of a file whose sizes are true, in bounded memory; what it holds is checked.

    Raises Untrusted, or what torch.load raises.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":  # as torch tells its archives from older formats
        check_archive(file, size)
    file.seek(0)
    limit = 4 * size + SLACK
    try:
        with _bounded_memory(limit):
            state = torch.load(file, map_location=map_location, weights_only=True)
            check(state, size)
    except MemoryError as error:
        raise Untrusted(f"it has {size:,} bytes and unfolds into more than {limit:,}") from error
    return state


@contextlib.contextmanager
def _bounded_memory(extra: int) -> Iterator[None]:
    """Let this process take `extra` bytes more at most, where Linux can tell how many it has."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = pages * resource.getpagesize() + extra
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bound, *known) if known else bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_archive(file: IO[bytes], size: int) -> None:
    """Raises Untrusted where a zip archive holds more than the file has, or differs from reader to reader.

    Raises BadZipFile for a damaged one.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            begin, records = archive.start_dir, archive.infolist()
    except (ValueError, NotImplementedError, OverflowError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error
    if begin != _directory(file, size):
        raise Untrusted(
            "its table of contents is not where its end says, so that readers see different files"
        )
    packed = next((record for record in records if record.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise Untrusted(f"its record {packed.filename!r} is compressed, which torch.save never does")
    total = sum(record.file_size for record in records)
    if total > size or any(record.file_size != record.compress_size for record in records):
        raise Untrusted(f"its records claim {total:,} bytes and the file has {size:,}")


def _directory(file: IO[bytes], size: int) -> int | None:
    """Where torch's reader looks for the table of contents; None where torch.save did not write the end."""
    file.seek(max(0, size - 42))
    end = file.read().rjust(42, b"\0")  # a locator of 20 bytes where sizes have 64 bits, then 22 bytes
    if end[20:24] != b"PK\x05\x06" or end[40:] != b"\0\0":
        return None
    if end[:4] != b"PK\x06\x07":
        return int(struct.unpack("<L", end[36:40])[0])
    file.seek(struct.unpack("<Q", end[8:16])[0])
    record = file.read(56)
    return int(struct.unpack("<Q", record[48:])[0]) if len(record) == 56 else None


def check(state: Any, size: int) -> None:
    """Raises Untrusted for what no training writes into a checkpoint of `size` bytes."""
    claimed = 0
    for path, value in _walk(state):
        name, where = str(path[-1]) if path else "", ".".join(map(str, path))
        if not name.isprintable():
            raise Untrusted(f"it holds the name {name!r}, which has unprintable characters")
        if isinstance(value, Tensor):
            claimed += _check_tensor(where, value)
        elif isinstance(value, str):
            _check_text(where, name, value)
        elif isinstance(value, int | float):
            _check_number(path, where, name, value)
    if claimed > ALIASES * size:
        raise Untrusted(f"its tensors refer to {claimed:,} bytes and the file has {size:,}")


def _walk(root: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value inside with the names that lead to it; what is referred to twice comes twice."""
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), root)]
    known: set[int] = set()
    again = 0
    while waiting:
        path, value = waiting.pop()
        yield path, value
        found = [((*path, name), inner) for name, inner in _inside(value)]
        again += bool(found) and id(value) in known
        known.add(id(value))
        if len(path) > DEPTH or again > SHARED:
            raise Untrusted(
                f"it unfolds into more than {DEPTH} levels, or from a few values into a great many"
            )
        waiting += found


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, base.Node | base.Metadata):
        return [(name, inner) for name, inner in vars(value).items() if name not in ("_parent", "_key_type")]
    if isinstance(value, argparse.Namespace):
        return vars(value).items()
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset):
        return enumerate(value)
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return enumerate(value.flat)
    return ()


def _check_tensor(where: str, tensor: Tensor) -> int:
    """The bytes that a tensor refers to. Raises Untrusted unless the file holds each of its numbers."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        raise Untrusted(f"its {where} is no plain tensor ({tensor.layout}, {tensor.device.type})")
    stored = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.numel() > stored or max(tensor.shape, default=0) > max(stored, EMPTY):
        raise Untrusted(f"its {where} has the shape {tuple(tensor.shape)} and {stored:,} numbers")
    return tensor.numel() * tensor.element_size()


def _check_text(where: str, name: str, text: str) -> None:
    shown = repr(text if len(text) < 80 else f"{text[:80]} ...")
    if "${" in text:
        raise Untrusted(f"its {where} is {shown}, to be filled in from the outside; training writes values")
    if CODE.search(text):
        raise Untrusted(f"its {where} is {shown}, which looks like code")
    if name in FETCHED and "://" in text and not text.startswith(FAIRSEQS):
        raise Untrusted(f"its {where} is {shown}; download that yourself, and give the file as an option")
    opened = name in FETCHED or name.endswith("embed_path")
    if opened and "\0" not in text and os.path.exists(text) and not os.path.isfile(text):
        raise Untrusted(f"its {where} is {shown}, which is no file; --model-overrides can put None there")


def _check_number(path: tuple[Any, ...], where: str, name: str, value: float) -> None:
    flat = path[-2:-1] == ("args",)  # of older checkpoints and the reference's
    sized = SIZE.search(name) and (flat or path[:2] == ("cfg", "model"))
    searched = path[:2] == ("cfg", "generation") or (flat and name in SEARCHED)
    limit = DEEPEST if name.endswith("layers") else LARGEST
    if (sized and value > limit) or (searched and value > LONGEST):
        raise Untrusted(f"its {where} is {value:,}, more than any model has")

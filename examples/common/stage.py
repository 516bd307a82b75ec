"""Steps whose output directory is either whole or made again."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

STAMP = "stamp.json"


class StageError(Exception):
    """Something the user can act on, told in one sentence."""


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The SHA-256, or another digest, of a file's bytes."""
    found = hashlib.new(algorithm)
    with path.open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def fingerprint(settings: Any) -> str:
    """A SHA-256 of JSON data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when it is whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write so that a reader never sees half a file."""
    with writing(path) as file:
        file.write((json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """What `write_json` wrote, or None where there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def ensure(title: str, directory: Path, settings: Any, make: Callable[[Path], None]) -> dict[str, str]:
    """The SHA-256 of every file in `directory`, which `make(directory)` fills first unless it is whole.

    Whole means: made from equal settings, and no file has gone or changed since. What `make` raises leaves
    an empty stamp, so the next run makes the directory again.
    Raises StageError for a directory with files that no run of this stage has made.
    """
    wanted = fingerprint(settings)
    stamp = read_json(directory / STAMP) or {}
    if stamp.get("settings") == wanted and stamp.get("files") == _digests(directory):
        say(f"{title}: already in {directory}")
        return stamp["files"]
    if directory.exists() and any(directory.iterdir()) and not (directory / STAMP).exists():
        raise StageError(
            f"{directory} holds other files, which would be lost; move them, or choose another folder"
        )
    say(f"{title}: into {directory}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    write_json(directory / STAMP, {})
    make(directory)
    files = _digests(directory)
    write_json(directory / STAMP, {"settings": wanted, "files": files})
    return files


def _digests(directory: Path) -> dict[str, str]:
    return {path.name: digest(path) for path in sorted(directory.iterdir()) if path.name != STAMP}

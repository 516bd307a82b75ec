"""The table of bad input: one row for each thing that is malformed, and what the command makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """command: a key of COMMANDS; options: more of its command line, with the places of COMMANDS.

    says: words that the last line on stderr must have, with those places; or the number of lines in, which
    must come out. change: what is done to a folder with a copy of the data in data/.
    """

    command: str
    options: str
    says: list[str] | int
    change: Callable[[Path], None] | None = None
    name: str = ""
    stdin: bytes = b""


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the bytes of all files of data/ that match."""

    def apply(here: Path) -> None:
        files = sorted((here / "data").glob(name))
        assert files
        for file in files:
            file.write_bytes(change(file.read_bytes()))

    return apply


def remove(name: str) -> Callable[[Path], None]:
    def apply(here: Path) -> None:
        files = sorted((here / "data").glob(name))
        assert files
        for file in files:
            file.unlink()

    return apply

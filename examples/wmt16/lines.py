"""Text by lines: only a line feed ends one, every file is UTF-8, and nothing is half-written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path

from stage import StageError, writing
from tqdm import tqdm

BLOCK = 2000  # lines that a worker takes at once
AHEAD = 64  # blocks under way


def read(path: Path) -> Iterator[str]:
    """The lines of a file without their ends. Raises StageError, naming the line, where one is not UTF-8."""
    with path.open("rb") as file:  # a text file would end lines at carriage returns too
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8").removesuffix("\n")
            except UnicodeDecodeError as error:
                raise StageError(
                    f"{path}, line {number} is not UTF-8 ({error.reason} at byte {error.start}); "
                    "its archive is damaged or another: correct it, or pass another --mirror"
                ) from None


def pairs(paths: tuple[Path, Path]) -> Iterator[tuple[str, str]]:
    """Lines of two files that belong together. Raises StageError unless there are as many of both."""
    first, second = map(read, paths)
    for number, (one, other) in enumerate(zip_longest(first, second)):
        if one is None or other is None:
            longer = number + 1 + sum(1 for _ in (second if one is None else first))
            counts = (number, longer) if one is None else (longer, number)
            raise StageError(
                f"{paths[0]} has {counts[0]:,} lines and {paths[1]} has {counts[1]:,}: they are no pairs; "
                "correct the archive they are from, or pass another --mirror"
            )
        yield one, other


def tokens(line: str) -> int:
    """How many words or pieces stand between spaces."""
    return len(line.split())


def transform(
    work: Callable[[list[str]], list[str]], source: Path, target: Path, pool: Executor
) -> tuple[int, int]:
    """Write `work(lines)` of all lines, made in the pool and in order; the numbers of lines and tokens.

    `work` gives a line for each line.
    """
    read_lines = written = count = 0
    lines = read(source)
    blocks = iter(lambda: list(islice(lines, BLOCK)), [])
    with writing(target) as file, tqdm(desc=target.name, unit=" lines", disable=None) as bar:
        for size, made, found in _in_order(partial(_made, work), blocks, pool):
            file.write(made)
            read_lines, written, count = read_lines + size, written + made.count(b"\n"), count + found
            bar.update(size)
    assert read_lines == written, f"{target} has {written} lines of {read_lines}"
    return written, count


def _made(work: Callable[[list[str]], list[str]], lines: list[str]) -> tuple[int, bytes, int]:
    made = work(lines)
    return len(lines), "".join(f"{line}\n" for line in made).encode(), sum(map(tokens, made))


def _in_order(work: Callable, blocks: Iterable[list[str]], pool: Executor) -> Iterator:
    waiting: deque = deque()
    for block in blocks:
        waiting.append(pool.submit(work, block))
        if len(waiting) == AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()

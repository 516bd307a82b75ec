"""How the benchmarks measure: work in processes of its own, timed in turn."""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tqdm import tqdm

HERE = Path(__file__).parent
# Memory as torch and the C library have it: any MALLOC_ variable keeps the plugin from changing that.
STOCK = {"THP_MEM_ALLOC_ENABLE": "0", "MALLOC_PERTURB_": "0"}
# All memory that was freed stays the process's own.
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}


class Measured(NamedTuple):
    """One time of a piece of work: seconds, the CPU's seconds, MB above what there was before."""

    seconds: float
    cpu: float
    megabytes: float


class Worker:
    """`worker.py CASE ARGUMENTS`, which does its work whenever it is asked to.

    settings: environment variables, as STOCK.
    """

    def __init__(self, case: str, *arguments: object, settings: dict[str, str] | None = None):
        self.command = [sys.executable, str(HERE / "worker.py"), case, *map(str, arguments)]
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env={**os.environ, **(settings or {})},
        )
        self.ready = False

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.command)} stopped with status {self.process.wait()}")
        return line

    def wait_until_ready(self) -> None:
        """Until it has imported and made what it needs. Raises RuntimeError where it cannot."""
        if not self.ready:
            self._answer()
        self.ready = True

    def run(self, often: int = 1) -> Measured:
        """Do the work so often; the last time counts."""
        self.wait_until_ready()
        assert self.process.stdin is not None
        self.process.stdin.write(f"{often}\n")
        self.process.stdin.flush()
        return Measured(*map(float, self._answer().split()))


Times = dict[str, list[Measured]]


def interleaved(work: dict[str, Worker], rounds: int, often: int = 2, warm_up: bool = True) -> Times:
    """Each piece of work in `rounds` rounds, A B C A B C ..., after one that does not count.

    often: how many times each does its work in its turn; the last one counts. The host of a virtual machine
    takes back memory that a process frees, and while the others had their turn it has done so.
    """
    times: Times = {name: [] for name in work}
    with progress("starting", len(work)) as bar:
        for worker in work.values():
            worker.wait_until_ready()
            bar.update()
    with progress(", ".join(work), (rounds + warm_up) * len(work)) as bar:
        for i in range(rounds + warm_up):
            for name, worker in work.items():
                measured = worker.run(often)
                bar.update()
                if i or not warm_up:
                    times[name].append(measured)
    for worker in work.values():
        worker.__exit__(None, None, None)
    return times


def progress(what: str, total: int) -> tqdm:
    """A bar that goes away with the work it tells of."""
    return tqdm(total=total, desc=f"  {what}", leave=False, dynamic_ncols=True)


def median(times: list[Measured]) -> float:
    """The median of the seconds."""
    return statistics.median(t.seconds for t in times)


def ratio(times: Times, above: str, below: str) -> tuple[float, list[float]]:
    """Median time of one piece of work over another's, and the lowest and highest ratio of a round."""
    rounds = [a.seconds / b.seconds for a, b in zip(times[above], times[below], strict=True)]
    return median(times[above]) / median(times[below]), [min(rounds), max(rounds)]


def peak_memory(case: str, *arguments: object) -> float:
    """MB that the work needs above what there was before, in a fresh process."""
    with Worker(case, *arguments) as worker:
        return worker.run().megabytes

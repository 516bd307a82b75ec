"""How the benchmarks measure: interleaved times, peak memory in fresh processes, bare matrix products."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).parent
Times = dict[str, list[float]]


def interleaved(work: dict[str, Callable[[], Any]], rounds: int, warm_up: bool = True) -> Times:
    """Seconds of each piece of work in `rounds` rounds, A B C A B C ..., after one that does not count."""
    times: Times = {name: [] for name in work}
    for i in range(rounds + warm_up):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            if i or not warm_up:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(times: Times, above: str, below: str) -> tuple[float, list[float]]:
    """Median time of one piece of work over another's, and the lowest and highest ratio of a round."""
    rounds = [a / b for a, b in zip(times[above], times[below], strict=True)]
    return statistics.median(times[above]) / statistics.median(times[below]), [min(rounds), max(rounds)]


def peak_memory(case: str, *arguments: object) -> float:
    """MB that `memory.py CASE ARGUMENTS` needs above what it has before the work, in a fresh process."""
    command = [sys.executable, str(HERE / "memory.py"), case, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


class _Products(TorchDispatchMode):
    """Records the operands of the matrix products of linear layers and of attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels, self.operands = channels, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "mv", "addmv"):
            pair = args[1:3] if name.startswith("add") else args[:2]
            if name != "bmm" or pair[0].size(0) != self.channels:  # a product per channel is the EMA's
                self.operands.append([(tuple(t.shape), t.stride()) for t in pair])
        return function(*args, **(kwargs or {}))


def bare_products(work: Callable[[], Any], channels: int) -> Callable[[], None]:
    """The matrix products of `work` by themselves, with the same shapes and strides.

    channels: the model's D; batched products over so many are the EMA's and do not count.
    """
    with _Products(channels) as products:
        work()
    storage: dict[Any, torch.Tensor] = {}
    for shape, stride in (operand for pair in products.operands for operand in pair):
        if (shape, stride) not in storage:
            storage[shape, stride] = torch.empty_strided(shape, stride).fill_(0.01)
    pairs = [tuple(storage[operand] for operand in pair) for pair in products.operands]

    def run() -> None:
        for a, b in pairs:
            torch.matmul(a, b)

    return run

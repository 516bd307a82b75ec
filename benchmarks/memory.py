"""Peak memory of one piece of work, for measure.peak_memory: python benchmarks/memory.py CASE ARGUMENTS."""

import sys
from pathlib import Path

import torch
import work


def main(case: str, *arguments: str) -> None:
    """Print the MB above what there was before."""
    run = getattr(work, case)(*(int(a) if a.isdigit() else a for a in arguments))
    x = torch.ones(8, 8, requires_grad=True)
    (x @ x).sum().backward()  # what is made at first use
    before = peak()
    run()
    print(peak() - before)


def peak() -> float:
    """MB that this process has had in memory at most (getrusage counts its parent's, too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One piece of work in a process of its own, for measure.Worker: python benchmarks/worker.py CASE ARGUMENTS.

Does the work so often as each line that it reads says, and prints the last time's seconds, the CPU's seconds
and the MB that the process had in memory at most, above what it had before the first time.
"""

import logging
import sys
import time
from pathlib import Path

import torch


def main(case: str, *arguments: str) -> None:
    """Answer every line of standard input."""
    logging.disable(logging.INFO)  # an import of fairseq says which of its optional packages are not there
    import work

    run = getattr(work, case)(*(int(a) if a.lstrip("-").isdigit() else a for a in arguments))
    x = torch.ones(8, 8, requires_grad=True)
    (x @ x).sum().backward()  # what is made at first use
    before = peak()
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            began, cpu = time.perf_counter(), time.process_time()
            run()
            seconds = time.perf_counter() - began, time.process_time() - cpu
        print(*seconds, peak() - before, flush=True)


def peak() -> float:
    """MB that this process has had in memory at most (getrusage counts its parent's, too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])

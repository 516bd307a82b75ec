"""fairseq's commands, each in a fork of one process that has imported fairseq already."""

import gc
import importlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """What a command left: its exit status, its output and its errors."""

    status: int
    out: str
    err: str


class Commands:
    """Starts the process; close it at the end. folder: for what goes in and comes out."""

    def __init__(self, folder):
        self.folder = folder
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(
            [sys.executable, __file__], cwd=ROOT, env=variables, text=True, **pipes
        )

    def run(self, command, *arguments, stdin=b""):
        """fairseq-COMMAND, as from a shell."""
        (self.folder / "0").write_bytes(stdin)
        argv = [f"fairseq-{command}", *map(str, arguments)]
        print(json.dumps([argv, str(self.folder)]), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        return Done(status, *((self.folder / n).read_text(errors="replace") for n in "12"))

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def serve():
    import fairseq  # noqa: F401  # what the forks have in common

    gc.freeze()  # or each fork spends a second collecting garbage as it ends
    for line in sys.stdin:
        argv, folder = json.loads(line)
        if os.fork() == 0:
            become(argv, folder)
            break
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)


def become(argv, folder):
    """Run the command in this process, which then ends as Python ends."""
    for number, flags in enumerate([os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2]):
        os.dup2(os.open(f"{folder}/{number}", flags), number)
    sys.stdin, sys.argv = os.fdopen(0), argv
    logging.root.handlers.clear()
    importlib.import_module(argv[0].replace("fairseq-", "fairseq_cli.")).cli_main()


if __name__ == "__main__":
    serve()

"""fairseq's commands and ours, each in a fork of one process that has imported fairseq already."""

import gc
import importlib
import json
import logging
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
IMPORTED = ["fairseq", "torch._dynamo", "torch.distributed.fsdp"]  # which every training imports
RUNNING = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "socket.connect",
    "socket.getaddrinfo",
}
CHANGING = {"open", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"}


class Done(NamedTuple):
    """What a command left: its exit status, its output and its errors."""

    status: int
    out: str
    err: str


class Commands:
    """Starts the process; close it at the end. folder: for what goes in and comes out.

    modules: imported before the forks, besides fairseq.
    """

    def __init__(self, folder, modules=()):
        self.folder = folder
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(
            [sys.executable, __file__, *IMPORTED, *modules], cwd=ROOT, env=variables, text=True, **pipes
        )

    def run(self, command, *arguments, stdin=b"", **confined):
        """fairseq-COMMAND as from a shell, or mega-NAME, or a file NAME.py. confined: see confine."""
        (self.folder / "0").write_bytes(stdin)
        named = command.startswith("mega-") or command.endswith(".py")
        argv = [command if named else f"fairseq-{command}", *map(str, arguments)]
        print(json.dumps([argv, str(self.folder), confined]), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        return Done(status, *((self.folder / n).read_text(errors="replace") for n in "12"))

    def close(self):
        self.server.stdin.close()
        self.server.wait()


def serve():
    for module in sys.argv[1:]:  # what the forks have in common
        importlib.import_module(module)
    gc.freeze()  # or each fork spends a second collecting garbage as it ends
    for line in sys.stdin:
        argv, folder, confined = json.loads(line)
        if os.fork() == 0:
            become(argv, folder, confined)
            break
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)


def become(argv, folder, confined):
    """Run the command in this process, which then ends as Python ends."""
    for number, flags in enumerate([os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2]):
        os.dup2(os.open(f"{folder}/{number}", flags), number)
    sys.stdin, sys.argv = os.fdopen(0), argv
    logging.root.handlers.clear()
    if confined:
        confine(folder, **confined)
        end_at_once(lambda: call(argv))
    call(argv)


def end_at_once(command):
    """Run it and end as Python ends, but for taking its modules apart, which is slow in a fork."""
    status = 0
    try:
        command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else bool(end.code)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def call(argv):
    if argv[0].endswith(".py"):
        sys.path.insert(0, str(Path(argv[0]).parent))
        runpy.run_path(argv[0], run_name="__main__")
    elif argv[0].startswith("mega-"):
        (point,) = entry_points(group="console_scripts", name=argv[0])
        sys.exit(point.load()())
    else:
        importlib.import_module(argv[0].replace("fairseq-", "fairseq_cli.")).cli_main()


def confine(folder, memory, seconds, place):
    """Limit memory (bytes beyond what this process has) and time, and tell in folder/3 what leaves `place`.

    That is a program started, a connection, or a file changed elsewhere.
    """
    sys.dont_write_bytecode = True
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = place
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = {resource.RLIMIT_AS: pages * resource.getpagesize() + memory, resource.RLIMIT_CPU: seconds}
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    signal.alarm(5 * seconds)  # for what waits
    told = os.open(f"{folder}/3", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
    measured = os.path.realpath(".coverage.")  # what a run of the tests with --cov leaves, of every process
    inside = (os.path.realpath(place) + os.sep, os.devnull, measured)

    def leaves(event, arguments):
        if event in RUNNING:
            return True
        if event not in CHANGING or not isinstance(arguments[0], str | bytes):
            return False
        path = os.path.realpath(os.fsdecode(arguments[0]))
        changes = event != "open" or arguments[2] & writing
        return changes and not f"{path}{os.sep}".startswith(inside)

    def hook(event, arguments):
        if leaves(event, arguments):
            os.write(told, f"{event} {arguments}\n".encode(errors="replace"))

    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()

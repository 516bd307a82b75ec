"""A bash whose python, fairseq-* and mega-* are forks of one process that has imported fairseq already."""

import gc
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

# Each program of the shell: hands its arguments, place and files to the server and ends with its status.
PROGRAM = """#!{python} -IS
import json, os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect({address!r})
call = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(client, [len(call).to_bytes(4, "big")], [0, 1, 2])
client.sendall(call)
sys.exit(client.recv(1)[0])
"""
IN_TWO = "torchrun --standalone --nproc-per-node 2 --no-python"  # before a command: in two processes
EXTRA = "SHELL_EXTRA"  # arguments that every program gets after its own, in JSON


class Done(NamedTuple):
    """What a command left: its exit status and all that it printed."""

    status: int
    printed: str


class Shell:
    """Starts the server; close it at the end. Its programs are found before those of PATH."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="shell"))  # short, as a socket's address must be
        address = str(self.folder / "socket")
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.server = subprocess.Popen(
            [sys.executable, __file__, address],
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        commands = {point.name for point in entry_points(group="console_scripts")}
        for name in [
            "python",
            *(name for name in commands if name.startswith(("fairseq-", "mega-", "torchrun"))),
        ]:
            (self.folder / name).write_text(PROGRAM.format(python=sys.executable, address=address))
            (self.folder / name).chmod(0o755)
        self.server.stdout.readline()  # it listens

    def run(self, text, cwd, extra=()):
        """The text in bash; `extra` are arguments that its programs get after their own."""
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=cwd,
            env={**os.environ, "PATH": path, EXTRA: json.dumps([*map(str, extra)])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        return Done(done.returncode, done.stdout)

    def close(self):
        self.server.stdin.close()
        self.server.wait()
        shutil.rmtree(self.folder)


def serve(address):
    """Fork for each call until stdin ends. Returns in the forks that are to run one what `become` takes."""
    import fairseq  # noqa: F401  # what the forks have in common

    gc.freeze()  # or each fork spends a second collecting garbage as it ends
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that wait for the programs
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("listens", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            length, files, _, _ = socket.recv_fds(client, 4, 3)
            call = client.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            program = os.fork()
            if program == 0:
                return (*json.loads(call), files)
            status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
            client.sendall(bytes([status % 256]))
            os._exit(0)
        client.close()
    os._exit(0)


def become(argv, folder, variables, files):
    """Run the program in this process, which then ends as Python ends."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = os.fdopen(0)
    os.chdir(folder)
    logging.root.handlers.clear()  # of the server's import of fairseq
    os.environ.update(variables)
    name, *arguments = [*argv, *json.loads(variables[EXTRA])]
    if Path(name).name != "python":
        sys.argv = [name, *arguments]
        (point,) = entry_points(group="console_scripts", name=Path(name).name)
        sys.exit(point.load()())
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], folder
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    become(*serve(sys.argv[1]))

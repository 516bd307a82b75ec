"""fairseq's commands as subprocesses of this interpreter, shown so that a reader can copy them."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from running import put_off
from stage import StageError, say

VALID = re.compile(r"\| valid \| (\{.*\})")


def fairseq(command: str, *arguments: object) -> list[str]:
    """The command line of one of fairseq's commands in this environment."""
    here, python = Path.cwd(), Path(sys.executable)
    shown = python.relative_to(here) if python.is_relative_to(here) else python
    return [str(shown), "-m", f"fairseq_cli.{command}", *map(str, arguments)]


def run(command: list[str], log: Path, stdout: Path | None = None) -> None:
    """Run to the end; stdout goes to `stdout` or `log`, errors to `log`.

    Raises StageError, naming the log and its last line, when the command fails.
    """
    show(command)
    with (
        log.open("ab") as errors,
        (stdout or log).open("ab") as output,
        _started(command, stdout=output, stderr=errors) as process,
    ):
        process.wait()
    check(command, process.returncode, log)


def train(command: list[str], log: Path) -> None:
    """Run a training, appending what it says to `log`, and print a line for each validation.

    Raises StageError, naming the log and its last line, when the command fails.
    """
    show(command)
    say(f"  log: {log}")
    start = time.monotonic()
    with log.open("a", encoding="utf-8") as file:
        print(f"$ {shlex.join(command)}", file=file, flush=True)
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with _started(command, **pipe, encoding="utf-8", errors="replace") as process:
            for updates, perplexity in validations(_copied(process.stdout, file)):
                minutes = (time.monotonic() - start) / 60
                say(f"  {minutes:5.1f} min {updates:6,} updates   valid perplexity {perplexity:8.2f}")
    check(command, process.returncode, log)


@contextmanager
def _started(command: list[str], **streams) -> Iterator[subprocess.Popen]:
    """The command as a process that holds what `running.alone` holds, and is killed if the block fails."""
    process = None
    try:
        with put_off():
            process = subprocess.Popen(
                command,
                **streams,
                stdin=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,  # a group, with its workers
                close_fds=False,
            )
        yield process
    except BaseException:
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # or it would go on, unseen
        raise
    finally:
        if process is not None:
            with process:  # closes its pipes and waits
                pass


def validations(lines: Iterator[str]) -> Iterator[tuple[int, float]]:
    """(updates, perplexity) of each validation in the lines of a `--log-format json` log."""
    for line in lines:
        if match := VALID.search(line):
            stats = json.loads(match[1])
            yield int(stats["valid_num_updates"]), float(stats["valid_ppl"])


def _copied(lines: Iterator[str], file) -> Iterator[str]:
    for line in lines:
        file.write(line)
        file.flush()
        yield line


def show(command: list[str]) -> None:
    """Print a command as a shell would take it."""
    say(f"  $ {shlex.join(command)}")


def check(command: list[str], status: int, log: Path) -> None:
    """Raise StageError unless `status` is 0, with the last line of `log`."""
    if status:
        words = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "nothing")
        name = command[2] if command[1] == "-m" else command[1]
        raise StageError(f"{name} failed with status {status}; {log} ends with: {last}")


def environment() -> dict[str, str]:
    """This process's environment with quiet threads, unless the user has chosen (benchmarks/README.md)."""
    defaults = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000", "PYTHONUTF8": "1"}
    return {**defaults, **os.environ}

"""How a recipe runs: alone in its folder, stopped in order, and leaving no process behind."""

import fcntl
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stage import StageError

PATIENCE = 5  # seconds that the processes of a stopped run may take to end
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def in_order(name: str, work: Callable[[], None]) -> int:
    """Run `work`; the exit status. Ctrl-C, SIGTERM and a terminal that closes interrupt it alike."""
    for kind in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(kind) != signal.SIG_IGN:  # nohup's
            signal.signal(kind, signal.default_int_handler)
    try:
        work()
    except (StageError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Hold `folder`, which is made, for one run of `name` and what that starts.

    Raises StageError where another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # a command that outlives a killed run still writes there
        patience = time.monotonic() + PATIENCE
        while not _locked(lock):
            if time.monotonic() > patience:
                raise StageError(
                    f"another {name} is running in {folder}, or a command that it left; "
                    "wait for it or stop it"
                )
            time.sleep(0.1)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes, which end at once when the block fails or this process is gone.

    Raises StageError where one of them dies.
    """
    pool = ProcessPoolExecutor(count, initializer=_end_with_parent)
    try:
        with put_off():
            pool.submit(int)  # starts them
        yield pool
    except BrokenProcessPool:
        raise StageError("a worker process died, perhaps for want of memory; try fewer --workers") from None
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # or the end would wait for what they have begun
        raise
    finally:
        with put_off():
            pool.shutdown()


@contextmanager
def put_off() -> Iterator[None]:
    """Interrupt after the block what is interrupted in it, where that is lost or leaves a process behind."""
    arrived = []
    kinds = [kind for kind in STOPPING if signal.getsignal(kind) is signal.default_int_handler]
    for kind in kinds:
        signal.signal(kind, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for kind in kinds:
            signal.signal(kind, signal.default_int_handler)
    if arrived:
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    def watch() -> None:
        parent.join()
        os._exit(1)

    parent = multiprocessing.parent_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, signal.SIG_DFL)
    threading.Thread(target=watch, daemon=True).start()

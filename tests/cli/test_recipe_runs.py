"""Recipes are stopped in order, leave no process behind, and run one at a time in a folder."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import wmt16_mirror as mirrors

ROOT = Path(__file__).resolve().parents[2]
COMMON = ROOT / "examples" / "common"
SLEEPY = f"""
import multiprocessing, os, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {str(COMMON)!r})
import commands, running

FAMILY = '''
import os, time
if os.fork(): print("pid", os.getpid(), flush=True)
else: print("pid", os.getpid(), flush=True)
time.sleep(120)
'''

def stopped_after(start):
    def stopped(*arguments):
        pid = start(*arguments)
        print("pid", pid, file=open("log", "a"), flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        return pid
    return stopped

def work():
    with running.alone(Path("out"), "sleeper"):
        if sys.argv[1] == "command":
            commands.run([sys.executable, "-c", FAMILY], Path("log"))
        if sys.argv[1] == "start":
            subprocess._fork_exec = stopped_after(subprocess._fork_exec)
            commands.run([sys.executable, "-c", "import time; time.sleep(120)"], Path("log"))
        if sys.argv[1] == "fork":
            os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
        with running.workers(2) as pool:
            waiting = [pool.submit(time.sleep, 120) for _ in range(9)]
            for process in multiprocessing.active_children():
                print("pid", process.pid, file=open("log", "a"), flush=True)
            waiting[0].result()

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests were started by
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(running.in_order("sleeper", work))
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(done, seconds=20):
    """What `done` returns as soon as that is true, or at the end."""
    end = time.monotonic() + seconds
    while not (found := done()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


@pytest.fixture
def sleeper(tmp_path):
    """A run that sleeps in a command or in workers, and the two processes that it has started."""
    started = []

    def start(kind):
        run = subprocess.Popen(
            [sys.executable, "-c", SLEEPY, kind], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        log = tmp_path / "log"
        pids = until(
            lambda: len(f := re.findall(r"pid (\d+)\n", log.read_text() if log.exists() else "")) == 2 and f
        )
        started.extend([run.pid, *map(int, pids)])
        return run, pids

    yield start
    for pid in filter(alive, started):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["command", "workers"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_ends_what_it_has_started(sleeper, kind, how):
    run, pids = sleeper(kind)
    assert all(map(alive, pids))
    run.send_signal(how)
    _, said = run.communicate(timeout=20)
    assert run.returncode == 130
    assert said.strip() == "sleeper: stopped; the same command goes on from here"
    assert until(lambda: not any(map(alive, pids)), 2)


def test_workers_end_with_a_run_that_is_killed(sleeper):
    run, pids = sleeper("workers")
    run.kill()
    assert until(lambda: not any(map(alive, pids)))


def test_a_folder_is_held_by_one_run_and_the_command_that_it_left(sleeper, tmp_path):
    run, pids = sleeper("command")
    again = [sys.executable, "-c", SLEEPY, "command"]
    for _ in range(2):
        second = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True)
        assert second.returncode == 1
        assert "sleeper: another sleeper is running in out, or a command that it left" in second.stderr
        run.kill()
        run.wait()
    assert all(map(alive, pids))


def test_a_signal_while_workers_are_forked_is_not_lost(tmp_path):
    command = [sys.executable, "-c", SLEEPY, "fork"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.strip() == "sleeper: stopped; the same command goes on from here"


def test_a_signal_while_a_command_starts_ends_it(tmp_path):
    command = [sys.executable, "-c", SLEEPY, "start"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr.strip() == "sleeper: stopped; the same command goes on from here"
    (pid,) = re.findall(r"pid (\d+)\n", (tmp_path / "log").read_text())
    assert not alive(int(pid))


def test_a_worker_that_dies_is_told(tmp_path):
    code = SLEEPY.replace("pool.submit(time.sleep, 120)", "pool.submit(signal.raise_signal, signal.SIGKILL)")
    done = subprocess.run(
        [sys.executable, "-c", code, "workers"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "sleeper: a worker process died, perhaps for want of memory; try fewer --workers\n"


@pytest.mark.parametrize("stage", ["normalised", "subwords", "data-bin"])
def test_the_recipe_goes_on_after_sigterm(stage, tmp_path):
    mirrors.write(tmp_path / "mirror", mirrors.members(mirrors.built_in(120)))
    command = [sys.executable, "examples/wmt16/prepare.py", "--mirror", tmp_path / "mirror", "--workers", "2"]
    command += ["--out", tmp_path / "out", "--bpe-size", "150"]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        for line in run.stdout:
            if line.startswith(f"{stage}: into"):
                run.terminate()
                break
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert (
        errors.endswith("prepare: stopped; the same command goes on from here\n")
        and "Traceback" not in errors
    )
    if stage == "data-bin":
        again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert len(re.findall("^.*: already in .*$", again.stdout, re.M)) == 4

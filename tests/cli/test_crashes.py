"""A training that is killed, stopped, or has no room for a checkpoint; campaigns/crashes kills many more."""

import contextlib
import resource
import shlex
import shutil
import subprocess

import pytest
from killed import EVERY, ROOT, Training, command_of, compare, differences, lasting, make_data, seen_in
from shell import Shell

UPDATES = 15
PATIENT = ["--save-interval-updates", "0", "--max-tokens", "400", "--lr", "1e-6", "--patience", "3"]
PATIENT += ["--lr-scheduler", "reduce_lr_on_plateau", "--lr-patience", "1", "--lr-shrink", "0.5"]
PATIENT += ["--warmup-updates", "0"]


@pytest.fixture(scope="module")
def run():
    """Run python and its arguments in a fork of a process that has imported fairseq; what it prints."""
    shell = Shell()

    def call(*command):
        done = shell.run(shlex.join(map(str, command)), ROOT)
        assert done.status == 0, done.printed[-3000:]
        return done.printed

    yield call
    shell.close()


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """A folder with data and a training that nothing happened to."""
    folder = tmp_path_factory.mktemp("crashes")
    data = make_data("mega_nmt", folder, call=lambda *arguments: run("python", *arguments))
    _, *arguments = command_of("mega_nmt", data, folder / "whole", UPDATES)
    (folder / "whole.log").write_text(run("python", *arguments))
    return folder


def goes_on(run, whole, save_dir, log):
    """Resume the training, which then must be the one that nothing happened to."""
    _, *arguments = command_of("mega_nmt", whole / "bin", save_dir, UPDATES)
    printed = run("python", *arguments)
    assert f"@ {EVERY} updates" in printed.partition("begin training epoch")[0]
    assert compare(save_dir, whole / "whole", [log, printed], (whole / "whole.log").read_text()) == []


def test_a_training_killed_while_it_saves_ends_as_if_it_had_not_been(run, whole, tmp_path):
    save_dir = tmp_path / "checkpoints"
    training = Training(command_of("mega_nmt", whole / "bin", save_dir, UPDATES), tmp_path / "log")
    half = save_dir / f"checkpoint_1_{2 * EVERY}.pt.tmp"
    assert training.wait_until(half.exists, 0)
    assert training.kill()
    assert seen_in(training.printed()) == {"phase": "saving", "updates": 2 * EVERY, "saved": EVERY}
    goes_on(run, whole, save_dir, training.printed())


@contextlib.contextmanager
def small_disk(folder):
    """A file system of 16 MB in this folder; the test is skipped where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here; the limit of a file's size is tested")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder, room):
    """Leave so many bytes."""
    free = shutil.disk_usage(folder).free
    (folder / "filler").write_bytes(bytes(free - room))


@pytest.mark.parametrize("kind", ["disk", "file size"])
def test_without_room_the_last_checkpoint_stays(run, whole, tmp_path, kind):
    place, limit = tmp_path / "place", None
    with small_disk(place) if kind == "disk" else contextlib.nullcontext():
        save_dir = place / "checkpoints"
        _, *arguments = command_of("mega_nmt", whole / "bin", save_dir, EVERY)
        log = run("python", *arguments)
        before = {path.name: path.read_bytes() for path in save_dir.iterdir()}
        half = len(before["checkpoint_last.pt"]) // 2
        if kind == "disk":
            fill(place, half)
        else:
            limit = {resource.RLIMIT_FSIZE: (half, half)}
        training = Training(
            command_of("mega_nmt", whole / "bin", save_dir, UPDATES), tmp_path / "log", limits=limit
        )
        assert training.process.wait() == 1
        reason = "No space left on device" if kind == "disk" else "File too large"
        last = training.printed().strip().splitlines()[-1]
        assert f"CheckpointError: cannot write {save_dir}/checkpoint_1_10.pt: {reason}; make room, " in last
        assert {path.name: path.read_bytes() for path in save_dir.iterdir()} == before
        assert lasting(save_dir / "checkpoint_last.pt")["optimizer_history"]["num_updates"] == EVERY
        (place / "filler").unlink(missing_ok=True)
        goes_on(run, whole, save_dir, log.partition("end of epoch")[0])


def test_a_resumed_training_has_the_patience_and_the_plateaus_of_one_that_was_not(run, whole):
    data = whole / "bin"

    def train(name, *options):
        _, *arguments = command_of("mega_nmt", data, whole / name, 1000)
        return run("python", *arguments, *PATIENT, *options)

    train("patient")
    train("stopped", "--max-epoch", "2")
    train("stopped", "--max-epoch", "3")
    train("stopped")
    one, two = (lasting(whole / name / "checkpoint_last.pt") for name in ("patient", "stopped"))
    assert (
        one["extra_state"]["train_iterator"]["epoch"] == 5
        and one["extra_state"]["early_stop"]["num_runs"] == 3
    )
    assert one["last_optimizer_state"]["param_groups"][0]["lr"] == 5e-7
    assert differences(one["model"], two["model"]) == []
    assert differences(one["last_optimizer_state"], two["last_optimizer_state"]) == []
    assert differences(one["extra_state"], two["extra_state"]) == []
    assert "this training has ended at --patience 3" in train("stopped")


def test_a_finished_training_makes_no_more_updates(run, whole):
    last = whole / "whole" / "checkpoint_last.pt"
    before = last.stat().st_mtime_ns
    _, *arguments = command_of("mega_nmt", whole / "bin", whole / "whole", UPDATES)
    printed = run("python", *arguments)
    assert f"this training has ended at --max-update {UPDATES}; raise it to go on" in printed
    assert last.stat().st_mtime_ns == before

"""The console commands: fairseq's own, with the plugin and the thread settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mega_fairseq.commands import fairseq as cli
from mega_fairseq.compat.repairs.plugin import PACKAGE
from mega_fairseq.models import presets

ROOT = Path(__file__).parents[2]
COMMANDS = ["train", "generate", "interactive", "eval-lm", "preprocess", "validate", "hydra-train"]


@pytest.fixture
def called(monkeypatch):
    """Replace fairseq's main functions by a note of their command line."""
    calls = []

    class Module:
        @staticmethod
        def cli_main():
            calls.append(sys.argv[1:])

    def note(name):
        calls.append(name)
        return Module

    monkeypatch.setattr(cli.importlib, "import_module", note)
    return calls


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_loads_the_plugin(command, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"mega-{command}", "data"])
    function = command.replace("-", "_")
    getattr(cli, function)()
    added = [f"common.user_dir='{PACKAGE}'"] if command == "hydra-train" else ["--user-dir", str(PACKAGE)]
    assert called == [f"fairseq_cli.{function}", ["data", *added]]


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("train", ["--user-dir", "mine"]),
        ("generate", ["--user-dir=mine"]),
        ("hydra_train", ["common.user_dir=mine"]),
        ("hydra_train", ["++common.user_dir=mine"]),
    ],
)
def test_the_users_own_folder_stays(command, given, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mega", *given])
    getattr(cli, command)()
    assert called[1] == given


def test_a_bad_checkpoint_ends_with_one_sentence(tmp_path, monkeypatch):
    bad = tmp_path / "checkpoint.pt"
    bad.write_bytes(b"PK")
    monkeypatch.setattr(
        sys,
        "argv",
        ["mega-validate", "data", "--task", "translation", "--path", str(bad), "--max-tokens", "9"],
    )
    with pytest.raises(
        SystemExit, match=r"^mega-validate: cannot read .*checkpoint.pt as a fairseq checkpoint"
    ):
        cli.validate()


def test_setup_declares_every_command():
    declared = re.search(r"COMMANDS = \[(.*)\]", (ROOT / "setup.py").read_text())[1]
    assert re.findall(r'"([^"]+)"', declared) == COMMANDS
    assert all(callable(getattr(cli, command.replace("-", "_"))) for command in COMMANDS)


def test_the_lock_has_every_requirement_with_hashes():
    pinned = set((ROOT / "requirements.txt").read_text().split("\n")[1:-1])
    locked = re.findall(r"^(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", LOCK.read_text(), re.M)
    assert LOCK.read_text().count("==") == len(locked)
    assert {line for line in pinned if not line.startswith("torch==")} <= {name for name, _ in locked}


LOCK = ROOT / "requirements.lock"
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SET = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "THP_MEM_ALLOC_ENABLE"}


def python(*arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in SET}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_versions_path_and_presets_are_printed():
    out = python("-m", "mega_fairseq").stdout
    assert f"--user-dir    {ROOT / 'mega_fairseq'}" in out
    for part in ("mega-fairseq", "python", "torch", "fairseq", "numpy"):
        assert re.search(rf"^{part} +\d+\.\d+", out, re.MULTILINE), part
    for name, parameters in presets.presets_with_sizes():
        assert re.search(rf"^{name} +{parameters:,} parameters$", out, re.MULTILINE), name


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp prints its settings")
def test_threads_wait_passively_unless_told_otherwise():
    show = {"OMP_DISPLAY_ENV": "VERBOSE"}
    load = "from mega_fairseq.commands import fairseq"  # what a console script does first
    err = python("-c", load, **show).stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in err and "GOMP_SPINCOUNT = '1000'" in err
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in python("-c", load, OMP_WAIT_POLICY="ACTIVE", **show).stderr


@pytest.mark.skipif(not HUGE.exists() or "[never]" in HUGE.read_text(), reason="no pages of 2 MB here")
@pytest.mark.parametrize("before", ["", "import torch, fairseq; "])
def test_large_tensors_have_large_pages_unless_told_otherwise(before):
    show = "print(open('/proc/self/smaps_rollup').read().split('AnonHugePages:')[1].split()[0])"
    fill = f"{before}import mega_fairseq, torch; x = torch.ones(2**26); {show}"  # 256 MB
    assert int(python("-c", fill).stdout) >= 2**17  # kB, half of it
    assert int(python("-c", fill, THP_MEM_ALLOC_ENABLE="0").stdout) < 2**17 or "[always]" in HUGE.read_text()


def test_nothing_large_is_imported_that_fairseq_does_not_import():
    """torch's compiler alone takes a second."""
    code = "import fairseq, fairseq_cli.generate, sys; before = set(sys.modules); import mega_fairseq; "
    code += "print(*(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "mega_fairseq.models" in found.stdout.split()
    large = {"torch._dynamo", "torch.fx", "matplotlib", "sacremoses", "sentencepiece", "tensorboardX"}
    assert not large & set(found.stdout.split())

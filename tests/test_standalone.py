"""The project stands alone: no file of it looks for data beside the checkout."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {".ci/run"}  # it names the folder for MEGA_SHARED where CI lays one beside the checkout
FOLDER = "sha" + "red"
BESIDE = re.compile(rf"\.\./{FOLDER}|/ ?[\"']{FOLDER}[\"']|[\"']{FOLDER}[\"'] ?/|\)/{FOLDER}\b")


def test_nothing_looks_beside_the_checkout():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = {
        name: (ROOT / name).read_bytes().decode(errors="replace")
        for name in listed.stdout.split("\0")
        if name
    }
    found = {name for name, text in texts.items() if BESIDE.search(text)}
    assert found == ALLOWED


def test_the_tensors_kept_here_are_small():
    assert sum(path.stat().st_size for path in (ROOT / "tests" / "golden").iterdir()) < 300_000

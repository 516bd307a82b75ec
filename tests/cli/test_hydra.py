"""The YAML configurations train through fairseq-hydra-train."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HYDRA_FULL_ERROR": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ["mega_nmt_tiny", "mega_lm_tiny"])
def test_configuration_trains(name, tmp_path):
    draw = random.Random(0)
    languages = ("en", "de") if "nmt" in name else ("",)
    for split in ("train", "valid"):
        for language in languages:
            lines = [" ".join(draw.choices("abcdefg", k=30)) + "\n" for _ in range(60)]
            (tmp_path / f"{split}.{language}".rstrip(".")).write_text("".join(lines))
    pair = ["-s", "en", "-t", "de", "--joined-dictionary"] if len(languages) == 2 else ["--only-source"]
    splits = [f"--trainpref={tmp_path / 'train'}", f"--validpref={tmp_path / 'valid'}"]
    call("fairseq_cli.preprocess", *pair, *splits, "--destdir", tmp_path / "bin")
    where = [f"task.data={tmp_path / 'bin'}", f"hydra.run.dir={tmp_path / 'run'}"]
    limits = [
        "optimization.max_update=2",
        f"checkpoint.save_dir={tmp_path / 'save'}",
        "dataset.num_workers=0",
    ]
    config = ["--config-dir", ROOT / "mega_fairseq" / "configs", "--config-name", name]
    user = f"common.user_dir={ROOT / 'mega_fairseq'}"
    output = call("fairseq_cli.hydra_train", *config, *where, *limits, user)
    assert "num_updates: 2" in output
    assert (tmp_path / "save" / "checkpoint_last.pt").exists()

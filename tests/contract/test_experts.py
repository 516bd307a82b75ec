"""A user's own task takes the encoder's output apart and puts it together: experts/ trains and translates."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXPERTS = f"--user-dir {Path(__file__).parent / 'experts'} --task experts"


@pytest.mark.parametrize("side", ["stock", "mega"])
def test_experts_train_and_translate(side, frame):
    save = frame.place()
    seen = frame.train("nmt", side, f"{EXPERTS} --max-update 60 --no-epoch-checkpoints", save)
    assert seen.status == 0, seen.said
    losses = [
        float(line.split('"train_loss": "')[1].split('"')[0])
        for line in seen.aspects["values"]
        if "train_loss" in line
    ]
    assert losses[-1] < 0.8 * losses[0]
    translated = []
    for expert in range(3):
        given = f"{EXPERTS} --expert {expert} --path {save}/checkpoint_last.pt"
        seen = frame.evaluate("generate", "nmt", side, given)
        assert seen.status == 0, seen.said
        translated.append([line for line in seen.aspects["output"] if line.startswith("H-")])
    assert all(len(lines) == 10 for lines in translated)
    assert len({tuple(lines) for lines in translated}) == 3

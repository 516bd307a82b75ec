"""What the quickstarts share: options, resumed trainings, one at a time; and the language model's text."""

import sys
from pathlib import Path

import pytest
import torch
from builders import build_nmt
from hypothesis import given
from hypothesis import strategies as st

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
sys.path[:0] = [str(EXAMPLE), str(EXAMPLE.parent / "common")]

import commands  # noqa: E402
import lm  # noqa: E402
import run  # noqa: E402
import session  # noqa: E402


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Records the training commands and leaves a checkpoint as fairseq-train would."""
    recorded = []

    def train(command, log):
        recorded.append(command)
        model = Path(command[command.index("--save-dir") + 1])
        for name in ("last", "best"):
            (model / f"checkpoint_{name}.pt").write_text(name)

    monkeypatch.setattr(commands, "train", train)
    return recorded


def test_training_is_skipped_when_finished_and_resumed_for_more(training, tmp_path):
    def model(*argv):
        return session.train(run.parse([*argv]), tmp_path, {"train.bin": "0"}, run.TRAIN, [])

    first = model("--minutes", "2")
    assert model("--minutes", "2") == first and len(training) == 1
    assert model("--minutes", "3") == first and len(training) == 2
    assert model("--seed", "2") != first and model("--", "--lr", "1") != first
    (first / "checkpoint_best.pt").unlink()
    assert model("--minutes", "3") == first and len(training) == 5


def test_fresh_removes_the_model(training, tmp_path):
    model = session.train(run.parse([]), tmp_path, {}, [], [])
    (model / "old").write_text("")
    assert session.train(run.parse(["--fresh"]), tmp_path, {}, [], []) == model
    assert not (model / "old").exists() and len(training) == 2


def test_arguments_after_two_dashes_come_after_the_defaults(training, tmp_path):
    options = run.parse(["--arch", "transformer", "--", "--lr", "5e-4", "--encoder-layers", "2"])
    session.train(options, tmp_path, {}, run.TRAIN, ["--source-lang", "en"])
    command = training[0]
    assert command[command.index("--arch") + 1] == "transformer"
    assert len(command) - command[::-1].index("--lr") == command.index("5e-4")


@pytest.mark.parametrize(
    "argv", [["--minutes", "0"], ["--max-update", "-1"], ["--minutes", "nan"], ["--speed"]]
)
def test_nonsense_options_exit_with_usage(argv, capsys):
    with pytest.raises(SystemExit) as exit_:
        run.parse(argv)
    assert exit_.value.code == 2 and "usage:" in capsys.readouterr().err


def test_one_quickstart_at_a_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(session, "WORK", tmp_path)
    ran = []

    def quickstart(options):
        ran.append(options)
        if len(ran) == 1:
            assert session.main(quickstart, None) == 1

    assert session.main(quickstart, None) == 0
    assert len(ran) == 1
    assert "another quickstart is running" in capsys.readouterr().err


@given(st.text(st.characters(exclude_characters="\u2581\n", exclude_categories=("Cs",))))
def test_characters_come_back(line):
    assert lm.to_text(lm.to_pieces(line)) == line


def test_topics_are_split_whole_and_lose_no_character(tmp_path):
    topics = {f"topic {i}": f"\nText of topic {i}.\n\n   Indented, and _ underlined\n" for i in range(300)}
    lm.write_text(topics, tmp_path)
    texts = {split: (tmp_path / f"{split}.txt").read_text() for split in ("train", *lm.SPLITS)}
    for i in range(300):
        assert sum(f"Text of topic {i}.\n" in text for text in texts.values()) == 1
    for split, text in texts.items():
        pieces = (tmp_path / split).read_text().splitlines()
        assert "".join(f"{lm.to_text(line)}\n" for line in pieces) == text
        assert len(text) > 300


LOG = "2026-11-24 15:06 | INFO | train_inner | epoch 001:     50 / 94 loss=5.26, ppl=39.8, num_updates=50\n"
SIZES = {f"encoder_{name}_dim": 8 for name in ("embed", "hidden", "ffn_embed", "z", "n")}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """The directory of a model with a log and a checkpoint."""
    monkeypatch.chdir(session.ROOT)
    model = build_nmt({**SIZES, "encoder_layers": 1})
    best = {"model": model.state_dict(), "args": None, "cfg": {"model": {"truncation_length": 0}}}
    best |= {"optimizer_history": [{"optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]}
    torch.save({**best, "extra_state": {"train_iterator": {}}}, tmp_path / "checkpoint_best.pt")
    (tmp_path / "train.log").write_text(LOG)
    return tmp_path


@pytest.mark.parametrize(
    ("arch", "pictures"), [("mega_nmt_tiny", ["ema", "training"]), ("transformer", ["training"])]
)
def test_pictures_lie_beside_the_model(finished, capsys, arch, pictures):
    session.draw(finished, arch)
    files = sorted(finished.glob("*.png"))
    assert [file.stem for file in files] == pictures
    said = capsys.readouterr().out
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG\r\n")
        assert f"picture: {file}\n" in said


def test_picture_that_fails_is_said_and_hides_no_other(finished, capsys):
    (finished / "train.log").unlink()
    (finished / "training.png").write_text("old")
    session.draw(finished, "mega_nmt_tiny")
    assert [file.name for file in finished.glob("*.png")] == ["ema.png"]
    said = capsys.readouterr().out
    assert "no picture: scripts/plot_training.py failed with status 1" in said and "train.log" in said

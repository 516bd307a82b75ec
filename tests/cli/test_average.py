"""mega-average: the right ones of a folder, a checkpoint that translates, clear refusals."""

import os
import re
import subprocess
import sys

import pytest
import torch
from checkpoint_files import load, save
from forked import ROOT, Commands

from mega_fairseq.checkpoints import files
from mega_fairseq.commands.average import main
from mega_fairseq.evaluation.generated import read_generated

WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]
TEXT = [" ".join(WORDS[(i * k) % 12] for k in range(1, 2 + i % 6)) for i in range(30)]
SIZES = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SIZES += ["--encoder-z-dim", "8", "--encoder-n-dim", "2", "--encoder-layers", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("io"))
    yield commands.run
    commands.close()


def average(inputs, output, *options):
    assert main(["--inputs", *map(str, inputs), "--output", str(output), *options]) == 0
    return load(output)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of value 2 ** i by name, so that a mean tells which ones were taken."""
    names = ["checkpoint9.pt", "checkpoint10.pt", "checkpoint11.pt", "checkpoint_1_900.pt"]
    names += ["checkpoint_2_1000.pt", "checkpoint_2_1100.pt", "checkpoint.best_loss_4.51.pt"]
    names += ["checkpoint.best_loss_4.4.pt", "checkpoint.best_loss_10.2.pt", "checkpoint_best.pt"]
    (tmp_path / "save").mkdir()
    for i, name in enumerate(names):
        save(tmp_path / "save" / name, {"w": torch.tensor(2.0**i)}, which=name)
    return tmp_path / "save"


@pytest.mark.parametrize(
    ("options", "taken", "last"),
    [
        ("--num-epoch-checkpoints 2", [1, 2], "checkpoint11.pt"),
        ("--num-epoch-checkpoints 2 --checkpoint-upper-bound 10", [0, 1], "checkpoint10.pt"),
        ("--num-update-checkpoints 2", [4, 5], "checkpoint_2_1100.pt"),
        ("--num-update-checkpoints 2 --checkpoint-upper-bound 1000", [3, 4], "checkpoint_2_1000.pt"),
        ("--num-best-checkpoints 2", [6, 7], "checkpoint.best_loss_4.4.pt"),
    ],
)
def test_the_newest_or_best_of_a_folder(folder, options, taken, last):
    found = average([folder], folder.parent / "out.pt", *options.split())
    assert found["model"]["w"].item() == sum(2.0**i for i in taken) / len(taken)
    assert found["which"] == last and found["last_optimizer_state"] is None


def test_the_best_is_the_highest_where_the_training_said_so(folder):
    files = sorted(folder.glob("checkpoint.best_*"))
    for file in files:
        save(file, load(file)["model"], maximize=True)
    found = average(files, folder.parent / "out.pt", "--num-best-checkpoints", "2")
    assert found["model"]["w"].item() == (2.0**6 + 2.0**8) / 2  # 4.51 and 10.2


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """data-bin, and two folders with a checkpoint for each of three updates."""
    folder = tmp_path_factory.mktemp("nmt")
    for name in ("train.en", "train.de", "valid.en", "valid.de", "test.en", "test.de"):
        (folder / name).write_text("".join(f"{line}\n" for line in TEXT))
    prefixes = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    done = run(
        "preprocess", "-s", "en", "-t", "de", *prefixes, "--joined-dictionary", "--destdir", folder / "bin"
    )
    assert done.status == 0, done.err
    for seed in ("1", "2"):
        common = ["--user-dir", "mega_fairseq", "--arch", "mega_nmt_tiny", *SIZES, "--share-all-embeddings"]
        limits = ["--max-tokens", "30", "--max-update", "3", "--save-interval-updates", "1", "--seed", seed]
        quiet = ["--optimizer", "adam", "--lr", "0.01", "--num-workers", "0", "--disable-validation"]
        done = run("train", folder / "bin", *common, *limits, *quiet, "--save-dir", folder / seed)
        assert done.status == 0, done.err
    return folder


def test_an_average_of_trainings_translates(run, trained, tmp_path):
    inputs = [*(trained / "1").glob("checkpoint_1_[123].pt"), trained / "2" / "checkpoint_1_3.pt"]
    assert len(inputs) == 4
    found, models = average(inputs, tmp_path / "out.pt"), [load(path)["model"] for path in inputs]
    for name, tensor in found["model"].items():
        torch.testing.assert_close(tensor, sum(model[name] for model in models) / 4, rtol=1e-6, atol=1e-7)
    tied = [
        name for name in found["model"] if name.endswith(("embed_tokens.weight", "output_projection.weight"))
    ]
    assert len(tied) == 3 and len({found["model"][name].data_ptr() for name in tied}) == 1
    assert (tmp_path / "out.pt").stat().st_size < 0.6 * inputs[0].stat().st_size  # no optimizer
    options = ["--user-dir", "mega_fairseq", "--max-len-b", "5", "--beam", "2"]
    done = run("generate", trained / "bin", "--path", tmp_path / "out.pt", *options)
    assert done.status == 0, done.err
    (tmp_path / "generate.txt").write_text(done.out)
    assert len(read_generated(tmp_path / "generate.txt", 30).hypotheses) == 30
    other = run("generate", trained / "bin", "--path", inputs[0], *options)
    assert re.findall("^H.*", done.out, re.M) != re.findall("^H.*", other.out, re.M)


def test_from_a_shell(trained, tmp_path):
    output = tmp_path / "out.pt"
    options = ["--inputs", trained / "1", "--num-update-checkpoints", "2", "--output", output]
    command = [sys.executable, ROOT / "scripts" / "average_checkpoints.py", *map(str, options)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{output}: average of 2 checkpoints, ")
    assert load(output)["optimizer_history"][-1]["num_updates"] == 3
    done = subprocess.run([*command, "--checkpoint-upper-bound", "1"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-was-run",)


def hostile(folder):
    save(folder / "b.pt", {"w": torch.ones(2)}, payload=Hostile())


def shortened(folder):
    content = (folder / "b.pt").read_bytes()
    (folder / "b.pt").write_bytes(content[: len(content) // 2])


def other_names(folder):
    save(folder / "b.pt", {"w": torch.ones(2), "extra.weight": torch.ones(1)})


BAD = {
    "absent": ("--inputs a.pt no.pt", None, ["there is no no.pt", "--inputs"]),
    "folder": ("--inputs a.pt save", None, ["--inputs save is a folder", "--num-update-checkpoints N"]),
    "no checkpoints": (
        "--inputs save --num-epoch-checkpoints 2",
        None,
        ["--num-epoch-checkpoints 2 finds 1", "checkpoint3.pt", "in save (checkpoint1.pt)", "ask for fewer"],
    ),
    "none": ("--inputs save --num-update-checkpoints 1", None, ["finds 0", "in save (none)", "--inputs"]),
    "bound": (
        "--inputs save --num-epoch-checkpoints 1 --checkpoint-upper-bound 0",
        None,
        ["finds 0 files", "up to 0", "ask for fewer"],
    ),
    "bound alone": ("--inputs a.pt --checkpoint-upper-bound 5", None, ["-bound 5 needs --num-epoch-"]),
    "two metrics": (
        "--inputs a.pt save --num-best-checkpoints 1",
        lambda f: [save(f / "save" / f"checkpoint.best_{m}_1.pt", {}) for m in ("bleu", "loss")],
        ["by several metrics, bleu and loss", "in a.pt, save", "--inputs"],
    ),
    "other names": ("", other_names, ["b.pt", "another model than a.pt", "extra.weight is in b.pt only"]),
    "fewer names": (
        "",
        lambda f: save(f / "b.pt", {"v": torch.ones(2)}),
        ["b.pt", "w is in a.pt only", "average checkpoints of one training"],
    ),
    "shapes": (
        "",
        lambda f: save(f / "b.pt", {"w": torch.ones(2, 3)}),
        ["b.pt", "a.pt", "w is (2, 3) and was (2,)", "of one training"],
    ),
    "integers": (
        "",
        lambda f: save(f / "b.pt", {"w": torch.tensor([1, 2])}),
        ["b.pt", "w is (2,) integer and was (2,);"],
    ),
    "hostile": ("", hostile, ["refused to load b.pt", "posix.system", "Use a checkpoint that fairseq wrote"]),
    "truncated": ("", shortened, ["cannot read b.pt", "truncated", "Use another checkpoint"]),
    "empty": ("", lambda f: (f / "b.pt").write_bytes(b""), ["cannot read b.pt", "empty"]),
    "text": ("", lambda f: (f / "b.pt").write_text("hello\n"), ["cannot read b.pt"]),
    "a list": ("", lambda f: torch.save([1], f / "b.pt"), ["cannot read b.pt", "another"]),
    "no history": (
        "",
        lambda f: save(f / "b.pt", {"w": torch.ones(2)}, optimizer_history=[]),
        ["cannot read b.pt as a fairseq checkpoint", "another"],
    ),
    "no model": ("", lambda f: save(f / "b.pt", None), ["b.pt holds no tensors of a model", "fairseq wrote"]),
    "no tensors": ("", lambda f: save(f / "b.pt", {"w": "x"}), ["b.pt holds no tensors", "fairseq wrote"]),
    "an input": ("--inputs a.pt b.pt --output save/../b.pt", None, ["save/../b.pt is one of the inputs"]),
    "output folder": ("--inputs a.pt --output save", None, ["--output save is a folder", "save/average.pt"]),
    "no folder": (
        "--inputs a.pt --output no/out.pt",
        None,
        ["--output no/out.pt", "no folder no", "make it"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(tmp_path, monkeypatch, capsys, name):
    options, damage, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "save").mkdir()
    for path in ("a.pt", "b.pt", "save/checkpoint1.pt"):
        save(tmp_path / path, {"w": torch.ones(2)})
    if damage:
        damage(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    given = (options or "--inputs a.pt b.pt").split()
    assert main([*given, *([] if "--output" in given else ["--output", "out.pt"])]) == 1
    message = capsys.readouterr().err
    assert message.startswith("mega-average: ") and message.count("\n") == 1
    assert [word for word in words if word not in message] == [], message
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_output_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch, capsys):
    def fail(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("no space left")

    source = save(tmp_path / "a.pt", {"w": torch.ones(2)})
    (tmp_path / "out.pt").write_bytes(b"before")
    monkeypatch.setattr(files.torch, "save", fail)
    assert main(["--inputs", str(source), "--output", str(tmp_path / "out.pt")]) == 1
    assert f"--output {tmp_path / 'out.pt'}: no space left" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "out.pt"]
    assert (tmp_path / "out.pt").read_bytes() == b"before"


@pytest.mark.parametrize(
    "options", ["--num-epoch-checkpoints 0", "--num-best-checkpoints 1 --num-epoch-checkpoints 1"]
)
def test_nonsense_is_refused_with_the_usage(capsys, options):
    with pytest.raises(SystemExit) as stopped:
        main(["--inputs", "a", "--output", "b", *options.split()])
    assert stopped.value.code == 2 and "--num-epoch-checkpoints" in capsys.readouterr().err

"""The pictures hold what logs and checkpoints of real trainings hold; bad input is told in one sentence."""

import math
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from forked import Commands
from trainings import check_png, make_trainings, saved, texts

from mega_fairseq.commands import plot
from mega_fairseq.evaluation.pictures import training

ROOT = Path(__file__).resolve().parents[2]
SOURCE, TARGET = "red dog", "big house"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("io"))
    yield commands.run
    commands.close()


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots")
    make_trainings(run, folder)
    return folder


@pytest.fixture
def model(trained):
    return trained / "a" / "checkpoint_last.pt"


def test_curves_and_their_labels(trained, tmp_path):
    logs = [str(trained / f"{name}.log") for name in ("second", "simple")]
    given = [*logs, "--names", "run A", "$run_B$", "--out", str(tmp_path / "curves")]
    assert plot.main(["training", *given]) == 0
    check_png(tmp_path / "curves.png", 700, 350)
    wanted = {"loss (bits per token)", "perplexity", "validation BLEU", "learning rate", "gradient norm"}
    wanted |= {"speed (tokens per second)", "updates", "training", "validation", "run A", "$run_B$"}
    assert wanted <= texts(tmp_path / "curves.svg")
    runs = training.named([Path(log) for log in logs], None)
    panels = {axes.get_title(): axes for axes in training.draw(runs).axes}
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in panels["perplexity"].lines]
    expected = [log[subset]["ppl"] for log in runs.values() for subset in ("train", "valid")]
    assert drawn == [(list(values), list(values.values())) for values in expected]


def test_equal_input_makes_equal_files_and_leaves_no_settings(trained, tmp_path):
    before = dict(matplotlib.rcParams)
    log = str(trained / "first.log")
    for name in ("a", "b"):
        assert plot.main(["training", log, "--out", str(tmp_path / name)]) == 0
    assert dict(matplotlib.rcParams) == before
    arguments = ["training", log, "--out", str(tmp_path / "c")]
    code = f"import sys; from mega_fairseq.commands import plot; plot.main({arguments}); "
    code += "sys.exit('matplotlib.pyplot' in sys.modules)"
    command, environment = [sys.executable, "-c", code], {"MPLBACKEND": "svg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for suffix in ("png", "svg"):
        assert len({(tmp_path / f"{name}.{suffix}").read_bytes() for name in "abc"}) == 1


def test_the_suffix_chooses_the_format(trained, tmp_path, capsys):
    assert plot.main(["training", str(trained / "first.log"), "--out", str(tmp_path / "only.svg")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'only.svg'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["only.svg"]


def test_wrapped_layers_give_the_same_picture(model, tmp_path):
    def wrap(name):
        return "module." + name.replace(".attention.", "._checkpoint_wrapped_module.attention.")

    wrapped = saved(model, tmp_path / "wrapped.pt", rename=wrap)
    for name, path in (("a", model), ("b", wrapped)):
        assert plot.main(["ema", str(path), "--out", str(tmp_path / name)]) == 0
    check_png(tmp_path / "a.png", 700, 250)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    wanted = {"encoder: time scales", "decoder: impulse responses", "memory -1/ln q (tokens)", "k / max |k|"}
    wanted |= {"layer 2", "left to right", "right to left", "long memory (90 %)"}
    assert wanted <= texts(tmp_path / "a.svg")


def draw_attention(trained, model, out, *options):
    where = [str(trained / "bin"), "--path", str(model), "--source", SOURCE, "--out", str(out)]
    return plot.main(["attention", *where, *options])


@pytest.mark.parametrize("layer", ["mean", "all"])
def test_tokens_stand_on_both_axes(trained, model, tmp_path, layer):
    assert draw_attention(trained, model, tmp_path / "a", "--target", TARGET, "--layer", layer) == 0
    check_png(tmp_path / "a.png", 250, 200)
    title = {"mean": "mean of 2 decoder layers", "all": "decoder layer 2"}[layer]
    wanted = {"red", "dog", "big", "house", "</s>", "source token", "target token", "attention weight", title}
    assert wanted <= texts(tmp_path / "a.svg")


FOUR = "bin --path four.pt --source a"
BAD = {
    "no log": ("training", "none.log", ["none.log", "No such file", "fairseq-train"]),
    "log without statistics": ("training", "valid.en", ["valid.en", "no statistics", "--log-format"]),
    "log that is no text": ("training", "four.pt", ["four.pt", "not text", "log of fairseq-train"]),
    "too many names": ("training", "first.log --names a b", ["--names", "2 names for 1", "one for each"]),
    "names twice": (
        "training",
        "first.log third.log --names a a",
        ["called a;", "its own name", "--names"],
    ),
    "format": ("training", "first.log --out x.jpg", ["--out x.jpg", ".jpg", ".png, .svg"]),
    "no folder": ("training", "first.log --out no/x.png", ["--out no/x.png", "folder no", "make it"]),
    "no checkpoint": ("ema", "none.pt", ["none.pt", "no checkpoint", "--save-dir"]),
    "cut checkpoint": ("ema", "cut.pt", ["cut.pt", "truncated", "another checkpoint"]),
    "no EMA": ("ema", "transformer/checkpoint_last.pt", ["without EMA", "mega_nmt or mega_lm"]),
    "diverged": ("ema", "nan.pt", ["nan.pt", "encoder layer 1", "not finite", "earlier checkpoint"]),
    "no such layer": ("ema", "four.pt --layers 1 3", ["--layers 3", "has 2", "1 to 2"]),
    "layer": ("attention", f"{FOUR} --layer 3", ["--layer 3", "1 to 2, mean or all"]),
    "no path": ("attention", "bin --source a", ["--path", "give one"]),
    "two models": ("attention", f"{FOUR} --path four.pt:four.pt", ["--path", "2 checkpoints"]),
    "no sentence": ("attention", f"{FOUR} --source= ", ["--source", "empty"]),
    "no codes": ("attention", f"{FOUR} --bpe subword_nmt", ["--bpe-codes", "missing"]),
    "no data": ("attention", "none --path four.pt --source a", ["none", "fairseq-preprocess"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_sentence(trained, monkeypatch, capsys, case):
    picture, arguments, words = BAD[case]
    monkeypatch.chdir(trained)
    if case == "cut checkpoint":
        Path("cut.pt").write_bytes(Path("four.pt").read_bytes()[:3000])
    if case == "diverged":
        saved("four.pt", "nan.pt", change=lambda tensor: tensor * math.nan)
    assert plot.main([picture, "--out", "bad.png", *arguments.split()]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"mega-plot {picture}: ")
    assert [word for word in words if word not in last] == [], last
    assert not Path("bad.png").exists()


def test_the_package_needs_no_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import mega_fairseq, mega_fairseq.commands.plot"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_attention_of_a_stock_transformer(trained, tmp_path):
    path = trained / "transformer" / "checkpoint_last.pt"
    assert draw_attention(trained, path, tmp_path / "a.svg", "--layer", "6") == 0
    assert {"decoder layer 6", "red"} <= texts(tmp_path / "a.svg")

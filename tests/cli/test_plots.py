"""The pictures hold what logs and checkpoints of real trainings hold; bad input is told in one sentence."""

import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from forked import Commands
from trainings import check_png, make_trainings, numbers, parameters_of, saved, texts

import mega_fairseq  # noqa: F401  (allows what a checkpoint holds)
from mega_fairseq.models import MegaNMT

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import plot_attention  # noqa: E402
import plot_ema  # noqa: E402
import plot_training  # noqa: E402

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


@pytest.fixture
def hub(trained, model):
    return MegaNMT.from_pretrained(str(model.parent), model.name, str(trained / "bin"))


def test_values_are_the_logs(trained):
    log = plot_training.read_log(trained / "first.log")
    for statistic in ("loss", "ppl", "lr", "gnorm", "wps"):
        assert log["train"][statistic] == numbers(trained / "first.log", "train_inner", statistic)
    for statistic in ("loss", "ppl", "bleu"):
        assert log["valid"][statistic] == numbers(trained / "first.log", "valid", statistic)
    assert list(log["train"]["loss"]) == [1, 2, 3, 4]
    assert list(log["valid"]["bleu"])[-2:] == [2, 4]
    for update, perplexity in log["train"]["ppl"].items():  # so the losses are to base 2
        assert perplexity == pytest.approx(2 ** log["train"]["loss"][update], rel=2e-3)


def test_simple_format_says_the_same(trained):
    first, simple = (plot_training.read_log(trained / f"{name}.log") for name in ("first", "simple"))
    for subset in ("train", "valid"):
        for statistic in {"loss", "ppl", "bleu", "lr", "gnorm", "num_updates"} & set(first[subset]):
            assert simple[subset][statistic] == first[subset][statistic]


def test_resumed_training_replaces_what_it_repeats(trained, tmp_path):
    first, second, third = ((trained / f"{name}.log").read_text() for name in ("first", "second", "third"))
    log = tmp_path / "all.log"
    log.write_text(first + second)
    assert list(plot_training.read_log(log)["train"]["loss"]) == list(range(1, 9))
    kept = numbers(trained / "first.log", "train_inner", "wps")
    repeated = numbers(trained / "second.log", "train_inner", "wps")
    again = numbers(trained / "third.log", "train_inner", "wps")
    assert (list(repeated), list(again)) == ([5, 6, 7, 8], [6])
    for last, between in ((third, {}), (third.replace("Loaded checkpoint", ""), {5: repeated[5]})):
        log.write_text(first + second + last)
        found = plot_training.read_log(log)
        assert found["train"]["wps"] == {**kept, **between, **again}
        assert max(found["valid"]["loss"]) == 6


@pytest.mark.parametrize("name", ["first", "simple"])
def test_line_that_was_cut_off_is_left_out(trained, tmp_path, name):
    text = (trained / f"{name}.log").read_text()
    line = re.findall(r".*\| train_inner \| .*\n", text)[-1]
    whole, cut = tmp_path / "whole.log", tmp_path / "cut.log"
    before = text[: text.index(line)]
    whole.write_text(before)
    for length in range(len(line) - 90, len(line), 7):
        cut.write_text(before + line[:length])
        assert plot_training.read_log(cut) == plot_training.read_log(whole)
    cut.write_text(before + line)
    assert 4 in plot_training.read_log(cut)["train"]["loss"]


def test_curves_and_their_labels(trained, tmp_path):
    logs = [str(trained / f"{name}.log") for name in ("second", "simple")]
    assert plot_training.main([*logs, "--names", "run A", "$run_B$", "--out", str(tmp_path / "curves")]) == 0
    check_png(tmp_path / "curves.png", 700, 350)
    wanted = {"loss (bits per token)", "perplexity", "validation BLEU", "learning rate", "gradient norm"}
    wanted |= {"speed (tokens per second)", "updates", "training", "validation", "run A", "$run_B$"}
    assert wanted <= texts(tmp_path / "curves.svg")
    runs = plot_training.named([Path(log) for log in logs], None)
    panels = {axes.get_title(): axes for axes in plot_training.draw(runs).axes}
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in panels["perplexity"].lines]
    expected = [log[subset]["ppl"] for log in runs.values() for subset in ("train", "valid")]
    assert drawn == [(list(values), list(values.values())) for values in expected]


def test_equal_input_makes_equal_files_and_leaves_no_settings(trained, tmp_path):
    before = dict(matplotlib.rcParams)
    log = str(trained / "first.log")
    for name in ("a", "b"):
        assert plot_training.main([log, "--out", str(tmp_path / name)]) == 0
    assert dict(matplotlib.rcParams) == before
    code = f"import sys; sys.path.insert(0, 'scripts'); import plot_training; plot_training.main({[log]} + "
    code += f"['--out', {str(tmp_path / 'c')!r}]); sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"MPLBACKEND": "svg"})
    for suffix in ("png", "svg"):
        assert len({(tmp_path / f"{name}.{suffix}").read_bytes() for name in "abc"}) == 1


def test_the_suffix_chooses_the_format(trained, tmp_path, capsys):
    assert plot_training.main([str(trained / "first.log"), "--out", str(tmp_path / "only.svg")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'only.svg'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["only.svg"]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def decays(parameters):
    """a and q (D, N), number by number."""
    alpha, delta = (parameters[name].tolist() for name in ("alpha", "delta"))
    a = [[sigmoid(x) for x in row] for row in alpha]
    rows = zip(a, delta, strict=True)
    return a, [[1 - g * sigmoid(x) for g, x in zip(gates, row, strict=True)] for gates, row in rows]


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_time_scales_and_responses_are_the_equations(model, stack):
    average = plot_ema.read_averages(model)[stack][2]
    parameters = parameters_of(model, stack, 2)
    a, q = decays(parameters)
    expected = np.array([[-1 / math.log(x) for x in row] for row in q])
    np.testing.assert_allclose(np.concatenate(plot_ema.time_scales(average)), expected, rtol=1e-4)
    beta, eta = (parameters[name].tolist() for name in ("beta", "eta"))
    k = np.array(
        [
            [sum(eta[d][n] * a[d][n] * beta[d][n] * q[d][n] ** t for n in (0, 1)) / 2**0.5 for t in range(5)]
            for d in range(len(a))
        ]
    )
    wanted = np.zeros((16, 9))
    wanted[:, 4::-1] = k[:16]
    if stack == "encoder":
        wanted[:, 4:] += k[16:]
    offsets, found = plot_ema.responses(average, 5)
    assert list(offsets) == (list(range(-4, 5)) if stack == "encoder" else list(range(-4, 1)))
    np.testing.assert_allclose(found, wanted[:, : len(offsets)], atol=1e-5)


def test_truncation_cuts_the_response(model, tmp_path):
    cut = plot_ema.read_averages(saved(model, tmp_path / "cut.pt", truncation=3))["decoder"][1]
    whole = plot_ema.read_averages(model)["decoder"][1]
    (_, expected), (_, found) = (plot_ema.responses(average, 6) for average in (whole, cut))
    expected[:, :3] = 0.0
    np.testing.assert_array_equal(found, expected)


def test_wrapped_layers_give_the_same_picture(model, tmp_path):
    def wrap(name):
        return "module." + name.replace(".attention.", "._checkpoint_wrapped_module.attention.")

    wrapped = saved(model, tmp_path / "wrapped.pt", rename=wrap)
    for name, path in (("a", model), ("b", wrapped)):
        assert plot_ema.main([str(path), "--out", str(tmp_path / name)]) == 0
    check_png(tmp_path / "a.png", 700, 250)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    wanted = {"encoder: time scales", "decoder: impulse responses", "memory -1/ln q (tokens)", "k / max |k|"}
    wanted |= {"layer 2", "left to right", "right to left", "long memory (90 %)"}
    assert wanted <= texts(tmp_path / "a.svg")


def test_channels_are_ordered_by_how_far_they_look():
    offsets = np.array([-2, -1, 0, 1, 2])
    kernel = np.array([[-3.0, 0, 0, 0, 3], [0, 0, 5, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, 0, 0]])
    assert list(plot_ema.by_memory(offsets, kernel)) == [1, 3, 2, 0]


def test_weights_are_those_of_every_layer(hub):
    source, target = plot_attention.tokens(hub, SOURCE, TARGET)
    seen = []
    for layer in hub.models[0].decoder.stack.layers:
        layer.cross_attention.register_forward_hook(lambda module, given, out: seen.append(out[1][0]))
    scored = hub.score([SOURCE], [TARGET])[0]["attention"]
    assert len(seen) == 2
    weights = plot_attention.attention(hub, source, target)
    torch.testing.assert_close(weights, torch.stack(seen[:2]))
    torch.testing.assert_close(weights[1], scored)
    assert not torch.allclose(weights[0], weights[1], atol=1e-4)
    for layer, expected in (("1", weights[0]), ("2", weights[1]), ("mean", (weights[0] + weights[1]) / 2)):
        torch.testing.assert_close(*plot_attention.chosen(weights, layer).values(), expected)
    assert len(plot_attention.chosen(weights, "all")) == 2


def test_the_models_own_translation_is_drawn(hub):
    source, target = plot_attention.tokens(hub, SOURCE, None)
    assert hub.decode(target) == hub.translate([SOURCE])[0]
    assert plot_attention.labels(hub.src_dict, source) == ["red", "dog", "</s>"]


def draw_attention(trained, model, out, *options):
    where = [str(trained / "bin"), "--path", str(model), "--source", SOURCE, "--out", str(out)]
    return plot_attention.main([*where, *options])


@pytest.mark.parametrize("layer", ["mean", "all"])
def test_tokens_stand_on_both_axes(trained, model, tmp_path, layer):
    assert draw_attention(trained, model, tmp_path / "a", "--target", TARGET, "--layer", layer) == 0
    check_png(tmp_path / "a.png", 250, 200)
    title = {"mean": "mean of 2 decoder layers", "all": "decoder layer 2"}[layer]
    wanted = {"red", "dog", "big", "house", "</s>", "source token", "target token", "attention weight", title}
    assert wanted <= texts(tmp_path / "a.svg")


FOUR = "bin --path four.pt --source a"
BAD = {
    "no log": (plot_training, "none.log", ["none.log", "No such file", "fairseq-train"]),
    "log without statistics": (plot_training, "valid.en", ["valid.en", "no statistics", "--log-format"]),
    "log that is no text": (plot_training, "four.pt", ["four.pt", "not text", "log of fairseq-train"]),
    "too many names": (plot_training, "first.log --names a b", ["--names", "2 names for 1", "one for each"]),
    "names twice": (
        plot_training,
        "first.log third.log --names a a",
        ["called a;", "its own name", "--names"],
    ),
    "format": (plot_training, "first.log --out x.jpg", ["--out x.jpg", ".jpg", ".png, .svg"]),
    "no folder": (plot_training, "first.log --out no/x.png", ["--out no/x.png", "folder no", "make it"]),
    "no checkpoint": (plot_ema, "none.pt", ["none.pt", "no checkpoint", "--save-dir"]),
    "cut checkpoint": (plot_ema, "cut.pt", ["cut.pt", "truncated", "another checkpoint"]),
    "no EMA": (plot_ema, "transformer/checkpoint_last.pt", ["without EMA", "mega_nmt or mega_lm"]),
    "diverged": (plot_ema, "nan.pt", ["nan.pt", "encoder layer 1", "not finite", "earlier checkpoint"]),
    "no such layer": (plot_ema, "four.pt --layers 1 3", ["--layers 3", "has 2", "1 to 2"]),
    "layer": (plot_attention, f"{FOUR} --layer 3", ["--layer 3", "1 to 2, mean or all"]),
    "no path": (plot_attention, "bin --source a", ["--path", "give one"]),
    "two models": (plot_attention, f"{FOUR} --path four.pt:four.pt", ["--path", "2 checkpoints"]),
    "no sentence": (plot_attention, f"{FOUR} --source= ", ["--source", "empty"]),
    "no codes": (plot_attention, f"{FOUR} --bpe subword_nmt", ["--bpe-codes", "missing"]),
    "no data": (plot_attention, "none --path four.pt --source a", ["none", "fairseq-preprocess"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_sentence(trained, monkeypatch, capsys, case):
    tool, arguments, words = BAD[case]
    monkeypatch.chdir(trained)
    if case == "cut checkpoint":
        Path("cut.pt").write_bytes(Path("four.pt").read_bytes()[:3000])
    if case == "diverged":
        saved("four.pt", "nan.pt", change=lambda tensor: tensor * math.nan)
    assert tool.main(["--out", "bad.png", *arguments.split()]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"{tool.__name__}.py: ")
    assert [word for word in words if word not in last] == [], last
    assert not Path("bad.png").exists()


def test_the_package_needs_no_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; import mega_fairseq"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_attention_of_a_stock_transformer(trained, tmp_path):
    path = trained / "transformer" / "checkpoint_last.pt"
    assert draw_attention(trained, path, tmp_path / "a.svg", "--layer", "6") == 0
    assert {"decoder layer 6", "red"} <= texts(tmp_path / "a.svg")

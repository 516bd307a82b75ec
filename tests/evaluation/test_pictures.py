"""What pictures show is what logs and checkpoints of real trainings hold."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from forked import Commands
from trainings import make_trainings, numbers, parameters_of, saved

from mega_fairseq.evaluation.pictures import attention, ema, training
from mega_fairseq.models import MegaNMT

SOURCE, TARGET = "red dog", "big house"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "io").mkdir()
    commands = Commands(folder / "io")
    make_trainings(commands.run, folder)
    commands.close()
    return folder


@pytest.fixture
def model(trained):
    return trained / "a" / "checkpoint_last.pt"


@pytest.fixture
def hub(trained, model):
    return MegaNMT.from_pretrained(str(model.parent), model.name, str(trained / "bin"))


def test_values_are_the_logs(trained):
    log = training.read_log(trained / "first.log")
    for statistic in ("loss", "ppl", "lr", "gnorm", "wps"):
        assert log["train"][statistic] == numbers(trained / "first.log", "train_inner", statistic)
    for statistic in ("loss", "ppl", "bleu"):
        assert log["valid"][statistic] == numbers(trained / "first.log", "valid", statistic)
    assert list(log["train"]["loss"]) == [1, 2, 3, 4]
    assert list(log["valid"]["bleu"])[-2:] == [2, 4]
    for update, perplexity in log["train"]["ppl"].items():  # so the losses are to base 2
        assert perplexity == pytest.approx(2 ** log["train"]["loss"][update], rel=2e-3)


def test_simple_format_says_the_same(trained):
    first, simple = (training.read_log(trained / f"{name}.log") for name in ("first", "simple"))
    for subset in ("train", "valid"):
        for statistic in {"loss", "ppl", "bleu", "lr", "gnorm", "num_updates"} & set(first[subset]):
            assert simple[subset][statistic] == first[subset][statistic]


def test_resumed_training_replaces_what_it_repeats(trained, tmp_path):
    first, second, third = ((trained / f"{name}.log").read_text() for name in ("first", "second", "third"))
    log = tmp_path / "all.log"
    log.write_text(first + second)
    assert list(training.read_log(log)["train"]["loss"]) == list(range(1, 9))
    kept = numbers(trained / "first.log", "train_inner", "wps")
    repeated = numbers(trained / "second.log", "train_inner", "wps")
    again = numbers(trained / "third.log", "train_inner", "wps")
    assert (list(repeated), list(again)) == ([5, 6, 7, 8], [6])
    for last, between in ((third, {}), (third.replace("Loaded checkpoint", ""), {5: repeated[5]})):
        log.write_text(first + second + last)
        found = training.read_log(log)
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
        assert training.read_log(cut) == training.read_log(whole)
    cut.write_text(before + line)
    assert 4 in training.read_log(cut)["train"]["loss"]


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
    average = ema.read_averages(model)[stack][2]
    parameters = parameters_of(model, stack, 2)
    a, q = decays(parameters)
    expected = np.array([[-1 / math.log(x) for x in row] for row in q])
    np.testing.assert_allclose(np.concatenate(ema.time_scales(average)), expected, rtol=1e-4)
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
    offsets, found = ema.responses(average, 5)
    assert list(offsets) == (list(range(-4, 5)) if stack == "encoder" else list(range(-4, 1)))
    np.testing.assert_allclose(found, wanted[:, : len(offsets)], atol=1e-5)


def test_truncation_cuts_the_response(model, tmp_path):
    cut = ema.read_averages(saved(model, tmp_path / "cut.pt", truncation=3))["decoder"][1]
    whole = ema.read_averages(model)["decoder"][1]
    (_, expected), (_, found) = (ema.responses(average, 6) for average in (whole, cut))
    expected[:, :3] = 0.0
    np.testing.assert_array_equal(found, expected)


def test_channels_are_ordered_by_how_far_they_look():
    offsets = np.array([-2, -1, 0, 1, 2])
    kernel = np.array([[-3.0, 0, 0, 0, 3], [0, 0, 5, 0, 0], [0, 0, -1, 1, 0], [0, 0, 0, 0, 0]])
    assert list(ema.by_memory(offsets, kernel)) == [1, 3, 2, 0]


def test_weights_are_those_of_every_layer(hub):
    source, target = attention.tokens(hub, SOURCE, TARGET)
    seen = []
    for layer in hub.models[0].decoder.stack.layers:
        layer.cross_attention.register_forward_hook(lambda module, given, out: seen.append(out[1][0]))
    scored = hub.score([SOURCE], [TARGET])[0]["attention"]
    assert len(seen) == 2
    weights = attention.attention(hub, source, target)
    torch.testing.assert_close(weights, torch.stack(seen[:2]))
    torch.testing.assert_close(weights[1], scored)
    assert not torch.allclose(weights[0], weights[1], atol=1e-4)
    for layer, expected in (("1", weights[0]), ("2", weights[1]), ("mean", (weights[0] + weights[1]) / 2)):
        torch.testing.assert_close(*attention.chosen(weights, layer).values(), expected)
    assert len(attention.chosen(weights, "all")) == 2


def test_the_models_own_translation_is_drawn(hub):
    source, target = attention.tokens(hub, SOURCE, None)
    assert hub.decode(target) == hub.translate([SOURCE])[0]
    assert attention.labels(hub.src_dict, source) == ["red", "dog", "</s>"]

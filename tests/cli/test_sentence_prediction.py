"""fairseq's stock sentence_prediction task and criterion with mega_classifier: train, resume, validate."""

import random
import re

import pytest
from forked import Commands

TASK = ["--user-dir", "mega_fairseq", "--task", "sentence_prediction", "--criterion", "sentence_prediction"]
SIZES = [
    "--encoder-embed-dim",
    "16",
    "--encoder-hidden-dim",
    "16",
    "--encoder-ffn-embed-dim",
    "16",
    "--encoder-z-dim",
    "8",
]
SIZES += [
    "--encoder-n-dim",
    "2",
    "--encoder-layers",
    "1",
    "--encoder-chunk-size",
    "4",
    "--weight-init",
    "open-gates",
]
TRAIN = [
    "--optimizer",
    "adam",
    "--lr",
    "0.02",
    "--batch-size",
    "16",
    "--num-workers",
    "0",
    "--no-epoch-checkpoints",
    "--seed",
    "1",
]
BEST = ["--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sentences")


@pytest.fixture(scope="module")
def run(folder):
    commands = Commands(folder)

    def checked(command, *arguments):
        done = commands.run(command, *arguments)
        assert done.status == 0, done.err[-2000:]
        return done.out + done.err

    yield checked
    commands.close()


def write_texts(folder, name, count, seed):
    """Texts with a z are of class 1; numbers are how many letters there are, over 10."""
    draw = random.Random(seed)
    texts, labels, numbers = [], [], []
    for _ in range(count):
        words = [draw.choice("abcdef") for _ in range(draw.randint(3, 11))]
        if found := draw.random() < 0.5:
            words[draw.randrange(len(words))] = "z"
        texts.append(" ".join(words))
        labels.append("yes" if found else "no")
        numbers.append(len(words) / 10)
    for kind, lines in (("input0", texts), ("input1", texts), ("label", labels), ("number", numbers)):
        (folder / f"{name}.{kind}").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="module")
def data(folder, run):
    write_texts(folder, "train", 300, seed=1)
    write_texts(folder, "valid", 40, seed=2)
    for kind in ("input0", "input1", "label"):
        given = [f"--{name}pref={folder / name}.{kind}" for name in ("train", "valid")]
        words = [f"--srcdict={folder}/one/input0/dict.txt"] if kind == "input1" else []
        home = folder / ("two" if kind == "input1" else "one") / kind
        run("preprocess", "--user-dir", "mega_fairseq", "--only-source", *given, *words, "--destdir", home)
    for kind in ("input0", "label"):
        (folder / "two" / kind).symlink_to(folder / "one" / kind)
    (folder / "numbers").mkdir()
    (folder / "numbers/input0").symlink_to(folder / "one/input0")
    (folder / "numbers/label").mkdir()
    for name in ("train", "valid"):
        (folder / f"numbers/label/{name}.label").write_text((folder / f"{name}.number").read_text())
    return folder


def train(run, data, name, *more, texts="one", classes="2"):
    given = [*TASK, "--num-classes", classes, "--arch", "mega_classifier", *SIZES, *TRAIN]
    return run("train", data / texts, *given, "--save-dir", data / name, *more)


def accuracies(log):
    return [float(number) for number in re.findall(r"valid on 'valid' subset .*?\| accuracy ([\d.]+)", log)]


def test_a_text_is_classified_and_training_resumes(run, data):
    log = train(run, data, "made", *BEST, "--max-epoch", "5")
    assert max(accuracies(log)) > 90
    log = train(run, data, "made", *BEST, "--max-epoch", "6")
    assert "Loaded checkpoint" in log and len(accuracies(log)) == 1
    path = data / "made/checkpoint_best.pt"
    told = run("validate", data / "one", *TASK, "--num-classes", "2", "--path", path, "--batch-size", "8")
    assert re.search(r"accuracy (9\d|100)", told)


def test_two_texts_are_joined(run, data):
    assert max(accuracies(train(run, data, "joined", *BEST, "--max-epoch", "5", texts="two"))) > 90


def test_a_number_is_predicted(run, data):
    more = ["--regression-target", "--max-epoch", "6", "--best-checkpoint-metric", "loss"]
    log = train(run, data, "numbers-made", *more, texts="numbers", classes="1")
    losses = [float(x) for x in re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", log)]
    assert losses[-1] < losses[0]

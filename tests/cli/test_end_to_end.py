"""Train, resume, generate with fairseq's search options, and the hub, through fairseq's own commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]


def sentence(i, words):
    return " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 1 + words))


PAIRS = [(sentence(i, 1 + i % 7), sentence(i + 1, 3)) for i in range(60)]
SIZES = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SIZES += ["--encoder-z-dim", "8", "--encoder-n-dim", "2", "--encoder-layers", "1"]


def run(module, *arguments, stdin=None):
    command = [sys.executable, "-m", f"fairseq_cli.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def train(data, folder, updates, *extra):
    common = ["--user-dir", "mega_fairseq", "--arch", "mega_nmt_tiny", *SIZES, "--optimizer", "adam"]
    limits = ["--lr", "3e-3", "--max-tokens", "200", "--max-update", updates, "--save-dir", folder]
    quiet = ["--no-progress-bar", "--num-workers", "0", "--no-epoch-checkpoints", "--log-interval", "1"]
    return run("train", data, *common, *limits, *quiet, *extra)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nmt")
    for split in ("train", "valid", "test"):
        for side, lang in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in PAIRS)
            (folder / f"{split}.{lang}").write_text(text)
    splits = [f"--{s}pref={folder / s}" for s in ("train", "valid", "test")]
    run("preprocess", "-s", "en", "-t", "de", *splits, "--joined-dictionary", "--destdir", folder / "bin")
    train(folder / "bin", folder / "a", 6)
    resumed = train(folder / "bin", folder / "a", 12)
    assert "Loaded checkpoint" in resumed and re.search(r"num_updates:? 6|@ 6 updates", resumed)
    train(folder / "bin", folder / "b", 6, "--seed", "2")
    return folder


def generate(trained, *options):
    model = trained / "a" / "checkpoint_last.pt"
    common = ["--user-dir", "mega_fairseq", "--path", model, "--no-progress-bar", "--max-len-b", "12"]
    return run("generate", trained / "bin", *common, *options)


@pytest.mark.parametrize(
    ("options", "hypotheses"),
    [
        ("--beam 3 --nbest 3", 180),
        ("--beam 1 --sampling --sampling-topk 5 --temperature 0.8", 60),
        ("--beam 1 --sampling --sampling-topp 0.8", 60),
        ("--beam 2 --prefix-size 2", 60),
        ("--score-reference", 60),
        ("--beam 2 --print-alignment --left-pad-source", 60),
        ("--beam 2 --print-alignment soft", 60),
        ("--beam 2 --remove-bpe sentencepiece --batch-size 7", 60),
    ],
)
def test_generate_loses_no_sentence(trained, options, hypotheses):
    output = generate(trained, *options.split())
    assert len(re.findall(r"^H-\d+\t", output, re.M)) == hypotheses


def test_ensemble(trained):
    paths = f"{trained / 'a' / 'checkpoint_last.pt'}:{trained / 'b' / 'checkpoint_last.pt'}"
    output = run("generate", trained / "bin", "--user-dir", "mega_fairseq", "--path", paths, "--beam", "2")
    assert len(re.findall(r"^H-\d+\t", output, re.M)) == 60


def test_interactive_answers_every_line_and_obeys_constraints(trained):
    model = trained / "a" / "checkpoint_last.pt"
    common = ["--user-dir", "mega_fairseq", "--path", model, "-s", "en", "-t", "de", "--beam", "3"]
    lines = "red dog\n\nunknown words here\n" + "big " * 300 + "\n"
    output = run("interactive", trained / "bin", *common, stdin=lines)
    assert len(re.findall(r"^H-\d+\t", output, re.M)) == 4
    output = run("interactive", trained / "bin", *common, "--constraints", stdin="red dog\ttree\n")
    assert "tree" in re.search(r"^H-0\t[^\t]*\t(.*)$", output, re.M).group(1)


def test_batches_do_not_change_translations(trained):
    def best(*options):
        found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", generate(trained, "--beam", "3", *options), re.M)
        return {number: (round(float(score), 3), text) for number, score, text in found}

    assert best("--batch-size", "1") == best("--batch-size", "32")


def test_hub(trained):
    from mega_fairseq.models import MegaNMT

    hub = MegaNMT.from_pretrained(str(trained / "a"), "checkpoint_last.pt", str(trained / "bin"))
    texts = ["red dog", "big tree sleeps"]
    assert len(hub.translate(texts, beam=5)) == 2
    assert len(hub.sample(texts, beam=1, sampling=True, sampling_topk=3)) == 2

"""mega-convert: what can be done with its files, what released models compute, clear refusals."""

import gzip
import pickle
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from forked import Commands
from outside import needs, outside
from theirs import MODELS, reference, same

import mega_fairseq
from mega_fairseq.commands.convert import main

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = outside("goldens/checkpoints")
WIKITEXT = outside("data/wikitext/valid.txt.gz")
USER_DIR = ["--user-dir", mega_fairseq.__path__[0]]


def convert(*arguments):
    command = [sys.executable, "scripts/convert_reference_checkpoint.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    server = Commands(tmp_path_factory.mktemp("forked"))
    yield server
    server.close()


def test_the_command_and_what_can_be_done_with_its_file(commands, tmp_path):
    torch.save(reference("nmt default"), tmp_path / "theirs.pt")
    done = convert(tmp_path / "theirs.pt", tmp_path / "ours.pt")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"ours.pt: \d+ tensors, [\d,]+ numbers", done.stdout)
    back = convert("--reverse", tmp_path / "ours.pt", tmp_path / "back.pt")
    assert back.returncode == 0, back.stderr
    torch.serialization.add_safe_globals([Namespace])
    theirs, again = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("theirs", "back"))
    assert same(theirs["model"], again["model"]) and theirs["args"] == again["args"]
    lines = "".join(f"w{i % 40} w{i * 7 % 46}\n" for i in range(30))
    for split in ("train", "valid"):
        for side in ("en", "de"):
            (tmp_path / f"{split}.{side}").write_text(lines)
    (tmp_path / "dict.txt").write_text("".join(f"w{i} 1\n" for i in range(46)))
    data = ["--trainpref", tmp_path / "train", "--validpref", tmp_path / "valid"]
    dictionaries = ["--srcdict", tmp_path / "dict.txt", "--tgtdict", tmp_path / "dict.txt"]
    languages = ["--source-lang", "en", "--target-lang", "de"]
    made = commands.run("preprocess", *languages, *data, *dictionaries, "--destdir", tmp_path / "bin")
    assert made.status == 0, made.err
    config = MODELS["nmt default"]["config"]
    sizes = [f"--{name.replace('_', '-')}={size}" for name, size in config.items() if "_dim" in name]
    sizes += ["--encoder-layers", "2", "--max-source-positions", "48", "--max-target-positions", "48"]
    more = ["--arch", "mega_nmt", *sizes, "--share-all-embeddings", "--truncation-length", "1024"]
    more += ["--optimizer", "adam", "--lr", "0.001", "--max-tokens", "100", "--max-update", "2"]
    more += ["--finetune-from-model", tmp_path / "ours.pt", "--save-dir", tmp_path / "save"]
    trained = commands.run("train", tmp_path / "bin", *USER_DIR, *languages, *more)
    assert trained.status == 0, trained.err
    assert (tmp_path / "save" / "checkpoint_last.pt").exists()


class Payload:
    def __reduce__(self):
        return print, ("payload ran",)


def broken(kind):
    checkpoint = reference("nmt default")
    model = checkpoint["model"]
    if kind == "no args":
        del checkpoint["args"]
    elif kind == "other arch":
        checkpoint["args"].arch = "transformer"
    elif kind == "no chunk":
        del checkpoint["args"].decoder_chunk_size
    elif kind == "shape":
        model["encoder.layers.0.mega_layer.gamma"] = torch.zeros(2, 9)
    elif kind == "absent":
        del model["decoder.layers.1.nffn.fc1.bias"]
    elif kind == "foreign":
        model["encoder.layers.0.self_attn.k_proj.weight"] = torch.zeros(2, 2)
    elif kind == "activation":
        checkpoint["args"].activation_fn = "swish"
    elif kind == "payload":
        checkpoint["args"].data = Payload()
    elif kind == "list":
        checkpoint = [1, 2]
    return checkpoint


REFUSED = {
    "no args": "no args and model",
    "other arch": "architecture is 'transformer'",
    "no chunk": "lack decoder_chunk_size",
    "shape": "encoder.stack.layers.0.attention.kappa is of shape (2, 9), by its args of shape (2, 8)",
    "absent": "decoder.stack.layers.1.feed_forward.fc1.bias is absent",
    "foreign": "encoder.layers.0.self_attn.k_proj.weight",
    "activation": "swish",
    "payload": "print",
    "list": "it holds a list",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals(kind, tmp_path, capsys):
    source, target = tmp_path / "theirs.pt", tmp_path / "ours.pt"
    if kind == "payload":
        source.write_bytes(pickle.dumps(broken(kind), protocol=2))
    else:
        torch.save(broken(kind), source)
    target.write_text("earlier")
    assert main([str(source), str(target)]) == 1
    captured = capsys.readouterr()
    assert REFUSED[kind] in captured.err and str(source) in captured.err
    assert captured.err.count("\n") == 1 and "payload ran" not in captured.out
    assert target.read_text() == "earlier" and not list(tmp_path.glob("*.part"))


def test_files_that_are_no_checkpoint(tmp_path):
    torch.save(reference("nmt default"), tmp_path / "theirs.pt")
    stock = {"args": None, "cfg": {"model": Namespace(arch="transformer")}, "model": {}}  # of fairseq 0.12
    torch.save(stock, tmp_path / "stock.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "theirs.pt").read_bytes()[:5000])
    table = [
        (["absent.pt", "out.pt"], "there is no checkpoint"),
        (["cut.pt", "out.pt"], "may be truncated"),
        ([".", "out.pt"], "is a folder"),
        (["theirs.pt", "theirs.pt"], "is IN"),
        (["theirs.pt", "absent/out.pt"], "cannot write OUT"),
        (["--reverse", "theirs.pt", "out.pt"], "no mega_nmt or mega_lm"),
        (["--reverse", "stock.pt", "out.pt"], "it holds the model 'transformer', no mega_nmt or mega_lm"),
    ]
    for arguments, message in table:
        paths = [a if a.startswith("--") else tmp_path / a for a in arguments]
        done = convert(*paths)
        assert done.returncode == 1 and message in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr and not (tmp_path / "out.pt").exists()


def hypotheses(text):
    """Tokens and their scores by sentence number in fairseq-generate's output."""
    found = {}
    for line in text.split("\n"):
        if line.startswith(("H-", "P-")):
            key, *values = line.split("\t")
            found.setdefault(int(key[2:]), []).append(values[-1])
    return found


@needs("goldens/checkpoints")
@pytest.mark.parametrize(
    ("output", "options"),
    [
        ("gen_test100_beam5_bs1.out", ["--beam", 5, "--lenpen", 0.5, "--max-len-b", 50]),
        ("score_test100_bs1.out", ["--score-reference"]),
    ],
)
def test_the_released_translation_model(output, options, commands, tmp_path):
    assert convert(CHECKPOINTS / "reference_mt_tiny.pt", tmp_path / "ours.pt").returncode == 0
    languages = ["--source-lang", "en", "--target-lang", "de"]
    words = CHECKPOINTS / "mt_tiny_dict.txt"
    data = ["--testpref", CHECKPOINTS / "test100", "--srcdict", words, "--tgtdict", words]
    assert commands.run("preprocess", *languages, *data, "--destdir", tmp_path / "bin").status == 0
    how = ["--path", tmp_path / "ours.pt", "--batch-size", 1, *options]
    done = commands.run("generate", tmp_path / "bin", *USER_DIR, *how)
    assert done.status == 0, done.err
    ours, theirs = hypotheses(done.out), hypotheses((CHECKPOINTS / output).read_text(encoding="utf-8"))
    assert ours.keys() == theirs.keys() and len(ours) == 100
    for number, (tokens, scores) in theirs.items():
        assert ours[number][0] == tokens
        pairs = zip(map(float, ours[number][1].split()), map(float, scores.split()), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 2e-4  # of base-2 logarithms in four digits


@needs("goldens/checkpoints")
@needs("data/wikitext/valid.txt.gz")
def test_the_released_language_model(commands, tmp_path):
    assert convert(CHECKPOINTS / "reference_lm_tiny.pt", tmp_path / "ours.pt").returncode == 0
    lines = gzip.decompress(WIKITEXT.read_bytes()).decode().split("\n")
    (tmp_path / "test").write_text("\n".join(lines[3008 + 376 :]), encoding="utf-8")
    data = ["--testpref", tmp_path / "test", "--srcdict", CHECKPOINTS / "lm_tiny_dict.txt"]
    assert commands.run("preprocess", "--only-source", *data, "--destdir", tmp_path / "bin").status == 0
    blocks = ["--sample-break-mode", "complete", "--tokens-per-sample", 10878, "--max-tokens", 30000]
    where = [tmp_path / "bin", *USER_DIR, "--path", tmp_path / "ours.pt", "--task", "language_modeling"]
    done = commands.run("eval_lm", *where, *blocks)
    assert done.status == 0 and "Evaluated 21,756 tokens" in done.out, done.err
    assert abs(float(re.search(r"Perplexity: ([\d.]+)", done.out)[1]) - 180.39) <= 0.02

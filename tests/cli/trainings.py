"""Real trainings of a few updates, for the pictures; changed checkpoints; and what a picture holds."""

import json
import re
import shutil
import struct
import xml.etree.ElementTree as ET

import torch
from matplotlib.image import imread

WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]
TEXT = [" ".join(WORDS[(i * k) % 12] for k in range(1, 2 + i % 6)) for i in range(30)]
SIZES = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SIZES += ["--encoder-z-dim", "8", "--encoder-n-dim", "2"]
BLEU = ["--eval-bleu", "--eval-bleu-args", '{"beam": 1, "max_len_a": 0, "max_len_b": 4}']


def train(run, folder, log, updates, *options, arch="mega_nmt_tiny", sizes=SIZES):
    common = [folder / "bin", "--user-dir", "mega_fairseq", "--arch", arch, *sizes, "--optimizer", "adam"]
    limits = ["--lr", "3e-3", "--max-tokens", "60", "--max-update", updates, "--save-dir", folder / log]
    reports = ["--log-interval", "1", "--validate-interval-updates", "2", "--no-epoch-checkpoints"]
    done = run("train", *common, *limits, *reports, "--num-workers", "0", "--seed", "1", *options)
    assert done.status == 0, done.err
    return done.out + done.err


def make_trainings(run, folder):
    """A training of 4 updates, its resumption to 8, and another resumption from 4, to 6; their logs.

    And a training with --log-format simple, and one of a transformer.
    """
    for split in ("train", "valid"):
        for lang in ("en", "de"):
            (folder / f"{split}.{lang}").write_text("".join(f"{line}\n" for line in TEXT))
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid")]
    pair = ["-s", "en", "-t", "de", "--joined-dictionary"]
    assert run("preprocess", *pair, *splits, "--destdir", folder / "bin").status == 0
    as_json = ["--log-format", "json", *BLEU]
    (folder / "first.log").write_text(train(run, folder, "a", 4, *as_json))
    shutil.copy(folder / "a" / "checkpoint_last.pt", folder / "four.pt")
    (folder / "second.log").write_text(train(run, folder, "a", 8, *as_json))
    shutil.copy(folder / "four.pt", folder / "a" / "checkpoint_last.pt")
    (folder / "third.log").write_text(train(run, folder, "a", 6, *as_json, "--log-interval", "2"))
    (folder / "simple.log").write_text(train(run, folder, "b", 4, "--log-format", "simple", *BLEU))
    small = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in ("embed-dim", "ffn-embed-dim")]
    sizes = [part for flag in small for part in (flag, "16")]
    train(run, folder, "transformer", 1, arch="transformer", sizes=sizes)


def texts(svg):
    """The words of an SVG picture."""
    return {"".join(element.itertext()).strip() for element in ET.parse(svg).iter() if "text" in element.tag}


def check_png(path, width, height):
    """A PNG of at least this size with something on it."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    found = struct.unpack(">II", content[16:24])
    assert found[0] >= width and found[1] >= height
    assert 0.01 < (imread(path)[..., :3] < 0.95).mean() < 0.9


def saved(model, path, *, truncation=0, rename=lambda name: name, change=lambda tensor: tensor):
    """The path of a changed copy of a checkpoint."""
    state = torch.load(model)
    state["cfg"]["model"]["truncation_length"] = truncation
    state["model"] = {rename(name): change(tensor) for name, tensor in state["model"].items()}
    torch.save(state, path)
    return path


def numbers(log, subset, statistic):
    """{updates: value} of a JSON log, where no update repeats."""
    prefix = "" if subset == "train_inner" else f"{subset}_"
    lines = re.findall(rf"\| INFO \| {subset} \| (.*)", log.read_text())
    found = [json.loads(line) for line in lines]
    return {int(s[f"{prefix}num_updates"]): float(s[prefix + statistic]) for s in found}


def parameters_of(checkpoint, stack, layer):
    """An EMA's parameters by their last names."""
    prefix = f"{stack}.stack.layers.{layer - 1}.attention.ema."
    state = torch.load(checkpoint)["model"]
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}

"""Stock models train and generate with the plugin as without it: logs, parameters and outputs, bit for bit.

Without the plugin fairseq stops on today's torch in two places, whatever the model: torch.load refuses its
checkpoints, and NumPy has lost a name. STOCK allows the first, restores the second and changes nothing else.
Batches are of any size here: fairseq drops the last one where its size does not suit (keep_last_batch).
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import mega_fairseq

ROOT = Path(__file__).resolve().parents[1]
STOCK = """
import runpy, sys
import numpy as np, torch
np.int = int
load = torch.load
torch.load = lambda *args, **kwargs: load(*args, **{**kwargs, "weights_only": False})
runpy.run_module(f"fairseq_cli.{sys.argv.pop(1)}", run_name="__main__")
"""
WORDS = [f"w{number}" for number in range(30)]
SMALL = ["--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "16", "--encoder-layers", "2"]
SMALL += ["--encoder-attention-heads", "2", "--decoder-layers", "2", "--decoder-attention-heads", "2"]
LM_SMALL = ["--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "16", "--decoder-layers", "2"]
TRAIN = ["--optimizer", "adam", "--lr", "1e-3", "--max-update", "20", "--seed", "3", "--num-workers", "0"]
TRAIN += [
    "--required-batch-size-multiple",
    "1",
    "--log-format",
    "json",
    "--log-interval",
    "1",
    "--no-epoch-checkpoints",
    "--clip-norm",
    "1.0",
]
NMT = ["--max-tokens", "120", "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", "0.1"]
LM = ["--task", "language_modeling", "--tokens-per-sample", "20", "--batch-size", "3"]
MODELS = {
    "transformer": ("nmt", ["--arch", "transformer", *SMALL, *NMT]),
    "transformer_align": (
        "nmt",
        ["--arch", "transformer_align", "--alignment-layer", "1", "--alignment-heads", "1", *SMALL, *NMT],
    ),
    "lstm": ("nmt", ["--arch", "lstm", "--encoder-embed-dim", "16", "--decoder-embed-dim", "16", *NMT]),
    "fconv": (
        "nmt",
        ["--arch", "fconv", "--encoder-layers", "[(16, 3)]", "--decoder-layers", "[(16, 3)]", *NMT],
    ),
    "transformer_lm": ("lm", ["--arch", "transformer_lm", *LM_SMALL, "--decoder-attention-heads", "2", *LM]),
    "s2t_transformer": (
        "speech",
        [
            *("--arch", "s2t_transformer_xs", *SMALL, "--conv-channels", "16", "--task", "speech_to_text"),
            *("--config-yaml", "config.yaml", "--criterion", "label_smoothed_cross_entropy"),
            *("--max-tokens", "400"),
        ],
    ),
    "roberta": (
        "lm",
        [
            *("--arch", "roberta_base", "--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "16"),
            *("--encoder-layers", "2", "--encoder-attention-heads", "2", "--task", "masked_lm"),
            *("--criterion", "masked_lm", "--tokens-per-sample", "20", "--batch-size", "3"),
        ],
    ),
}
WHOLE = ["--batch-size", "7", "--required-batch-size-multiple", "1"]
PASSING = r'"(wps|ups|wall|train_wall|\w+_wps|\w+_ups|\w+_wall)": "[^"]*"'
LINE = r"^.*\| INFO \| (?:train_inner|train|valid) \| (\{.*\})$|^[STHDP]-.*$|^.*Perplexity.*$"
pytestmark = pytest.mark.slow


def run(plugin, command, *arguments):
    start = ["-m", f"fairseq_cli.{command}"] if plugin else ["-c", STOCK, command]
    user_dir = ["--user-dir", mega_fairseq.__path__[0]] if plugin else []
    parts = [sys.executable, *start, *map(str, arguments), *user_dir]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(parts, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(1)
    for split, count in (("train", 120), ("valid", 20), ("test", 20)):
        text = [draw.choices(WORDS, k=draw.randint(2, 9)) for _ in range(count)]
        for side in ("en", "de"):
            lines = (" ".join(words if side == "en" else words[::-1]) + "\n" for words in text)
            (folder / f"{split}.{side}").write_text("".join(lines))
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    run(False, "preprocess", "-s", "en", "-t", "de", *splits, "--destdir", folder / "nmt")
    splits = [f"{split}.en" for split in splits]
    run(False, "preprocess", "--only-source", *splits, "--destdir", folder / "lm")
    make_speech(folder / "speech", folder / "nmt" / "dict.en.txt")
    return folder


def make_speech(folder, dictionary):
    """Noise for sound, as the features that speech_to_text reads, with sentences to it."""
    folder.mkdir()
    (folder / "dict.txt").write_bytes(dictionary.read_bytes())
    (folder / "config.yaml").write_text("vocab_filename: dict.txt\ninput_feat_per_channel: 8\n")
    draw = np.random.default_rng(1)
    for split, count in (("train", 120), ("valid", 20), ("test", 20)):
        lines = ["id\taudio\tn_frames\ttgt_text"]
        for number, frames in enumerate(draw.integers(20, 60, count)):
            sound = folder / f"sound-{split}-{number}.npy"
            np.save(sound, draw.standard_normal((frames, 8), dtype=np.float32))
            lines.append(f"{number}\t{sound}\t{frames}\t{' '.join(draw.choice(WORDS, 4))}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def told(printed):
    """The lines that tell a result, without times."""
    lines = (match.group(1) or match.group(0) for match in re.finditer(LINE, printed, re.MULTILINE))
    return [re.sub(r" in [\d.]+s .*", "", re.sub(PASSING, "", line)) for line in lines]


@pytest.mark.parametrize("name", MODELS)
def test_a_stock_model_is_what_it_was(name, data, tmp_path):
    kind, options = MODELS[name]
    results = []
    for plugin in (False, True):
        save = tmp_path / str(plugin)
        printed = told(run(plugin, "train", data / kind, *options, *TRAIN, "--save-dir", save))
        assert any('"train_num_updates": "20"' in line for line in printed)
        path = ["--path", save / "checkpoint_last.pt"]
        if kind in ("nmt", "speech"):
            more = ["--task", "speech_to_text", "--config-yaml", "config.yaml"] if kind == "speech" else []
            printed += told(run(plugin, "generate", data / kind, *path, "--beam", "3", *WHOLE, *more))
            assert sum(line.startswith("H-") for line in printed) == 20
        elif name == "transformer_lm":
            printed += told(run(plugin, "eval_lm", data / kind, *path, "--tokens-per-sample", "20", *WHOLE))
            assert "Perplexity" in printed[-1]
        state = torch.load(save / "checkpoint_last.pt")
        results.append((printed, state["model"], state["last_optimizer_state"]["state"]))
    (printed, model, moments), (printed_with, model_with, moments_with) = results
    assert printed == printed_with
    assert model.keys() == model_with.keys()
    for parameter, tensor in model.items():
        assert torch.equal(tensor, model_with[parameter]), parameter
    for index, state in moments.items():
        assert torch.equal(state["exp_avg_sq"], moments_with[index]["exp_avg_sq"])

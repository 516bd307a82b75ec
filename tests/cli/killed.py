"""Trainings of a few seconds, as processes that can be killed, and what became of them."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

import mega_fairseq  # noqa: F401  # lets torch.load read the plain values of a checkpoint

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]
EVERY = 5  # updates between two saves
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def sizes(side):
    flags = {"embed-dim": 16, "hidden-dim": 16, "ffn-embed-dim": 16, "z-dim": 8, "n-dim": 2, "layers": 1}
    return [part for flag, size in flags.items() for part in (f"--{side}-{flag}", str(size))]


NMT = ["--arch", "mega_nmt_tiny", *sizes("encoder"), "--criterion", "label_smoothed_cross_entropy"]
NMT += ["--label-smoothing", "0.1", "--max-tokens", "64", "--patience", "50", "--keep-best-checkpoints", "2"]
LM = ["--arch", "mega_lm", "--task", "mega_language_modeling", *sizes("decoder"), "--chunk-multiples", "1,4"]
LM += ["--decoder-chunk-size", "16", "--rel-pos-bias", "rotary", "--max-tokens", "64", "--valid-blocks", "4"]
MODELS = {"mega_nmt": NMT, "mega_lm": LM}
COMMON = ["--user-dir", "mega_fairseq", "--optimizer", "adam", "--lr", "3e-3", "--dropout", "0.1"]
COMMON += ["--lr-scheduler", "inverse_sqrt", "--warmup-updates", "20", "--clip-norm", "1.0", "--seed", "7"]
COMMON += ["--save-interval-updates", str(EVERY), "--keep-interval-updates", "2", "--keep-last-epochs", "1"]
COMMON += ["--num-workers", "0", "--log-format", "json", "--log-interval", "1"]


def call(*arguments):
    """Run Python with these arguments to its end."""
    command = [sys.executable, *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)


def make_data(model, folder, seed=0, lines=160, call=call):
    """Text of our words, binarised; the folder with it."""
    draw = random.Random(seed)
    sides = ("en", "de") if model == "mega_nmt" else ("txt",)
    for split, count in (("train", lines), ("valid", 30), ("test", 31)):
        text = [[draw.choice(WORDS) for _ in range(draw.randint(1, 9))] for _ in range(count)]
        for side in sides:
            written = text if side != "de" else [words[::-1] for words in text]
            (folder / f"{split}.{side}").write_text("".join(" ".join(words) + "\n" for words in written))
    kind = ["-s", "en", "-t", "de", "--joined-dictionary"] if len(sides) == 2 else ["--only-source"]
    end = "" if len(sides) == 2 else ".txt"
    splits = [f"--{split}pref={folder / split}{end}" for split in ("train", "valid", "test")]
    call("-m", "fairseq_cli.preprocess", *kind, *splits, "--destdir", folder / "bin")
    return folder / "bin"


def command_of(model, data, save_dir, updates):
    """A plain fairseq-train."""
    parts = [sys.executable, "-m", "fairseq_cli.train", data, *MODELS[model], *COMMON]
    return [*map(str, parts), "--max-update", str(updates), "--save-dir", str(save_dir)]


class Training:
    """A training under way, whose output goes to `log`."""

    def __init__(self, command, log, variables=None, limits=None):
        def limit():
            for kind, pair in (limits or {}).items():
                resource.setrlimit(kind, pair)

        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=ENVIRONMENT | (variables or {}),
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=limit,
            )

    def printed(self):
        return self.log.read_text(errors="replace")

    def wait_until(self, happened, pause=0.0005):
        """Whether it happened before the training ended."""
        while self.process.poll() is None:
            if happened():
                return True
            time.sleep(pause)
        return False

    def kill(self):
        """SIGKILL. False where it had ended before."""
        if self.process.poll() is not None:
            return False
        self.process.send_signal(signal.SIGKILL)
        return self.process.wait() == -signal.SIGKILL

    def finish(self):
        if self.process.wait() != 0:
            raise RuntimeError(f"a training failed:\n{self.printed()[-3000:]}")


def changes(folder):
    """What tells that a step of saving was made: the names there, and when those that last were written."""
    found = set()
    for entry in os.scandir(folder) if folder.is_dir() else ():
        try:
            found.add((entry.name, entry.name.endswith(".pt") and entry.stat().st_mtime_ns))
        except FileNotFoundError:  # renamed or removed since
            continue
    return found


def kill_in_time(training, after):
    """Kill so many seconds after the first update may begin."""
    if not training.wait_until(lambda: "Start iterating over samples" in training.printed(), 0.02):
        return False
    begin = time.monotonic()
    training.wait_until(lambda: time.monotonic() - begin >= after)
    return training.kill()


def kill_at_change(training, folder, nth):
    """Kill at the nth change of the folder's files that is seen after the training has begun."""
    if not training.wait_until(lambda: "Start iterating over samples" in training.printed(), 0.005):
        return False
    for _ in range(nth):
        before = changes(folder)
        training.wait_until(lambda before=before: changes(folder) != before, 0)
    return training.kill()


UPDATES = re.compile(r'"num_updates": "(\d+)"')
PHASES = {
    "Preparing to save checkpoint": "saving",
    "Saved checkpoint": "update",
    "begin validation": "validation",
    " | valid | ": "between validation and saving",
    "end of epoch": "epoch end",
    " | train | ": "epoch end",
    "begin training epoch": "update",
    " | train_inner | ": "update",
    "done training": "finished",
}


def seen_in(log):
    """Updates made, updates at the last finished save, and the phase that a log ends in."""
    last = {"phase": "loading", "updates": 0, "saved": 0}
    for line in log.splitlines():
        for words, phase in PHASES.items():
            if words in line:
                last["phase"] = phase
        last["updates"] = max([last["updates"], *map(int, UPDATES.findall(line))])
        for number in re.findall(r"(?:Saved|Loaded) checkpoint .*? @ (\d+) updates", line):
            last["saved"] = int(number)
            last["updates"] = max(last["updates"], int(number))
    return last


def losses(logs):
    """{(tag, updates): loss} of trainings one after the other; a repeated update must repeat its loss."""
    found = {}
    for tag, text in re.findall(r"\| INFO \| (train|train_inner|valid) \| (\{.*\})$", "\n".join(logs), re.M):
        prefix = "" if tag == "train_inner" else f"{tag}_"
        said = json.loads(text)
        key = f"{tag} {said[prefix + 'num_updates']}"
        loss = said[f"{prefix}loss"]
        if found.setdefault(key, loss) != loss:
            raise RuntimeError(f"{key} had the loss {found[key]}, and {loss} when repeated")
    return found


def lasting(path):
    """A checkpoint without its times (of meters and training) and without how often it was resumed."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name in ("cfg", "args"):
        state.pop(name)
    for name in ("metrics", "previous_training_time"):
        state["extra_state"].pop(name)
    state["optimizer_history"] = state["optimizer_history"][-1]  # there is one for each resumption
    return state


def differences(one, other, where=""):
    """The places where two nested states are not the same, bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [found for key in one for found in differences(one[key], other[key], f"{where}.{key}")]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            f
            for i, pair in enumerate(zip(one, other, strict=True))
            for f in differences(*pair, f"{where}.{i}")
        ]
    else:
        same = type(one) is type(other) and one == other
    return [] if same else [where]


def compare(killed, whole, logs, whole_log):
    """What differs between a folder of checkpoints that was killed and the one that was not.

    Killed after the last save, an epoch is not summed up in the log, and checkpoints that the next save would
    have removed stay.
    """
    names, kept = ({path.name for path in folder.iterdir()} for folder in (killed, whole))
    found = [f"there is no {name}" for name in sorted(kept - names)]
    found += [f"{name} is half written" for name in sorted(names) if not name.endswith(".pt")]
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        found += [f"{name}{where}" for where in differences(lasting(killed / name), lasting(whole / name))]
    ours, theirs = losses(logs), losses([whole_log])
    wrong = {
        key for key in theirs if ours.get(key, None if key[:6] != "train " else theirs[key]) != theirs[key]
    }
    found += [f"the loss of {key}" for key in sorted(wrong | (ours.keys() - theirs.keys()))]
    return found if len(found) < 9 else [*found[:8], f"{len(found) - 8} more"]

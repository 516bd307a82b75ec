"""One program for the stock transformer and for Mega: a command on the same data, and what it shows."""

import functools
import json
import random
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from forked import ROOT, Commands

import mega_fairseq  # noqa: F401  (the types that a checkpoint may hold)

WORDS = [f"w{number}" for number in range(30)]
SIZES = (
    "--encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --encoder-layers 2 --decoder-layers 2 --dropout 0.1"
)
LM_SIZES = "--decoder-embed-dim 16 --decoder-input-dim 16 --decoder-output-dim 16 --decoder-ffn-embed-dim 16 "
LM_SIZES += "--decoder-layers 2 --dropout 0.1"
HEADS = "--encoder-attention-heads 2 --decoder-attention-heads 2"
MEGA = "--encoder-hidden-dim 16 --encoder-z-dim 8 --encoder-n-dim 2"
# The kind of model, the architecture's side, and its sizes, which the other side may not know.
ARCHITECTURES = {
    "nmt": {
        "stock": f"--arch transformer {SIZES} {HEADS}",
        "mega": f"--arch mega_nmt {SIZES} {MEGA}",
    },
    "align": {
        "stock": f"--arch transformer_align {SIZES} {HEADS}",
        "mega": f"--arch mega_nmt {SIZES} {MEGA}",
    },
    "lm": {
        "stock": f"--arch transformer_lm {LM_SIZES} --decoder-attention-heads 2",
        "mega": f"--arch mega_lm {LM_SIZES} --decoder-hidden-dim 16 --decoder-z-dim 8 --decoder-n-dim 2",
    },
}
# What a row may say another value of follows; argparse takes the last.
TRAIN = (
    "--optimizer adam --lr 1e-2 --max-update 6 --seed 3 --num-workers 0 --log-format json --log-interval 1 "
)
TRAIN += "--required-batch-size-multiple 1"
KINDS = {
    "nmt": f"{TRAIN} --max-tokens 200 --task translation",
    "align": f"{TRAIN} --max-tokens 200 --task translation --alignment-layer 1 "
    "--criterion label_smoothed_cross_entropy_with_alignment",
    "lm": f"{TRAIN} --task language_modeling --tokens-per-sample 20 --batch-size 6",
}
# The command that a trained model is given to.
COMMANDS = {
    ("generate", "nmt"): "--path {trained-nmt}/checkpoint_last.pt --batch-size 7 --max-len-b 20",
    ("interactive", "nmt"): "--path {trained-nmt}/checkpoint_last.pt -s en -t de",
    (
        "validate",
        "nmt",
    ): "--path {trained-nmt}/checkpoint_last.pt --task translation --valid-subset test --batch-size 4",
    ("generate", "lm"): "--path {trained-lm}/checkpoint_last.pt --task language_modeling --batch-size 1 "
    "--sample-break-mode eos --max-len-b 12",
    ("interactive", "lm"): "--path {trained-lm}/checkpoint_last.pt --task language_modeling --max-len-b 12",
    ("eval_lm", "lm"): "--path {trained-lm}/checkpoint_last.pt --tokens-per-sample 20 --batch-size 6",
    ("validate", "lm"): "--path {trained-lm}/checkpoint_last.pt --task language_modeling --batch-size 4 "
    "--valid-subset test",
}
SHAPES = ("files", "lines", "fields", "checkpoint", "extra")  # aspects that are the same for any model
PASSING = re.compile(r'"(?:\w*wps|\w*ups|\w*wall|\w*gb_free)": "[^"]*"(?:, )?')
LOGGED = re.compile(r"\| INFO \| (train_inner|train|valid\w*|test\w*) \| (.*)$", re.MULTILINE)
# What generation and evaluation print, and what of it is told in each run anew: times and places.
PRINTED = re.compile(
    r"^[A-Z]-\d+.*|^[A-Z]\t.*|^Generate .*|.*\| INFO \| fairseq_cli\.(?:eval_lm|generate|validate) \| [^{].*"
    r"|.*\| INFO \| fairseq.tasks.translation \| example .*",
    re.MULTILINE,
)
TIMES = re.compile(r" in [\d.]+s.*|^[-\d: ]+\| |[\d.]+ tokens/s\)?")


class Seen(NamedTuple):
    """What a run shows. aspects: by name, each compared with == . said: its errors, if it stopped."""

    status: int
    said: str
    aspects: dict[str, Any]

    def moved(self, base):
        """Names of the aspects that differ from another run's."""
        names = self.aspects.keys() | base.aspects.keys()
        return {name for name in names if self.aspects.get(name) != base.aspects.get(name)}


class Frame:
    """Data and models of both kinds, and the server that runs the commands; close it at the end."""

    def __init__(self, folder):
        self.folder, draw = folder, random.Random(1)
        self.models, self.bases, self.count = {}, {}, 0
        (folder / "io").mkdir()
        self.commands = Commands(folder / "io", modules=["mega_fairseq"])
        for split, count in (("train", 60), ("valid", 10), ("test", 10)):
            text = [draw.choices(WORDS, k=draw.randint(2, 9)) for _ in range(count)]
            pairs = [[f"{place}-{len(line) - 1 - place}" for place in range(len(line))] for line in text]
            for side, words in (("en", text), ("de", [line[::-1] for line in text]), ("align", pairs)):
                (folder / f"{split}.{side}").write_text("".join(f"{' '.join(line)}\n" for line in words))
        splits = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
        for name, more in (("nmt", []), ("align", ["--align-suffix", "align"])):
            pair = ["-s", "en", "-t", "de", "--joined-dictionary", *splits, "--destdir", folder / name]
            self.preprocess(*pair, *more)
        (folder / "nmt" / "dict.txt").write_bytes(
            (folder / "nmt" / "dict.en.txt").read_bytes()
        )  # for --lm-path
        lone = [f"{split}.en" for split in splits]
        shared = ["--only-source", "--srcdict", folder / "nmt" / "dict.en.txt"]
        self.preprocess(*shared, *lone, "--destdir", folder / "lm")
        vectors = "".join(f"{word} {' '.join(['0.5'] * 16)}\n" for word in WORDS)
        (folder / "vectors").write_text(f"{len(WORDS)} 16\n{vectors}")

    def make_many(self):
        """Make the folder of the multilingual tasks: pairs both ways, and languages alone; fr is smaller."""
        splits = [f"--{split}pref={self.folder / split}" for split in ("train", "valid", "test")]
        known = self.folder / "nmt" / "dict.en.txt"
        many, lone = self.folder / "many", ["--only-source", "--srcdict", known]
        for source, target in (("en", "de"), ("de", "en")):
            dictionaries = ["--srcdict", known, "--tgtdict", known]
            self.preprocess("-s", source, "-t", target, *dictionaries, *splits, "--destdir", many)
            self.preprocess(*lone, *[f"{split}.{source}" for split in splits], "--destdir", many / source)
        few = [f"--{split}pref={self.folder / 'test.en'}" for split in ("train", "valid", "test")]
        self.preprocess(*lone, *few, "--destdir", many / "fr")
        (many / "dict.txt").write_bytes(known.read_bytes())

    def preprocess(self, *arguments):
        done = self.commands.run("preprocess", *arguments)
        assert done.status == 0, done.err

    def place(self):
        """A path that no run has used."""
        self.count += 1
        return self.folder / str(self.count)

    def train(self, kind, side, given="", save=None, data=None, start=None):
        """Train and see.

        given: after the arguments of KINDS. data: a folder; None: the kind's own; or "". start: as for run().
        """
        save = save or self.place()
        parts = self.filled(f"{ARCHITECTURES[kind][side]} {KINDS[kind]} {given}", kind, side, save)
        if data != "":
            parts.insert(0, data or self.folder / kind)
        return self.run("train", *parts, "--save-dir", save, save=save, start=start)

    def evaluate(self, command, kind, side, given="", stdin=""):
        """Let the trained model do it and see. given: arguments that follow those of COMMANDS."""
        save = self.place()
        parts = self.filled(f"{COMMANDS[command, kind]} {given}", kind, side, save)
        return self.run(command, self.folder / kind, *parts, save=save, stdin=stdin.encode())

    def run(self, command, *arguments, save, stdin=b"", start=None):
        """start: what runs the command, and gives a Done; None: one process."""
        user_dir = ["--user-dir", ROOT / "mega_fairseq"]  # unless there is another among the arguments
        start = start or functools.partial(self.commands.run, stdin=stdin)
        return self.see(start(command, *user_dir, *arguments), save)

    def trained(self, kind, side):
        """The folder of a model that knows its text, trained once."""
        if (kind, side) not in self.models:
            self.models[kind, side] = save = self.place()
            enough = "--max-update 150 --save-interval 20 --log-format none"
            seen = self.train(kind, side, enough, save)
            assert seen.status == 0, seen.said
        return self.models[kind, side]

    def filled(self, given, kind, side, save):
        """Arguments with their places: {folder}, {save}, {trained-nmt}, {trained-lm} and {trained-KIND}."""
        given = given.replace("{trained-KIND}", f"{{trained-{kind}}}")
        for other in KINDS:
            if f"{{trained-{other}}}" in given:
                given = given.replace(f"{{trained-{other}}}", str(self.trained(other, side)))
        return given.replace("{folder}", str(self.folder)).replace("{save}", str(save)).split()

    def difference(self, row, run):
        """Run a row for both sides, and its base: both as seen, and what only one does.

        run: from side and arguments to what is seen. What only one does: "stock works" or "mega works"; or
        the aspects that the row's arguments move for one alone, and "unlike NAME" for those of SHAPES that
        are not the same for both. Empty: they are alike.
        """
        seen, moved = [], []
        for side in ("stock", "mega"):
            seen.append(run(side, f"{row.base} {row.given}"))
            if (run, side, row.base) not in self.bases:
                self.bases[run, side, row.base] = run(side, row.base)
            moved.append(seen[-1].moved(self.bases[run, side, row.base]))
        working = {
            f"{side} works" for side, one in zip(("stock", "mega"), seen, strict=True) if one.status == 0
        }
        if len(working) < 2:
            return seen, moved, working
        stock, mega = (one.aspects for one in seen)
        apart = {f"unlike {name}" for name in SHAPES if stock.get(name) != mega.get(name)}
        return seen, moved, apart | moved[0] ^ moved[1]

    def see(self, done, save):
        text = f"{done.out}\n{done.err}".replace(str(save), "SAVE")
        logged = [(tag, PASSING.sub("", values)) for tag, values in LOGGED.findall(text)]
        printed = [TIMES.sub("", line) for line in PRINTED.findall(text)]
        files = sorted(save.rglob("*")) if save.exists() else []
        aspects = {
            "files": [re.sub(r"(best_\w+_)[\d.]+\.", r"\1.", str(file.relative_to(save))) for file in files],
            "lines": [tag for tag, _ in logged],
            "fields": sorted({(tag, key) for tag, values in logged for key in keys(values)}),
            "values": [values for _, values in logged],
            "form": [re.split(r"[\d\t]", line)[0] for line in printed],
            "output": printed,
        }
        last = [file for file in files if file.name.startswith("checkpoint_last")]
        if last:
            state = torch.load(last[0], map_location="cpu", weights_only=True)
            aspects["checkpoint"] = sorted(state)
            aspects["extra"] = sorted(state["extra_state"])
            aspects["parameters"] = {
                name: tensor.double().sum().item() for name, tensor in state["model"].items()
            }
        return Seen(done.status, done.err if done.status else "", aspects)

    def close(self):
        self.commands.close()


def keys(values):
    """Those of a line of a JSON log; none of another."""
    try:
        return json.loads(values.replace(", }", "}"))
    except ValueError:
        return ()

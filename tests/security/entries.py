"""Everything that reads a checkpoint, tried with one under guard."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))

from forked import ROOT, Commands
from hostile import BUILT, LOADED, Kind
from trainings import SIZES, TEXT

from mega_fairseq.checkpoints.conversion import to_reference

MEMORY, SECONDS = 3 << 30, 60  # beside what the process begins with
MODULES = ["mega_fairseq", "fairseq_cli.train", "fairseq_cli.generate", "fairseq_cli.eval_lm"]
MODULES += [
    "fairseq_cli.validate",
    "fairseq_cli.interactive",
    "matplotlib.font_manager",
    "hydra.core",
    "torch._dynamo",
]
PAIR = ["-s", "en", "-t", "de"]
SHORT = ["--beam", "1", "--max-len-a", "0", "--max-len-b", "4", "--num-workers", "0"]
VALIDATION = ["--max-tokens", "200", "--num-workers", "0"]
TEST = ["--gen-subset", "test", "--num-workers", "0"]
TRAINING = ["--optimizer", "adam", "--max-tokens", "200", "--num-workers", "0", "--no-epoch-checkpoints"]
NMT = [*PAIR, "--arch", "mega_nmt_tiny", *SIZES, *TRAINING]
STOCK = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in ("embed-dim", "ffn-embed-dim")]
STOCK = [part for flag in STOCK for part in (flag, "16")]
LM = ["--task", "language_modeling", "--arch", "mega_lm_tiny", *TRAINING]
LM += [part.replace("encoder", "decoder") for part in SIZES] + ["--tokens-per-sample", "64"]


class Entry(NamedTuple):
    """family: whose checkpoint it takes; builds: whether it makes the model that the file describes."""

    family: str
    builds: bool
    command: Callable[[Path, Path, Path], list[Any]]  # from data, checkpoint and the folder to work in


def script(name: str) -> str:
    return str(ROOT / "scripts" / f"{name}.py")


def training(flag: str) -> Callable[[Path, Path, Path], list[Any]]:
    ends = ["--max-update", "3", "--disable-validation"]
    return lambda data, path, work: [
        *("mega-train", data, *NMT, *ends, flag, path),
        *("--save-dir", work / "save"),
    ]


ENTRIES = {
    "train --restore-file": Entry("nmt", False, training("--restore-file")),
    "train --finetune-from-model": Entry("nmt", False, training("--finetune-from-model")),
    "generate": Entry("nmt", True, lambda d, p, w: ["mega-generate", d, *PAIR, "--path", p, *SHORT]),
    "interactive": Entry("nmt", True, lambda d, p, w: ["mega-interactive", d, *PAIR, "--path", p, *SHORT]),
    "validate": Entry(
        "nmt",
        True,
        lambda d, p, w: ["mega-validate", d, "--task", "translation", "--path", p, *VALIDATION],
    ),
    "hub of translation": Entry(
        "nmt", True, lambda d, p, w: [Path(__file__).with_name("hub.py"), "MegaNMT", p, d]
    ),
    "average_checkpoints.py": Entry(
        "nmt", False, lambda d, p, w: [script("average_checkpoints"), "--inputs", p, "--output", w / "a.pt"]
    ),
    "plot_ema.py": Entry("nmt", False, lambda d, p, w: [script("plot_ema"), p, "--out", w / "ema.svg"]),
    "plot_attention.py": Entry(
        "nmt",
        True,
        lambda d, p, w: [
            *(script("plot_attention"), d, *PAIR, "--path", p, "--source", "red dog"),
            *("--target", "red", "--out", w / "attention.svg"),
        ],
    ),
    "convert_reference_checkpoint.py": Entry(
        "reference", False, lambda d, p, w: [script("convert_reference_checkpoint"), p, w / "ours.pt"]
    ),
    "convert_reference_checkpoint.py --reverse": Entry(
        "nmt", False, lambda d, p, w: [script("convert_reference_checkpoint"), "--reverse", p, w / "r.pt"]
    ),
    "eval-lm": Entry("lm", True, lambda d, p, w: ["mega-eval-lm", d, "--path", p, *TEST]),
    "perplexity.py": Entry("lm", True, lambda d, p, w: [script("perplexity"), d, "--path", p, *TEST]),
    "hub of language models": Entry(
        "lm", True, lambda d, p, w: [Path(__file__).with_name("hub.py"), "MegaLM", p, d]
    ),
}


class Guarded:
    """Honest checkpoints, and attempts with hostile ones; close it at the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "io").mkdir()
        self.commands = Commands(folder / "io", MODULES)
        self.states: dict[str, dict[str, Any]] = {}
        for split in ("train", "valid", "test"):
            for language in ("en", "de"):
                (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in TEXT))
        prefixes = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
        self.must("preprocess", *PAIR, "--joined-dictionary", *prefixes, "--destdir", folder / "nmt")
        texts = [f"{prefix}.en" for prefix in prefixes]
        self.must("preprocess", "--only-source", *texts, "--destdir", folder / "lm")
        for family, options in {"nmt": NMT, "lm": LM}.items():
            save = ["--save-dir", folder / f"{family}-model", "--max-update", "2"]
            self.must("mega-train", folder / family, *options, *save)
            path = folder / f"{family}-model" / "checkpoint_last.pt"
            self.states[family] = torch.load(path, weights_only=True)
        stock = ["--arch", "transformer", *STOCK, *PAIR, *TRAINING, "--max-update", "1"]
        self.must("mega-train", folder / "nmt", *stock, "--save-dir", folder / "stock-model")
        self.stock = torch.load(folder / "stock-model" / "checkpoint_last.pt", weights_only=True)
        self.states["reference"] = {**to_reference(self.states["nmt"]), "optimizer_history": []}

    def must(self, command: str, *arguments: Any) -> None:
        done = self.commands.run(command, *arguments)
        assert done.status == 0, done.err

    def attempt(self, entry: str, kind: Kind, folder: Path) -> tuple[int, str]:
        """The exit status and the last line of errors. Raises AssertionError where anything got out."""
        family, _, command = ENTRIES[entry]
        work, path = folder / "work", folder / "hostile.pt"
        work.mkdir()
        path.write_bytes(kind.make(self.states[family], folder))
        data = self.folder / ("lm" if family == "lm" else "nmt")
        before = sorted(folder.iterdir())
        told = self.commands.folder / "3"
        done = self.commands.run(
            *map(str, command(data, path, work)),
            stdin=b"red dog\n",
            memory=MEMORY,
            seconds=SECONDS,
            place=str(work),
        )
        left = told.read_text()
        assert left == "", left
        assert sorted(folder.iterdir()) == before, "something was written beside the working folder"
        assert "owned" not in done.out.splitlines()
        assert done.status >= 0, f"killed by signal {-done.status}"
        lines = done.err.strip().splitlines() or [""]
        if done.status:
            assert "Traceback" not in done.err, done.err
            assert path.name in lines[-1] and len(lines[-1]) < 800, lines[-1]
        return done.status, lines[-1]

    def close(self) -> None:
        self.commands.close()


def expected(entry: str, kind: Kind) -> Iterator[int]:
    """The exit statuses that are right; a conversion may refuse what others ignore."""
    refuses = kind.refused == LOADED or (kind.refused == BUILT and ENTRIES[entry].builds)
    yield 1 if refuses else 0
    if "convert" in entry and not refuses:
        yield 1

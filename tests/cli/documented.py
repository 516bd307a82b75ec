"""The commands of the documentation, and for each how it is tested."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
DOCUMENTS += sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])


class Command(NamedTuple):
    """A shell command, with the document's variables before it, or a block of Python.

    words: the command without comments, line breaks and quotes.
    """

    where: str
    text: str
    words: str
    python: bool


def commands(text, where):
    """Those of a document's fenced blocks, in order. Raises ValueError for a block of an unknown language."""
    found, variables, blocks = [], [], re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if text.count("```") != 2 * len(blocks):
        raise ValueError(f"{where}: a fence is left open or indented")
    for language, block in blocks:
        if language == "python":
            found.append(Command(where, block, block, True))
        elif language in ("", "bash", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = " ".join(shlex.split(line, comments=True))
                if re.fullmatch(r"[A-Z]+=\S+", words):
                    variables.append(line)
                elif words:
                    found.append(Command(where, "\n".join([*variables, line]), words, False))
        elif language not in ("math", "mermaid"):
            raise ValueError(f"{where}: a block of {language}; teach tests/cli/documented.py to run it")
    return found


def documented():
    """All commands of all documents."""
    return [
        command
        for path in DOCUMENTS
        for command in commands(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]


class Run(NamedTuple):
    """Run as it stands in the `place` nmt or lm, whose files are those of the commands before it.

    extra: arguments that its programs get besides; first: a command that fetches what a user would have;
    makes: files that it writes; prints: a pattern that it prints.
    """

    place: str
    extra: str = ""
    first: str = ""
    makes: str = ""
    prints: str = ""


class Covered(NamedTuple):
    """Run by another test, file::name, whose file has every part of the program's path and every option."""

    test: str


class Make(NamedTuple):
    """`make` says that it would run this program with options that it knows; other tests run the program."""

    program: str


class Pinned(NamedTuple):
    """Would download what is installed: the versions are those of requirements.txt and installed ones."""


class Impossible(NamedTuple):
    """Cannot be run by a test, for this reason."""

    reason: str


QUICK = "--num-workers 0 --log-format json"
NMT = "--encoder-embed-dim 16 --encoder-hidden-dim 16 --encoder-ffn-embed-dim 16 --encoder-z-dim 8 "
NMT += f"--encoder-n-dim 2 --encoder-layers 1 --warmup-updates 2 {QUICK}"
LM = "--decoder-embed-dim 16 --decoder-hidden-dim 16 --decoder-ffn-embed-dim 16 --decoder-z-dim 8 "
LM += f"--decoder-n-dim 2 --decoder-layers 1 --decoder-chunk-size 16 --warmup-updates 2 {QUICK}"
HYDRA = "optimization.max_update=1 dataset.num_workers=0 checkpoint.no_epoch_checkpoints=true"
BASE = (
    f"{HYDRA} model.encoder_embed_dim=16 model.encoder_layers=1 distributed_training.distributed_world_size=1"
)
TRANSLATIONS = r"(?m)^H-\d+\t"
WMT16_DATA = "examples/wmt16/data/data-bin"
PLOT = "mega-plot"
REFERENCE = "mega-convert"
RECIPES = "tests/cli/test_recipes.py::test_recipe"
WMT16 = "tests/cli/test_wmt16.py::test_prepare_train_evaluate"
SEVERAL = "torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint"
TRAIN = "--no-python fairseq-train data-bin --user-dir mega_fairseq --arch mega_nmt_wmt_en_de "
TRAIN += "--save-dir /shared/distributed"
SLURM = f"srun --nodes 2 --ntasks-per-node 1 --gpus-per-node 8 {SEVERAL} "
SLURM += f"$(scontrol show hostnames | head -1):29500 --rdzv-id $SLURM_JOB_ID {TRAIN}"
SEVERAL += f" $HOST:29500 --rdzv-id mega {TRAIN}"

# The beginning of a command's words, and how it is tested.
HOW = {
    # README.md: translation
    "fairseq-preprocess --source-lang en": Run(
        "nmt", makes="data-bin/dict.en.txt data-bin/test.en-de.de.idx"
    ),
    "fairseq-train data-bin --user-dir mega_fairseq --arch mega_nmt_wmt_en_de": Run(
        "nmt",
        extra=f"{NMT} --max-epoch 5 --max-tokens 300",
        makes="checkpoints/checkpoint5.pt checkpoints/checkpoint_best.pt",
    ),
    "fairseq-generate data-bin --user-dir mega_fairseq --path": Run(
        "nmt", extra="--max-len-b 9", prints=TRANSLATIONS
    ),
    "from mega_fairseq.models import MegaNMT\n": Run("nmt"),
    "mega-average": Run("nmt", prints="average of 5 checkpoints"),
    "fairseq-generate data-bin --user-dir mega_fairseq --path average.pt": Run(
        "nmt", extra="--max-len-b 9", makes="mega.txt"
    ),
    "mega-score --hypotheses mega.txt": Run("nmt", prints="BLEU[^|]*nrefs:1"),
    "mega-score --hypotheses transformer.txt": Run(
        "nmt", first="cp mega.txt transformer.txt", extra="--samples 20", prints="p = |p-value"
    ),
    # README.md: language models
    "fairseq-preprocess --only-source": Run("lm", makes="data-bin/dict.txt data-bin/test.idx"),
    "fairseq-train data-bin --user-dir mega_fairseq --task mega_language_modeling": Run(
        "lm", extra=f"{LM} --max-update 4", makes="checkpoints/checkpoint_best.pt"
    ),
    "fairseq-eval-lm": Run("lm", prints="Perplexity: "),
    "mega-perplexity": Run("lm", prints="blocks +10\nchunk +16\n"),
    "echo The king | fairseq-interactive": Run("lm", prints=TRANSLATIONS),
    "from mega_fairseq.models import MegaLM\n": Run("lm"),
    # README.md: pictures, the reference's checkpoints, hydra
    f"{PLOT} training": Run(
        "nmt", first="cp fairseq-train.out checkpoints/train.log", makes="curves.png curves.svg"
    ),
    f"{PLOT} ema": Run("nmt", makes="ema.png ema.svg"),
    f"{PLOT} attention": Run("nmt", extra="--max-len-b 9", makes="attention.png attention.svg"),
    f"{REFERENCE} theirs.pt ours.pt": Run(
        "nmt", first=f"{REFERENCE} --reverse checkpoints/checkpoint_best.pt theirs.pt", makes="ours.pt"
    ),
    f"{REFERENCE} --reverse ours.pt theirs.pt": Run("nmt", makes="theirs.pt"),
    "mega-hydra-train --config-dir mega_fairseq/configs": Run(
        "nmt", extra=HYDRA, makes="outputs/*/*/checkpoints/checkpoint_last.pt"
    ),
    # docs
    f"{REFERENCE} --reverse ours.pt again.pt": Run("nmt", makes="again.pt"),
    "fairseq-train data-bin --user-dir mega_fairseq --arch mega_nmt_wmt_en_de --share-all-embeddings "
    "--truncation-length": Run(
        "nmt", extra=f"{NMT} --max-update 2 --save-dir tuned", makes="tuned/checkpoint_last.pt"
    ),
    "torchrun --standalone": Run(
        "nmt",
        extra=f"{NMT} --max-update 2",
        makes="distributed/checkpoint_last.pt",
        prints="training on 2 dev",
    ),
    SEVERAL: Impossible("it needs two machines; tests/cli/test_processes.py joins two launchers on one"),
    SLURM: Impossible("it needs Slurm"),
    "for i in 0 1; do fairseq-generate": Run("nmt", extra="--max-len-b 9", makes="shard0.txt shard1.txt"),
    "cat shard0.txt shard1.txt > shards.txt": Run("nmt", makes="shards.txt"),
    "mega-score --hypotheses shards.txt": Run("nmt", prints="BLEU[^|]*nrefs:1"),
    "from argparse import Namespace\n": Run("nmt"),
    "python docs/pictures/draw_layer.py": Run("nmt", extra="layer.png", makes="layer.png"),
    # recipes
    ".venv/bin/python examples/wmt16/prepare.py": Covered(WMT16),
    "examples/wmt16/train.sh $DATA": Covered(WMT16),
    "examples/wmt16/evaluate.sh $DATA": Covered(WMT16),
    ".venv/bin/mega-hydra-train --config-dir examples/wmt16": Run(
        "nmt",
        first=f"mkdir -p {WMT16_DATA} && cp -r data-bin {WMT16_DATA}/en-de.sentencepiece-32000",
        extra=BASE,
        makes="checkpoints/wmt16/checkpoint_last.pt",
    ),
    ".venv/bin/python examples/wikitext103/prepare.py": Covered(RECIPES),
    "examples/wikitext103/train.sh": Covered(RECIPES),
    "examples/wikitext103/evaluate.sh": Covered(RECIPES),
    ".venv/bin/python examples/enwik8/prepare.py": Covered(RECIPES),
    "examples/enwik8/train.sh": Covered(RECIPES),
    "examples/enwik8/evaluate.sh": Covered(RECIPES),
    # make, git and pip
    "make quickstart": Make("examples/quickstart/run.py"),
    "make quickstart-lm": Make("examples/quickstart/lm.py"),
    "make test": Make("pytest"),
    "make lint": Make("shellcheck"),
    "make format": Make("ruff"),
    "git clone <this repository> mega && cd mega": Impossible("it has no address yet"),
    "pip install torch==": Pinned(),
    "pip uninstall -y torchaudio": Impossible("it changes the environment that the tests run in"),
    "pip install -e .": Impossible("it changes the environment that the tests run in"),
}


def chosen(words):
    """The longest beginning in HOW that fits a command, or None."""
    return max((begin for begin in HOW if words.startswith(begin)), key=len, default=None)

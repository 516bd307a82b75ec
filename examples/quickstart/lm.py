"""The language model quickstart: characters of Python's own reference, bits per character and samples."""

import argparse
import json
import pydoc_data.topics
import re
import shlex
import shutil
import sys
import time
import zlib
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import commands
import session
from session import USER_DIR, WORK
from stage import StageError, ensure, fingerprint, say

SPLITS = {"test": 5, "valid": 5}  # per cent of the topics; the rest is for training
TRAIN = shlex.split("""
    --task mega_language_modeling --chunk-multiples 2,6 --valid-blocks 8 --max-tokens 1536 --dropout 0.1
    --share-decoder-input-output-embed --criterion mega_cross_entropy
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
    --lr 6e-3 --lr-scheduler inverse_sqrt --warmup-updates 200
""")
SAMPLE = shlex.split(
    "--beam 1 --sampling --sampling-topp 0.9 --temperature 0.8 --max-len-a 1 --max-len-b 300"
)
PROMPT = 80  # characters


def parse(argv: list[str]) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    return session.parse(session.parser(__doc__, arch="mega_lm_tiny", minutes=6.0, updates=4000), argv)


def quickstart(options: argparse.Namespace) -> None:
    """The stages in order. Raises StageError where one cannot be done."""
    start, base = time.monotonic(), WORK / "lm"
    text, binary = base / "text", base / "data-bin"
    if options.fresh:
        for directory in (text, binary):
            shutil.rmtree(directory, ignore_errors=True)
    topics = pydoc_data.topics.topics
    made = ensure("text", text, fingerprint(topics), partial(write_text, topics))
    data = ensure("data-bin", binary, made, partial(preprocess, text))
    model = session.train(options, base, data, TRAIN, [])
    report(text, binary, model, options.seed)
    session.draw(model, options.arch)
    say(f"Done in {(time.monotonic() - start) / 60:.1f} minutes. The same command shows the result again.")


def write_text(topics: dict[str, str], directory: Path) -> None:
    """Each topic in the split that a hash of its name chooses: as it is, and in separate characters."""
    splits: dict[str, list[str]] = {"train": [], **{split: [] for split in SPLITS}}
    for name, content in sorted(topics.items()):
        place = zlib.crc32(name.encode()) % 100
        split = "test" if place < SPLITS["test"] else "valid" if place < sum(SPLITS.values()) else "train"
        splits[split].append(content.strip("\n") + "\n\n")
    for split, contents in splits.items():
        (directory / f"{split}.txt").write_text("".join(contents), encoding="utf-8")
        lines = ("".join(contents)).removesuffix("\n").split("\n")
        (directory / split).write_text("".join(to_pieces(line) + "\n" for line in lines), encoding="utf-8")


def to_pieces(line: str) -> str:
    """Characters as fairseq's words; a space is written as a lower block, as sentencepiece does."""
    return " ".join(line.replace(" ", "\u2581"))


def to_text(pieces: str) -> str:
    """The inverse of `to_pieces`."""
    return pieces.replace(" ", "").replace("\u2581", " ")


def preprocess(text: Path, directory: Path) -> None:
    """Turn the characters into fairseq's binary data."""
    splits = [part for split in ("train", *SPLITS) for part in (f"--{split}pref", text / split)]
    log = directory / "preprocess.log"  # fairseq's own name; its times would make equal data look different
    commands.run(commands.fairseq("preprocess", "--only-source", "--destdir", directory, *splits), log)
    log.unlink()


def report(text: Path, binary: Path, model: Path, seed: int) -> None:
    """Print bits per character on the test split, all of it as one block, and three samples."""
    checkpoint, log = model / "checkpoint_best.pt", model / "report.log"
    shown, found = model / "perplexity.json", model / "samples.txt"
    for file in (shown, found):
        file.unlink(missing_ok=True)
    whole = ["--gen-subset", "test", "--tokens-per-sample", "1000000", "--text", text / "test.txt", "--json"]
    python, script = commands.fairseq("eval_lm")[0], "scripts/perplexity.py"
    command = [python, script, *map(str, [binary, "--path", checkpoint, *whole])]
    commands.run(command, log, shown)
    where = [binary, "--user-dir", USER_DIR, "--task", "language_modeling", "--path", checkpoint]
    prompts = model / "prompts.txt"
    lines = (text / "test.txt").read_text(encoding="utf-8").split("\n")
    lines = [line for line in lines if len(line) > 60 and line[0].isalpha()]
    chosen = [lines[len(lines) * i // 3][:PROMPT] for i in range(3)]
    prompts.write_text("".join(to_pieces(prompt) + "\n" for prompt in chosen), encoding="utf-8")
    command = commands.fairseq("interactive", *where, *SAMPLE, "--seed", seed, "--input", prompts)
    commands.run(command, log, found)
    texts = re.findall(r"^H-\d+\t\S+\t(.*)$", found.read_text(encoding="utf-8"), re.M)
    if len(texts) != len(chosen):
        raise StageError(f"{len(chosen)} prompts gave {len(texts)} samples; see {log}")
    say("\nThree beginnings of lines that the model has not seen, and how it goes on:")
    for prompt, sample in zip(chosen, map(to_text, texts), strict=True):
        say(f"\n  {prompt}|{sample[len(prompt) :]}")
    result = json.loads(shown.read_text(encoding="utf-8"))
    bits, read = result["bits_per_character"], f"{result['blocks']} block in chunks of {result['chunk']}"
    say(f"\n{bits:.3f} bits per character on {result['tokens']:,} characters of the test split, {read}")
    say(f"Model: {checkpoint}")


if __name__ == "__main__":
    sys.exit(session.main(quickstart, parse(sys.argv[1:])))

"""WMT'16 English-German: download, text, joint subwords, cleaning, binary data. Whole stages are skipped."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import cleaning
import commands
import corpora
import lines
import running
import subwords
from corpora import COUNTS, DIRECTIONS, LANGUAGES, SETS
from running import positive
from stage import StageError, ensure, read_json, say, write_json, writing


def main(argv: list[str] | None = None) -> int:
    """Make the data; the exit status."""
    return running.in_order("prepare", partial(prepare, parse(argv)))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--direction", choices=DIRECTIONS, default="en-de", help="source and target")
    add("--out", type=Path, default=Path("examples/wmt16/data"), help="folder for everything")
    add("--mirror", help="folder or URL that holds the archives instead")
    add("--bpe", choices=subwords.KINDS, default="sentencepiece", help="what cuts words")
    add("--bpe-size", type=positive, default=32000, help="pieces, or merges of subword-nmt")
    add("--workers", type=positive, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(argv)
    if set(",:") & set(str(options.out)):
        parser.error(
            f"--out {options.out} has a comma or colon, where fairseq cuts names; choose another folder"
        )
    return options


def prepare(options: argparse.Namespace) -> None:
    """Every stage whose output is not whole. Raises StageError where one cannot be done."""
    subwords.check(options.bpe)
    with running.alone(options.out, "prepare.py"):
        _prepare(options)


def _prepare(options: argparse.Namespace) -> None:
    out, kind = options.out, subwords.KINDS[options.bpe]
    cut = f"{options.bpe}-{options.bpe_size}"
    raw, text, plain, pieces = out / "raw", out / "text", out / kind.folder, out / cut
    binary = out / "data-bin" / f"{options.direction}.{cut}"

    sums = corpora.fetch_all(out / "download", options.mirror)
    made = ensure("raw", raw, sums, partial(corpora.write_raw, out / "download"))
    made = ensure("text", text, made, partial(corpora.write_text, raw))
    moses = [made, version("sacremoses")]
    made = ensure(kind.folder, plain, moses, partial(write_plain, options, text))
    limits = [cleaning.SHORTEST, cleaning.LONGEST, cleaning.RATIO]
    settings = [made, cut, version(options.bpe), limits]
    made = ensure("subwords", pieces, settings, partial(write_pieces, options, plain))
    ensure("data-bin", binary, [made, options.direction], partial(preprocess, options, text, pieces))

    table = count_table({"text": text, kind.folder: plain, "subwords": pieces})
    with writing(out / "counts.txt") as file:
        file.write(f"{table}\n".encode())
    say(f"\n{table}\n\nData: {binary}")


def write_plain(options: argparse.Namespace, text: Path, directory: Path) -> None:
    """Normalise, and for subword-nmt tokenise, every file of `text`."""
    work = subwords.KINDS[options.bpe].prepare
    with running.workers(options.workers) as pool:
        rows = []
        for name in names():
            for lang in LANGUAGES:
                file = f"{name}.{lang}"
                rows.append(
                    [name, *lines.transform(partial(work, lang), text / file, directory / file, pool)]
                )
    write_json(directory / COUNTS, paired(rows))


def write_pieces(options: argparse.Namespace, plain: Path, directory: Path) -> None:
    """Learn joint subwords of the training text, cut every file, and drop training pairs of odd length."""
    kind = subwords.KINDS[options.bpe]
    model = directory / kind.model
    texts = [plain / f"train.{lang}" for lang in LANGUAGES]
    work = partial(kind.encode, model)
    rows = []
    with running.workers(options.workers) as pool:
        pool.submit(kind.learn, texts, options.bpe_size, model).result()  # no signal would end it here
        for name in names():
            for lang in LANGUAGES:
                source = plain / f"{name}.{lang}"
                target = directory / (f"all.{lang}" if name == "train" else source.name)
                rows.append([name, *lines.transform(work, source, target, pool)])
    every, *others = paired(rows)
    kept = clean(directory)
    write_json(directory / COUNTS, [["train, all", *every[1:]], ["train", *kept], *others])


def clean(directory: Path) -> list[int]:
    """Write train.{en,de} of the pairs of all.{en,de}, which goes, that are worth training; their counts.

    Raises StageError where there are none.
    """
    files = tuple(directory / f"all.{lang}" for lang in LANGUAGES)
    count, english, german = 0, 0, 0
    with writing(directory / "train.en") as one, writing(directory / "train.de") as other:
        for pair in lines.pairs(files):
            if cleaning.worth_training(*pair):
                one.write(f"{pair[0]}\n".encode())
                other.write(f"{pair[1]}\n".encode())
                count += 1
                english, german = english + lines.tokens(pair[0]), german + lines.tokens(pair[1])
    if not count:
        raise StageError(
            f"no training pair has {cleaning.SHORTEST} to {cleaning.LONGEST} subwords on both sides and a "
            f"ratio of at most {cleaning.RATIO}; check the archives, or choose another --bpe-size"
        )
    for file in files:
        file.unlink()
    return [count, english, german]


def preprocess(options: argparse.Namespace, text: Path, pieces: Path, directory: Path) -> None:
    """Make fairseq's binary data with one dictionary; references and subword model lie beside it."""
    direction = options.direction
    source, target = direction.split("-")
    tests = [split for split in SETS if split.startswith("test")]
    where = {split: str(pieces / f"{split}.{direction}") for split in SETS}
    flags = ["--source-lang", source, "--target-lang", target, "--joined-dictionary"]
    flags += ["--trainpref", pieces / "train", "--validpref", where["valid"]]
    flags += ["--testpref", ",".join(where[split] for split in tests)]
    log = directory / "preprocess.log"  # fairseq's own name; its times would make equal data look different
    place = ["--destdir", directory, "--workers", options.workers]
    commands.run(commands.fairseq("preprocess", *flags, *place), log)
    log.unlink()
    for split in tests:
        shutil.copyfile(text / f"{split}.{direction}.{target}", directory / f"reference.{split}")
    model = subwords.KINDS[options.bpe].model
    shutil.copyfile(pieces / model, directory / model)


def names() -> Iterator[str]:
    """What the texts are called before the language."""
    yield "train"
    yield from (f"{split}.{direction}" for split in SETS for direction in DIRECTIONS)


def paired(rows: list[list]) -> list[list]:
    """(name, lines, English tokens, German tokens) of neighbouring rows (name, lines, tokens)."""
    made = []
    for (name, count, english), (_, other, german) in zip(rows[::2], rows[1::2], strict=True):
        assert count == other, f"{name} has {count} English and {other} German lines"
        made.append([name, count, english, german])
    return made


def count_table(stages: dict[str, Path]) -> str:
    """Lines and tokens (what stands between spaces) of each text after each stage."""
    rows = [["stage", "text", "lines", "English tokens", "German tokens"]]
    for title, directory in stages.items():
        for name, *numbers in read_json(directory / COUNTS):
            rows.append([title, name, *(f"{number:,}" for number in numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{'<' if column < 2 else '>'}{widths[column]}}" for column, cell in enumerate(row))
        for row in rows
    )


if __name__ == "__main__":
    sys.exit(main())

"""What the language model recipes share: an archive's texts, cut into fairseq's words, made binary."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import commands
import fetch
import running
from stage import digest, ensure, say

SPLITS = ("train", "valid", "test")


def main(
    description: str,
    archive: str,
    urls: list[str],
    sha256: str,
    write: Callable[[Path, Path], None],
    default: str,
) -> int:
    """Fetch, write the splits' texts with `write(archive, directory)`, preprocess; the exit status."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(default), help="folder for everything")
    parser.add_argument("--mirror", help="folder or URL that holds the archive instead")
    parser.add_argument("--workers", type=running.positive, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    return running.in_order("prepare", partial(prepare, options, archive, urls, sha256, write))


def prepare(options: argparse.Namespace, archive: str, urls: list[str], sha256: str, write) -> None:
    """Every stage whose output is not whole. Raises StageError where one cannot be done."""
    with running.alone(options.out, "prepare.py"):
        got = fetch.fetch(archive, urls, sha256, options.out / "download", options.mirror)
        made = ensure("text", options.out / "text", digest(got), partial(write, got))
        ensure("data-bin", options.out / "data-bin", made, partial(preprocess, options))
    say(f"Data: {options.out / 'data-bin'}")
    say(f"Original text of the test split: {options.out / 'text' / 'test.txt'}")


def preprocess(options: argparse.Namespace, directory: Path) -> None:
    """Turn the splits' words into fairseq's binary data."""
    splits = [part for split in SPLITS for part in (f"--{split}pref", options.out / "text" / split)]
    log = directory / "preprocess.log"  # fairseq's own name; its times would make equal data look different
    arguments = ["--only-source", *splits, "--destdir", directory, "--workers", options.workers]
    commands.run(commands.fairseq("preprocess", *arguments), log)
    log.unlink()

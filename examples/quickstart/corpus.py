"""Parallel text out of a wheel of the Python index: download, extract, clean, split."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stage import StageError, digest, say

REQUIREMENT = Path(__file__).with_name("wheel.txt")
WHEEL = "homeassistant-2024.3.3-py3-none-any.whl"
TRANSLATION = re.compile(r"homeassistant/components/([^/]+)/translations/([^/.]+)\.json")
SPLITS = ("train", "valid", "test")
HELD_OUT = 0.04  # share of the sources in each of valid and test
MAX_CHARACTERS = 300
MIN_PAIRS = 1000

Pair = tuple[str, str]


def expected_digest(requirement: Path = REQUIREMENT) -> str:
    """The SHA-256 that the requirement file demands of the wheel."""
    return re.search(r"sha256:([0-9a-f]{64})", requirement.read_text(encoding="utf-8"))[1]


def fetch_wheel(directory: Path) -> Path:
    """The wheel inside `directory`, downloaded by pip unless it is there with the right hash.

    Raises StageError when pip cannot download it or the index serves something else.
    """
    wheel = directory / WHEEL
    if wheel.exists():
        if digest(wheel) == expected_digest():
            say(f"wheel: already in {directory}")
            return wheel
        say(f"wheel: {wheel} is damaged; downloading it again")
        wheel.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    pip += ["--python-version", "3.12", "--require-hashes", "-r", str(REQUIREMENT)]  # what the wheel asks for
    pip += ["--disable-pip-version-check", "--retries", "2", "--timeout", "20", "-d", str(directory)]
    say(f"wheel: into {directory}")
    result = subprocess.run(pip, stderr=subprocess.PIPE, text=True)  # the progress bar is on stdout
    if result.returncode or not wheel.exists():
        log = directory / "pip.log"
        log.write_text(result.stderr, encoding="utf-8")
        if "DO NOT MATCH THE HASHES" in result.stderr:
            raise StageError(
                f"the index served a {WHEEL} with another hash than {REQUIREMENT.name}'s ({log})"
            )
        raise StageError(
            f"could not download {WHEEL} from the Python package index: check the network and try again, "
            f"or put the file into {directory} yourself (pip's own words are in {log})"
        )
    if digest(wheel) != expected_digest():
        raise StageError(f"{wheel} does not have the hash that {REQUIREMENT.name} names; try again")
    return wheel


def flatten(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every string of nested dictionaries with the keys that lead to it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, (*path, key))
        elif isinstance(value, str):
            yield (*path, key), value


def translation_files(archive: zipfile.ZipFile, lang: str) -> list[tuple[str, str]]:
    """The names of the (English, `lang`) files of every component that has both.

    Raises StageError, listing the languages there are, unless half of the components speak `lang`.
    """
    files: dict[str, dict[str, str]] = defaultdict(dict)  # language -> component -> file name
    for name in archive.namelist():
        if match := TRANSLATION.fullmatch(name):
            files[match[2]][match[1]] = name
    english = files.pop("en", {})
    enough = sorted(language for language in files if 2 * len(files[language]) >= len(english))
    if lang not in enough:
        raise StageError(f"no (or too little) text in {lang!r}; choose a language of {', '.join(enough)}")
    return [(english[component], name) for component, name in files[lang].items() if component in english]


def check_language(wheel: Path, lang: str) -> None:
    """Raise StageError, listing the languages there are, unless the wheel holds enough of `lang`."""
    with zipfile.ZipFile(wheel) as archive:
        translation_files(archive, lang)


def extract(wheel: Path, lang: str) -> list[Pair]:
    """(English, `lang`) strings that have the same key in the same component, in the order of the wheel.

    Raises StageError, listing the languages there are, unless the wheel holds enough of `lang`.
    """
    pairs = []
    with zipfile.ZipFile(wheel) as archive:
        for names in translation_files(archive, lang):
            sources, targets = (dict(flatten(json.loads(archive.read(name)))) for name in names)
            pairs += [(sources[key], targets[key]) for key in sources if key in targets]
    return pairs


def clean(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs worth learning, sorted: one line each, letters on both sides, translated, and not very long.

    Of several translations of one source the most frequent stays; so do placeholders such as {name}.
    """
    translations: dict[str, Counter[str]] = defaultdict(Counter)
    for pair in pairs:
        source, target = (" ".join(side.split()) for side in pair)
        if source != target and all(_is_text(side) for side in (source, target)):
            translations[source][target] += 1
    pairs = sorted(translations.items())
    return [(source, min(found, key=lambda target: (-found[target], target))) for source, found in pairs]


def _is_text(line: str) -> bool:
    return len(line) <= MAX_CHARACTERS and any(character.isalpha() for character in line)


def split_of(source: str) -> str:
    """The split a source belongs to, by a hash of its lower-case letters and digits only.

    Sources that differ in case, spaces or punctuation alone thus stand in one split.
    """
    letters = "".join(filter(str.isalnum, source.lower()))
    share = int.from_bytes(hashlib.sha256(letters.encode()).digest()[:8], "big") / 2**64
    if share < HELD_OUT:
        return "test"
    return "valid" if share < 2 * HELD_OUT else "train"


def write_text(wheel: Path, lang: str, directory: Path) -> None:
    """Write {train,valid,test}.{en,LANG}, one sentence a line, and tell how much there is.

    Raises StageError for a language with too little text.
    """
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for pair in clean(extract(wheel, lang)):
        splits[split_of(pair[0])].append(pair)
    if len(splits["train"]) < MIN_PAIRS or not splits["valid"] or not splits["test"]:
        raise StageError(f"only {len(splits['train'])} sentences to learn {lang} from; choose another")
    for split, pairs in splits.items():
        for column, language in enumerate(("en", lang)):
            lines = "".join(pair[column] + "\n" for pair in pairs)
            (directory / f"{split}.{language}").write_text(lines, encoding="utf-8")
        words = sum(len(source.split()) for source, _ in pairs) / len(pairs)
        say(f"  {split:5} {len(pairs):6,} pairs, {words:.1f} English words each")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; only a line feed ends one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")

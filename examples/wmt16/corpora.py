"""WMT'16 English-German: the archives, what is taken out of them, and plain text of it, line by line."""

import html
import re
from itertools import product, zip_longest
from pathlib import Path
from typing import NamedTuple

import fetch
import lines
from stage import StageError, digest, write_json, writing

LANGUAGES = ("en", "de")
DIRECTIONS = ("en-de", "de-en")
COUNTS = "counts.json"  # rows of (name, lines, English tokens, German tokens)
LIMIT = 1 << 30  # bytes of a member; the largest text has some 400 MB
SEGMENT = re.compile(r"<doc\b([^>]*)>|<seg\b([^>]*)>(.*?)</seg\s*>", re.DOTALL | re.IGNORECASE)
NAME = re.compile(r"""\b(?:docid|id)\s*=\s*(["']?)(.*?)\1(?=\s|$)""", re.DOTALL | re.IGNORECASE)


class Archive(NamedTuple):
    """SHA-256s as in TensorFlow Datasets' list, MD5s as in sacreBLEU's."""

    url: str
    checksum: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


WMT13, WMT16 = "https://www.statmt.org/wmt13", "https://data.statmt.org/wmt16/translation-task"
TRAINING = {  # name -> archive, and what its members are called before the language
    "europarl-v7": (
        Archive(
            f"{WMT13}/training-parallel-europarl-v7.tgz",
            "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
        ),
        "training/europarl-v7.de-en",
    ),
    "commoncrawl": (
        Archive(
            f"{WMT13}/training-parallel-commoncrawl.tgz",
            "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
        ),
        "commoncrawl.de-en",
    ),
    "news-commentary-v11": (
        Archive(
            f"{WMT16}/training-parallel-nc-v11.tgz",
            "cfe8ab047e05043476e498ee765c98e939c7b7d6d294e856344c84476b619d6a",
        ),
        "training-parallel-nc-v11/news-commentary-v11.de-en",
    ),
}
NEWS = (  # each holds some of the test sets, as dev/ or test/
    Archive(f"{WMT16}/dev.tgz", "md5:4a3dc2760bb077f4308cce96b06e6af6"),
    Archive(f"{WMT16}/test.tgz", "md5:3d809cd0c2c86adb2c67034d15c4e446"),
)
SETS = {  # fairseq's split -> member of an archive of NEWS
    "valid": "newstest2013-{side}.{lang}.sgm",
    "test": "newstest2014-deen-{side}.{lang}.sgm",
    "test1": "newstest2015-{pair}-{side}.{lang}.sgm",
    "test2": "newstest2016-{pair}-{side}.{lang}.sgm",
}


def fetch_all(directory: Path, mirror: str | None) -> dict[str, str]:
    """Download every archive; the SHA-256 of each, which SHA256SUMS in `directory` lists too.

    Raises StageError where one cannot be had or has another checksum.
    """
    archives = [archive for archive, _ in TRAINING.values()] + [*NEWS]
    sums = {}
    for archive in archives:
        got = fetch.fetch(archive.name, [archive.url], archive.checksum, directory, mirror)
        sums[archive.name] = digest(got)
    with writing(directory / fetch.SUMS) as file:
        file.write("".join(f"{found}  {name}\n" for name, found in sums.items()).encode())
    return sums


def set_names(split: str, direction: str) -> tuple[str, str]:
    """The SGM files of English and German in a split of a direction."""
    source = direction[:2]
    pair = direction.replace("-", "")
    english, german = (
        SETS[split].format(pair=pair, side="src" if lang == source else "ref", lang=lang)
        for lang in LANGUAGES
    )
    return english, german


def write_raw(archives: Path, directory: Path) -> None:
    """Take the texts out of the archives. Raises StageError where one is missing or an archive is damaged."""
    for archive, stem in TRAINING.values():
        members = {f"{stem}.{lang}": directory / Path(f"{stem}.{lang}").name for lang in LANGUAGES}
        found = fetch.untar(archives / archive.name, members, LIMIT)
        if missing := sorted(members.keys() - found):
            raise StageError(
                f"{archives / archive.name} lacks {missing[0]}; delete it to download again, or pass another "
                "--mirror"
            )
    names = {name for split, direction in product(SETS, DIRECTIONS) for name in set_names(split, direction)}
    for archive in NEWS:
        wanted = {name for name in names if not (directory / name).exists()}  # the first archive's are taken
        members = {f"{folder}/{name}": directory / name for folder in ("dev", "test") for name in wanted}
        fetch.untar(archives / archive.name, members, LIMIT)
    if missing := sorted(name for name in names if not (directory / name).exists()):
        places = " and ".join(str(archives / archive.name) for archive in NEWS)
        raise StageError(
            f"{places} lack {missing[0]}; delete them to download again, or pass another --mirror"
        )


def write_text(raw: Path, directory: Path) -> None:
    """Write train.{en,de} without pairs of which a side is blank, and SPLIT.DIRECTION.{en,de} of each set.

    Raises StageError, naming the files, for bytes that are not UTF-8 and for sides of different length.
    """
    rows = []
    with (
        writing(directory / "train.en") as english,
        writing(directory / "train.de") as german,
    ):
        for name, (_, stem) in TRAINING.items():
            files = tuple(raw / Path(f"{stem}.{lang}").name for lang in LANGUAGES)
            rows += _write_pairs(name, files, (english, german))
    for split, direction in product(SETS, DIRECTIONS):
        files = tuple(raw / name for name in set_names(split, direction))
        both = _paired_segments(files)
        for lang, side in zip(LANGUAGES, both, strict=True):
            with writing(directory / f"{split}.{direction}.{lang}") as file:
                file.write("".join(f"{line}\n" for line in side).encode())
        rows.append([f"{split}.{direction}", len(both[0]), *(sum(map(lines.tokens, side)) for side in both)])
    write_json(directory / COUNTS, rows)


def _write_pairs(name: str, files, outputs) -> list[list]:
    """Append the pairs without a blank side to `outputs`; the counts of all pairs and of those."""
    every, kept = [0, 0, 0], [0, 0, 0]
    for pair in lines.pairs(files):
        found = [1, *map(lines.tokens, pair)]
        every = [a + b for a, b in zip(every, found, strict=True)]
        if all(found):
            kept = [a + b for a, b in zip(kept, found, strict=True)]
            for line, output in zip(pair, outputs, strict=True):
                output.write(f"{line}\n".encode())
    return [[f"{name}, all", *every], [name, *kept]]


def _paired_segments(files: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """Raises StageError, naming the first difference, unless both files have the same segments in order."""
    first, second = map(segments, files)
    for number, (one, other) in enumerate(zip_longest(first, second, fillvalue=("missing", "")), 1):
        if one[0] != other[0]:
            raise StageError(
                f"segment {number:,} of {files[0]} is {one[0]} and of {files[1]} is {other[0]}: they are no "
                "pairs; correct the archive they are from, or pass another --mirror"
            )
    return [text for _, text in first], [text for _, text in second]


def segments(path: Path) -> list[tuple[str, str]]:
    """("ID of DOCID", text) of each segment of an SGM file, in order: entities resolved, one line each.

    Raises StageError for a file that is not UTF-8 or has none.
    """
    found, document = [], "?"
    for match in SEGMENT.finditer("\n".join(lines.read(path))):
        doc, seg, text = match.groups()
        named = NAME.search(doc or seg or "")
        name = named[2] if named else "?"
        if text is None:
            document = name
        else:
            plain = re.sub(r"\s*\n\s*", " ", html.unescape(text).strip())
            found.append((f"{name} of {document}", plain))
    if not found:
        raise StageError(f"{path} has no segments (<seg ...>); pass another --mirror")
    return found

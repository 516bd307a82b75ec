"""enwik8 (byte level): download, unpack, cut 90/5/5, make binary. Stages that are whole are skipped."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import fetch
import prepare

ARCHIVE = "enwik8.zip"
URLS = ["http://mattmahoney.net/dc/enwik8.zip", "https://data.deepai.org/enwik8.zip"]
SHA256 = "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"
LIMIT = 100_000_000
PARTS = {"train": 0.90, "valid": 0.95, "test": 1.0}  # where each split ends


def write(archive: Path, directory: Path) -> None:
    """Each split as it is, and as fairseq's words: a byte is its number, a line end fairseq's own."""
    whole = fetch.unpack(archive, "enwik8", directory / "enwik8", LIMIT)
    content, begin = whole.read_bytes(), 0
    for split, end in PARTS.items():
        part, begin = content[begin : round(len(content) * end)], round(len(content) * end)
        (directory / f"{split}.txt").write_bytes(part)
        with (directory / split).open("w", encoding="ascii") as file:
            for line in part.removesuffix(b"\n").split(b"\n"):
                file.write(" ".join(map(str, line)) + "\n")
    whole.unlink()


if __name__ == "__main__":
    sys.exit(prepare.main(__doc__, ARCHIVE, URLS, SHA256, write, "examples/enwik8/data"))

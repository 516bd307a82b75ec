"""WikiText-103 (word level): download, unpack, make binary. Stages that are whole are skipped."""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import fetch
import prepare

ARCHIVE = "wikitext-103-v1.zip"
URLS = [
    "https://wikitext.smerity.com/wikitext-103-v1.zip",
    "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",
]
SHA256 = "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"
LIMIT = 1 << 30  # the largest text has 540 MB


def write(archive: Path, directory: Path) -> None:
    """Each split's text as distributed, which is already words between spaces."""
    for split in prepare.SPLITS:
        member = f"wikitext-103/wiki.{split}.tokens"
        text = fetch.unpack(archive, member, directory / f"{split}.txt", LIMIT)
        shutil.copyfile(text, directory / split)


if __name__ == "__main__":
    sys.exit(prepare.main(__doc__, ARCHIVE, URLS, SHA256, write, "examples/wikitext103/data"))

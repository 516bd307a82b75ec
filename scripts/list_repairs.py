"""Write the table of docs/repairs.md: every repair of fairseq, where it is and what was wrong there.

.venv/bin/python scripts/list_repairs.py
"""

import argparse
import re
from pathlib import Path

import mega_fairseq  # noqa: F401  (registers the repairs)
from mega_fairseq.compat import registry

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "repairs.md"


def table() -> str:
    """A row for each repair, by name."""
    rows = ["| name | place | fault, and what is done |", "|---|---|---|"]
    for repair in sorted(registry.known.values(), key=lambda repair: repair.name):
        places = ", ".join(f"`{place}`" for place in repair.places)
        rows.append(f"| `{repair.name}` | {places} | {repair.fault.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.compile(r"^\|.*\|$(\n\|.*\|$)*", re.MULTILINE)
    DOCUMENT.write_text(rows.sub(lambda _: table(), text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()

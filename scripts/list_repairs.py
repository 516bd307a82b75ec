"""Write the tables of docs/repairs.md: every change of fairseq, where it is and what was wrong there.

.venv/bin/python scripts/list_repairs.py
"""

import argparse
from pathlib import Path

import mega_fairseq  # noqa: F401  (registers the changes)
from mega_fairseq.compat import listing

if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    listing.write(Path(__file__).resolve().parents[1] / "docs" / "repairs.md")

"""Ask PyPI for the advisories of what requirements.lock and the pin of torch install.

    .venv/bin/python tests/campaigns/supply/advisories.py

A stand-in for pip-audit (a job of .github/workflows/ci.yml) where a proxy withholds the pages of single
versions that it reads: a project's own page has the advisories of its latest version, so older pins cannot be
asked for. Writes advisories.json beside this file.
"""

import argparse
import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.M)


def latest(name):
    """(latest version, the numbers of its advisories)."""
    with urllib.request.urlopen(f"https://pypi.org/pypi/{name}/json", timeout=30) as page:
        project = json.load(page)
    return project["info"]["version"], [found["id"] for found in project["vulnerabilities"]]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE / "advisories.json")
    arguments = parser.parse_args()
    pins = dict(PIN.findall((ROOT / "requirements.lock").read_text()))
    pins |= {name: v for name, v in PIN.findall((ROOT / "requirements.txt").read_text()) if name == "torch"}
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(pins, pool.map(latest, pins), strict=True))
    asked = {name for name, (version, _) in found.items() if version == pins[name]}
    report = {
        "date": date.today().isoformat(),
        "pins": len(pins),
        "asked": len(asked),
        "advisories": {name: found[name][1] for name in sorted(asked) if found[name][1]},
        "not asked, pinned below the latest": {name: pins[name] for name in sorted(pins.keys() - asked)},
        "of a package known to have some, pycrypto": latest("pycrypto")[1],
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

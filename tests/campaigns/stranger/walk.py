"""Walk through the documentation as somebody new: every command, in a clone in an empty folder.

    .venv/bin/python tests/campaigns/stranger/walk.py [--folder FOLDER]

About 20 minutes on 2 cores. What sets up, installs, makes or trains (make, pip, git) runs as documented, each
quickstart for a minute; what tests run is run by these, in the clone and its own environment. Writes
walk.json: each command with its status. The clone is of what is committed.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "cli"))
import documented  # noqa: E402

TESTED = "tests/cli/test_docs.py"


def shortened(text):
    """A make command without its comment; a quickstart for a minute."""
    text = re.sub(r"\s+#.*", "", text)
    if not text.startswith("make quickstart"):
        return text
    head, _, given = text.partition(" ARGS=")
    return f'{head} ARGS="--minutes 1 {re.sub(r"--minutes [0-9]+", "", given.strip(chr(34)))}"'


def environment():
    """Without what only a developer's or CI's environment has."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MEGA_", "VIRTUAL_ENV"))
    }
    return {**kept, "PYTHONNOUSERSITE": "1"}


def run(text, place, rows, where, how):
    """A shell command, in `place`."""
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=place,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = round(time.monotonic() - began)
    rows.append({"where": where, "command": text, "how": how, "status": done.returncode, "seconds": seconds})
    print(f"{'ok  ' if done.returncode == 0 else 'FAIL'} {seconds:5} s  {text}", flush=True)
    if done.returncode:
        print(done.stdout[-3000:], flush=True)


def main() -> None:
    """Walk and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="an empty folder (default: a new one, removed at the end)"
    )
    given = parser.parse_args()
    rows, cloned = [], commit()
    with tempfile.TemporaryDirectory() as made:
        place = given.folder or Path(made)
        place.mkdir(exist_ok=True)
        run(
            f"git clone --quiet {shlex.quote(str(ROOT))} mega",
            place,
            rows,
            "README.md",
            "a clone of this checkout",
        )
        walk(place / "mega", rows)
    result = {"commit": cloned, "commands": rows, "failed": sum(row["status"] != 0 for row in rows)}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(bool(result["failed"]))


def walk(clone, rows):
    pip, by_tests = [], {TESTED}
    for command in documented.documented():
        how = documented.HOW[documented.chosen(command.words)]
        if isinstance(how, documented.Covered):
            by_tests.add(how.test)
        elif command.words.startswith("pip "):
            pip.append(command)
        elif isinstance(how, documented.Make):
            text = shortened(command.text)
            if all(row["command"] != text for row in rows):
                run(text, clone, rows, command.where, "as documented")
    install(clone, rows, pip)
    run(
        f".venv/bin/pytest {' '.join(sorted(by_tests))}",
        clone,
        rows,
        "all documents",
        "the tests of what is documented",
    )


def install(clone, rows, commands):
    """The README's pip lines, one after the other, in an environment of their own; then what they are for."""
    run(f"{sys.executable} -m venv outside", clone.parent, rows, "README.md", "an environment for pip")
    activate = f". {clone.parent / 'outside' / 'bin' / 'activate'}"
    for command in commands:
        run(f"{activate}; {command.text}", clone, rows, command.where, "as documented")
    run(
        f"{activate}; python -m mega_fairseq && mega-train --help > help",
        clone.parent,
        rows,
        "README.md",
        "installed",
    )


def commit():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()

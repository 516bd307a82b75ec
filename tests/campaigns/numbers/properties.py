"""Run the properties with many new examples and record how many of each passed, and in what time.

    OMP_NUM_THREADS=1 .venv/bin/python tests/campaigns/numbers/properties.py --examples 1000 --seed 1

Writes properties.json beside this file.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OF_A_TEST = re.compile(r"^(tests/properties/\S+::\w+):\n(.*?)(?=^tests/|\Z)", re.M | re.S)
PHASE = re.compile(
    r"during (\w+) phase \(([\d.]+) seconds\).*?(\d+) passing.*?(\d+) failing.*?(\d+) invalid", re.S
)


def counts(output):
    """{test: passing, failing and invalid examples, seconds} from hypothesis' statistics."""
    found = {}
    for test, text in OF_A_TEST.findall(output):
        phases = [(float(s), *map(int, numbers)) for _, s, *numbers in PHASE.findall(text)]
        seconds, *sums = (sum(column) for column in zip(*phases, strict=True))
        found[test.removeprefix("tests/properties/")] = {
            **dict(zip(("passing", "failing", "invalid"), sums, strict=True)),
            "seconds": round(seconds, 1),
        }
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "properties.json")
    arguments = parser.parse_args()
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "tests/properties", "-o", "timeout=0", "--tb=short"]
    command += ["--hypothesis-show-statistics", f"--hypothesis-seed={arguments.seed}"]
    environment = {**os.environ, "MEGA_EXAMPLES": str(arguments.examples)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = counts(done.stdout)
    result = {
        "examples a property": arguments.examples,
        "seed": arguments.seed,
        "torch": torch.__version__,
        "hypothesis": hypothesis.__version__,
        "passed": done.returncode == 0,
        "properties": len(found),
        "passing": sum(test["passing"] for test in found.values()),
        "seconds": round(time.monotonic() - start),
        "tests": found,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(done.stdout if done.returncode else json.dumps(result, indent=1))
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()

"""Change `ops/` and `modules/` in many small ways and see which changes no test notices.

    python3.11 -m venv /tmp/cosmic && /tmp/cosmic/bin/pip install cosmic-ray==8.7.0
    nice .venv/bin/python tests/campaigns/mutation/mutation.py --cosmic-ray /tmp/cosmic/bin/cosmic-ray

Works in a clone of the last commit. Each change of a random sample runs the tests of ops and modules and,
where those pass, the models' and the properties. Writes mutation.json beside this file: how many changes of
each file were noticed, and the others as diffs. Kinds of change that on tensors and annotations are mostly
errors of type (bit operations for `Tensor | None`, shifts, powers, whole divisions) are left out, for they
would be noticed for nothing. About 15 seconds a change on one core.
"""

import argparse
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SUITES = ["tests/ops tests/modules tests/test_textbook.py", "tests/models tests/properties"]
LEFT_OUT = re.compile("Bit|Shift|USub_(Not|Invert)|_Pow$|_FloorDiv$")
CONFIG = """
[cosmic-ray]
module-path = ["mega_fairseq/ops", "mega_fairseq/modules"]
timeout = 300.0
excluded-modules = []
test-command = "sh -c '{}'"

[cosmic-ray.distributor]
name = "local"
"""
SPECS = (
    "select operator_name, module_path, start_pos_row, start_pos_col, occurrence, job_id from mutation_specs"
)
RESULTS = """
select module_path, test_outcome, diff from work_results join mutation_specs using (job_id)
order by module_path, start_pos_row
"""


def keep_sample(session, size, seed):
    """Keep `size` of the changes that are not left out; the number of all of these."""
    specs = sorted(session.execute(SPECS))
    jobs = [job for operator, *_, job in specs if not LEFT_OUT.search(operator)]
    kept = set(random.Random(seed).sample(jobs, min(size, len(jobs))))
    others = [(job,) for *_, job in specs if job not in kept]
    for table in ("mutation_specs", "work_items"):
        session.executemany(f"delete from {table} where job_id = ?", others)
    session.commit()
    return len(jobs)


def mutate(cosmic_ray, clone, size, seed):
    """(number of possible changes, (file, outcome, diff) of each one tried)."""
    pytest = f"{sys.executable} -m pytest -x -q -p no:warnings -p no:cacheprovider"
    config, database = clone / "cosmic.toml", clone / "session.sqlite"
    config.write_text(CONFIG.format(" && ".join(f"{pytest} {suite}" for suite in SUITES)))
    settings = {"OMP_NUM_THREADS": "1", "MEGA_EXAMPLES": "10", "PYTHONDONTWRITEBYTECODE": "1"}
    settings["PYTHONPATH"] = str(clone)  # before the checkout that is installed in this environment

    def call(command, *files):
        environment = {**os.environ, **settings}
        subprocess.run([cosmic_ray, command, *files], cwd=clone, env=environment, check=True)

    call("baseline", config)  # the tests pass where nothing is changed
    call("init", config, database)
    with sqlite3.connect(database) as session:
        possible = keep_sample(session, size, seed)
    call("exec", config, database)
    with sqlite3.connect(database) as session:
        return possible, list(session.execute(RESULTS))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cosmic-ray", required=True, help="its command, of an environment of its own")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "mutation.json")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "main"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        possible, found = mutate(arguments.cosmic_ray, clone, arguments.sample, arguments.seed)
    survived = [(file, diff) for file, outcome, diff in found if outcome == "SURVIVED"]
    report = {
        "possible": possible,
        "tried": len(found),
        "seed": arguments.seed,
        "outcomes": Counter(outcome for _, outcome, _ in found),
        "minutes": round((time.monotonic() - start) / 60),
        "tried by file": Counter(file for file, *_ in found),
        "not noticed": [diff.splitlines() for _, diff in survived],
    }
    arguments.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()

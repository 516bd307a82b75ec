"""How should OpenMP's threads wait? Training steps of two models under each setting, idle and on busy cores.

Writes benchmarks/threads.json: for every setting the median step time as a ratio to the best of its row.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "libgomp's default": {},
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "spin 1,000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spin 10,000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "spin 100,000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
ARCHITECTURES = ("mega_nmt_tiny", "transformer")
ROUNDS, STEPS = 3, 8
STEP = """
import sys, time
sys.path.insert(0, "benchmarks")
from models import build, train_step
step = train_step(build(sys.argv[1]), rows=32, length=32)
for _ in range(3): step()
start = time.perf_counter()
for _ in range(int(sys.argv[2])): step()
print(time.perf_counter() - start)
"""


def measure(architecture: str, setting: dict[str, str]) -> float:
    """Seconds of STEPS training steps of 1,024 tokens in a fresh process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", STEP, architecture, str(STEPS)]
    done = subprocess.run(command, env={**kept, **setting}, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def table() -> dict[str, dict[str, float]]:
    """Median times of every setting, measured in turn, over the best setting's."""
    times: dict[str, dict[str, list[float]]] = {a: {s: [] for s in SETTINGS} for a in ARCHITECTURES}
    for _ in range(ROUNDS):
        for architecture in ARCHITECTURES:
            for name, setting in SETTINGS.items():
                times[architecture][name].append(measure(architecture, setting))
    medians = {a: {s: statistics.median(t) for s, t in row.items()} for a, row in times.items()}
    return {a: {s: round(t / min(row.values()), 2) for s, t in row.items()} for a, row in medians.items()}


def main() -> None:
    """Measure on idle cores, then beside as many busy processes as there are cores."""
    cores = os.cpu_count() or 1
    result = {"cores": cores, "rounds": ROUNDS, "idle": table()}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        result["busy"] = table()
    finally:
        for process in busy:
            process.kill()
    text = json.dumps(result, indent=1)
    Path("benchmarks/threads.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

"""Trainings that are killed with SIGKILL at random moments and resumed, against the same ones never killed.

    OMP_NUM_THREADS=1 nice .venv/bin/python tests/campaigns/crashes/crashes.py --kills 20 --seed 1

Writes crashes.json beside this file: for each kill what the training was doing, how many updates it had made,
where its resumption began and how many updates that repeats; and whether parameters, optimizer, counters and
logged losses of every run equal those of the run never killed, bit for bit. About 15 minutes on one core.
"""

import argparse
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "cli"), str(HERE.parents[2])]

from killed import (  # noqa: E402
    EVERY,
    MODELS,
    Training,
    command_of,
    compare,
    kill_at_change,
    kill_in_time,
    make_data,
    seen_in,
)


def live(model, data, folder, options, draw, seconds, kills):
    """One run from the first update to the last, killed as often as it happens; its kills and its logs."""
    save_dir, landed, logs = folder / "checkpoints", [], []
    while True:
        training = Training(command_of(model, data, save_dir, options.updates), folder / f"{len(logs)}.log")
        aimed = draw.random() < options.aimed
        # later kills of a run have less of it before them
        left = seconds * (1 - (landed[-1]["saved"] if landed else 0) / options.updates)
        nth, after = draw.randint(1, 12), draw.uniform(0, 0.9 * left)
        hit = len(landed) < kills and (
            kill_at_change(training, save_dir, nth) if aimed else kill_in_time(training, after)
        )
        if not hit:
            training.finish()
        logs.append(training.printed())
        if landed:
            began = re.findall(r"Loaded checkpoint .*? @ (\d+) updates", logs[-1])
            landed[-1]["resumed at"] = int(began[0]) if began else 0
            landed[-1]["repeated"] = landed[-1]["updates"] - landed[-1]["resumed at"]
        if not hit:
            return landed, logs
        how = f"change {nth} of the files" if aimed else f"{after:.3f} s after the first update"
        half = sorted(path.name for path in save_dir.glob("*.tmp*")) if save_dir.is_dir() else []
        landed.append({"killed at": how, **seen_in(logs[-1]), "half written": half})


def campaign(model, options, folder):
    """As many kills as asked for, in as many runs as they take."""
    draw = random.Random(f"{options.seed} {model}")
    data = make_data(model, folder, options.seed)
    whole = Training(command_of(model, data, folder / "whole", options.updates), folder / "whole.log")
    whole.wait_until(lambda: "Start iterating over samples" in whole.printed(), 0.02)
    begin = time.monotonic()
    whole.finish()
    seconds, runs, landed = time.monotonic() - begin, [], []
    while len(landed) < options.kills:
        place = folder / f"run{len(runs)}"
        place.mkdir()
        kills, logs = live(model, data, place, options, draw, seconds, options.kills - len(landed))
        found = compare(place / "checkpoints", folder / "whole", logs, whole.printed())
        runs.append({"kills": len(kills), "differs in": found})
        landed += kills
        print(f"{model}: {len(landed)} kills, the run differs in {found or 'nothing'}", flush=True)
    lost = [k for k in landed if k["resumed at"] < k["saved"] or not 0 <= k["repeated"] <= EVERY]
    command = command_of(model, "DATA", "FOLDER", options.updates)
    return {
        "command": " ".join(["fairseq-train", *command[3:]]),
        "seconds of training never killed": round(seconds, 2),
        "passed": not lost and not any(run["differs in"] for run in runs),
        "kills": len(landed),
        "most updates repeated": max(kill["repeated"] for kill in landed),
        "phases": {
            phase: sum(k["phase"] == phase for k in landed) for phase in sorted({k["phase"] for k in landed})
        },
        "kills that left a file half written": sum(bool(kill["half written"]) for kill in landed),
        "resumed before the last save": lost,
        "runs": runs,
        "each kill": landed,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--kills", type=int, default=20, help="for each model")
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument(
        "--aimed", type=float, default=0.5, help="share of kills aimed at a checkpoint's writing"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "crashes.json")
    options = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    result = {"seed": options.seed, "machine": machine, "torch": torch.__version__, "models": {}}
    begin = time.monotonic()
    for model in options.models:
        with tempfile.TemporaryDirectory() as folder:
            result["models"][model] = campaign(model, options, Path(folder))
    result["seconds"] = round(time.monotonic() - begin)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    passed = all(found["passed"] for found in result["models"].values())
    print(f"wrote {options.out}: {'passed' if passed else 'FAILED'}")
    raise SystemExit(not passed)


if __name__ == "__main__":
    main()

"""Long runs: a million tokens in one block, 2,000 sentences in one process, a training of half an hour.

    OMP_NUM_THREADS=1 nice .venv/bin/python tests/campaigns/long/long.py --minutes 30

Texts are drawn from 200 words (seed 1); the models are mega_nmt_tiny and mega_lm_tiny with chunks of 256. The
memory of each process is read from /proc as it runs. Writes long.json beside this file after each part, and
with --only makes some of them again. About 45 minutes on one core.
"""

import argparse
import json
import os
import platform
import random
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WORDS = [f"w{i}" for i in range(200)]
PLUGIN = ["--user-dir", "mega_fairseq"]
TRAIN = shlex.split("""--optimizer adam --lr 1e-3 --clip-norm 1 --num-workers 0 --no-epoch-checkpoints
    --log-format json --disable-validation""")
MILLION, SENTENCES = 1_000_000, 2_000


def text(draw: random.Random, lines: int, longest: int) -> str:
    """Lines of 1 to `longest` words."""
    rows = (" ".join(draw.choices(WORDS, k=draw.randint(1, longest))) for _ in range(lines))
    return "".join(f"{row}\n" for row in rows)


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"fairseq_cli.{name}", *map(str, arguments)]


def run(*words: str) -> str:
    """What it prints. Raises CalledProcessError where it fails."""
    return subprocess.run(words, cwd=ROOT, check=True, text=True, capture_output=True).stdout


def megabytes(process: subprocess.Popen, what: str) -> float:
    """VmRSS or VmHWM of a process that runs."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+)", status)[1]) / 1024


def slope(xs: list[float], ys: list[float]) -> float:
    """Of the line through the points with the least squares."""
    return float(np.polyfit(xs, ys, 1)[0])


def prepare(folder: Path) -> None:
    """Binary data of translation and of one long text, and a model of each, trained for two updates."""
    draw = random.Random(1)
    for split, lines in (("train", 5_000), ("valid", 50)):
        for side in ("en", "de"):
            (folder / f"{split}.{side}").write_text(text(draw, lines, 20))
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid")]
    run(
        *command(
            "preprocess", "-s", "en", "-t", "de", "--joined-dictionary", *splits, "--destdir", folder / "nmt"
        )
    )
    rows = [draw.choices(WORDS, k=100) for _ in range(MILLION // 100)]
    (folder / "long").write_text("".join(f"{' '.join(row)}\n" for row in rows))
    (folder / "short").write_text("".join(f"{' '.join(row)}\n" for row in rows[:100]))
    splits = [f"--{split}pref={folder / name}" for split, name in (("train", "short"), ("test", "long"))]
    run(*command("preprocess", "--only-source", *splits, "--destdir", folder / "lm"))
    twice = [*TRAIN, *PLUGIN, "--max-tokens", 1024, "--max-update", 2]
    run(
        *command(
            "train", folder / "nmt", *twice, "--arch", "mega_nmt_tiny", "--save-dir", folder / "nmt-model"
        )
    )
    lm = ["--task", "mega_language_modeling", "--arch", "mega_lm_tiny", "--decoder-chunk-size", 256]
    run(*command("train", folder / "lm", *twice, *lm, "--save-dir", folder / "lm-model"))


def evaluate(folder: Path, minutes: float) -> dict:
    """The peak of fairseq-eval-lm with the text as one block, beside that of its first 20,000 tokens."""
    found = {}
    for tokens in (20_000, 2 * MILLION):  # no block is longer than the text
        options = ["--path", folder / "lm-model" / "checkpoint_last.pt", "--gen-subset", "test"]
        options += ["--tokens-per-sample", tokens, "--sample-break-mode", "none", "--max-tokens", tokens]
        options += ["--max-target-positions", tokens, "--softmax-batch", 2048]
        process = subprocess.Popen(
            command("eval_lm", folder / "lm", *PLUGIN, *options),
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        peak, began = 0.0, time.time()
        while process.poll() is None:
            try:
                peak = max(peak, megabytes(process, "VmHWM"))
            except (OSError, TypeError):  # it has just ended
                break
            time.sleep(0.2)
        printed = process.communicate()[0]
        told = re.search(r"Evaluated ([\d,]+) tokens", printed)
        assert process.returncode == 0 and told, printed[-2000:]
        found[f"blocks of {min(tokens, MILLION + MILLION // 100):,}"] = {
            "tokens": int(told[1].replace(",", "")),
            "peak megabytes": round(peak, 1),
            "seconds": round(time.time() - began),
        }
    return found


def translate(folder: Path, minutes: float) -> dict:
    """Memory of fairseq-interactive after each 100 of 2,000 sentences."""
    options = ["--path", folder / "nmt-model" / "checkpoint_last.pt", "-s", "en", "-t", "de", "--beam", 5]
    process = subprocess.Popen(
        command("interactive", folder / "nmt", *PLUGIN, *options, "--max-len-b", 20, "--buffer-size", 1),
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    counts, memory = [], []
    for i, line in enumerate(text(random.Random(2), SENTENCES, 40).splitlines(), 1):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        while not process.stdout.readline().startswith("P-"):
            assert process.poll() is None
        if i % 100 == 0:
            counts.append(i)
            memory.append(megabytes(process, "VmRSS"))
    process.stdin.close()
    assert process.wait() == 0
    settled = len(counts) // 5
    return {
        "sentences": counts[-1],
        "megabytes": {"after 100": round(memory[0], 1), "at the end": round(memory[-1], 1)},
        "megabytes per 1,000 sentences": round(1000 * slope(counts[settled:], memory[settled:]), 2),
    }


def train(folder: Path, minutes: float) -> dict:
    """Memory of fairseq-train, every 5 seconds; its first fifth does not count in the slope."""
    options = [
        *TRAIN,
        *PLUGIN,
        "--arch",
        "mega_nmt_tiny",
        "--max-tokens",
        1024,
        "--save-interval-updates",
        500,
    ]
    options += ["--keep-interval-updates", 1, "--log-interval", 50, "--stop-time-hours", minutes / 60]
    process = subprocess.Popen(
        command("train", folder / "nmt", *options, "--save-dir", folder / "trained"),
        cwd=ROOT,
        text=True,
        stdout=(folder / "train.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    began, times, memory = time.time(), [], []
    while process.poll() is None:
        try:
            memory.append(megabytes(process, "VmRSS"))
            times.append((time.time() - began) / 60)
        except (OSError, TypeError):
            break
        time.sleep(5)
    log = (folder / "train.log").read_text()
    assert process.wait() == 0, log[-2000:]
    settled = len(times) // 5
    return {
        "minutes": round(times[-1], 1),
        "updates": int(re.findall(r'"num_updates": "(\d+)"', log)[-1]),
        "megabytes": {"after a fifth": round(memory[settled], 1), "at the end": round(memory[-1], 1)},
        "megabytes per hour": round(60 * slope(times[settled:], memory[settled:]), 2),
    }


PARTS = {"evaluation": evaluate, "interactive": translate, "training": train}


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="of the training")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS])
    options = parser.parse_args()
    file = HERE / "long.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for part in options.only:
            result[part] = PARTS[part](Path(name), options.minutes)
            result["machine"] = (
                f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread"
            )
            result["torch"] = torch.__version__
            file.write_text(json.dumps(result, indent=1) + "\n")
            print(part, json.dumps(result[part]), flush=True)


if __name__ == "__main__":
    main()

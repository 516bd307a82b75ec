"""nanoGPT's small CPU recipe on Shakespeare: a transformer and mega_lm of no more parameters, side by side.

    python benchmarks/shakespeare/run.py "$MEGA_SHARED/data/shakespeare/input.txt.gz"

Every model sees 1,536,000 characters. The loss is fairseq-eval-lm's on the last tenth of the text, all of it,
in blocks as long as in training. Writes results.json beside this file.
"""

import argparse
import gzip
import json
import math
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPTIMIZER = shlex.split("""
    --optimizer adam --adam-betas '(0.9,0.99)' --weight-decay 0.1 --clip-norm 1.0 --lr-scheduler cosine
    --warmup-updates 100 --dropout 0 --share-decoder-input-output-embed --decoder-normalize-before
    --no-epoch-checkpoints --disable-validation --num-workers 0 --log-interval 100
""")
TRANSFORMER = """--arch transformer_lm --decoder-embed-dim 128 --decoder-input-dim 128
    --decoder-output-dim 128 --decoder-ffn-embed-dim 512 --decoder-layers 4
    --decoder-attention-heads 4 --activation-fn gelu"""
MEGA = """--arch mega_lm --decoder-embed-dim 128 --decoder-hidden-dim 224 --decoder-ffn-embed-dim 224
    --decoder-z-dim 64 --decoder-layers 4 --rel-pos-bias rotary --weight-init open-gates"""
CONTEXT_64 = "--task language_modeling --tokens-per-sample 64 --batch-size 12"
BLOCKS_512 = "--task language_modeling --tokens-per-sample 512 --decoder-chunk-size 64 --batch-size 1"
RUNS = {  # name: (options, updates, learning rate, characters a block)
    "transformer_lm, 64 characters": (f"{TRANSFORMER} {CONTEXT_64}", 2000, 4e-3, 64),
    "mega_lm, 64 characters": (f"{MEGA} {CONTEXT_64}", 2000, 8e-3, 64),
    "mega_lm, chunk 64, blocks of 512": (f"{MEGA} {BLOCKS_512}", 3000, 4e-3, 512),
}


def command(module: str, *arguments: object) -> str:
    """The output of one of fairseq's commands. Raises CalledProcessError when it fails."""
    line = [sys.executable, "-m", f"fairseq_cli.{module}", *map(str, arguments)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(line)}\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def prepare(text: Path, work: Path) -> Path:
    """fairseq's binary data of the characters; the line end is fairseq's end of sentence."""
    content = text.read_bytes()
    characters = (gzip.decompress(content) if text.suffix == ".gz" else content).decode()
    border = len(characters) * 9 // 10
    work.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", characters[:border]), ("valid", characters[border:])):
        lines = part.removesuffix("\n").replace(" ", "_").split("\n")
        (work / split).write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    if not (work / "bin").exists():
        splits = [f"--{split}pref={work / split}" for split in ("train", "valid")]
        command("preprocess", "--only-source", *splits, "--destdir", work / "bin", "--workers", 1)
    return work / "bin"


def run(name: str, seed: int, data: Path, work: Path) -> dict[str, float]:
    """Train one model and evaluate it."""
    options, updates, rate, block = RUNS[name]
    folder = work / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}"
    schedule = ["--max-update", updates, "--lr-period-updates", updates - 100]
    schedule += ["--lr", rate, "--min-lr", rate / 10, "--seed", seed, "--save-dir", folder]
    user = ["--user-dir", "mega_fairseq"]
    log = command("train", data, *user, *shlex.split(options), *OPTIMIZER, *schedule, "--save-interval", 1000)
    checkpoint = folder / "checkpoint_last.pt"
    scored = command(
        "eval_lm", data, *user, "--path", checkpoint, "--gen-subset", "valid", "--tokens-per-sample", block
    )
    speeds = [float(s.replace(",", "")) for s in re.findall(r"wps[=\" :]+([\d.,]+)", log)]
    return {
        "nats_per_character": float(re.search(r"Loss \(base 2\): ([\d.]+)", scored)[1]) * math.log(2),
        "parameters": int(re.search(r"num. shared model params: ([\d,]+)", log)[1].replace(",", "")),
        "characters_per_second": statistics.median(speeds),
    }


def main() -> None:
    """Train every model with every seed, in turn, and write what came out after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    data = prepare(arguments.text, arguments.work.resolve())
    results: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
    for seed in arguments.seeds:
        for name in RUNS:
            results[name].append({"seed": seed, **run(name, seed, data, arguments.work.resolve())})
            print(name, results[name][-1], flush=True)
            write(results)


def write(results: dict[str, list[dict[str, float]]]) -> None:
    """results.json: every run, and mean and spread of the losses."""
    summary = {}
    for name, runs in results.items():
        losses = [r["nats_per_character"] for r in runs]
        if losses:
            spread = {
                "mean": round(statistics.mean(losses), 4),
                "lowest": min(losses),
                "highest": max(losses),
            }
            summary[name] = {"nats_per_character": spread, "runs": runs}
    (HERE / "results.json").write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()

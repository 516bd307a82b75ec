"""Short trainings of mega_nmt_tiny and mega_lm_tiny in half precision on the CPU, held against float32.

    OMP_NUM_THREADS=1 nice -n 10 .venv/bin/python tests/campaigns/numbers/half.py "$MEGA_SHARED/data"

300 updates each: translation on the first 4,000 pairs of Multi30k (2,000 pieces), characters of Shakespeare.
Every checkpoint is then scored in float32 on held-out text. fairseq's --amp asks for CUDA's autocast, which
does nothing on a CPU: "amp, CPU's autocast" gives it the CPU's, in bfloat16. Writes half.json beside this
file after each run, and does not repeat the runs that it holds.
"""

import argparse
import gzip
import json
import math
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sentencepiece
import torch

import mega_fairseq  # noqa: F401  (allows what a checkpoint holds)

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
UPDATES, PAIRS, HELD_OUT, PIECES, LIMIT = 300, 4000, 500, 2000, 0.03
COMMON = shlex.split(f"""
    --user-dir mega_fairseq --optimizer adam --adam-betas '(0.9,0.98)' --clip-norm 1.0
    --lr-scheduler inverse_sqrt --warmup-updates 100 --max-update {UPDATES} --dropout 0.1 --num-workers 0
    --no-epoch-checkpoints --disable-validation --log-format json --log-interval 1
    --required-batch-size-multiple 1
""")
MODELS = {
    "mega_nmt_tiny": shlex.split("--arch mega_nmt_tiny --task translation --max-tokens 1024 --lr 4e-3"),
    "mega_lm_tiny": shlex.split("""
        --arch mega_lm_tiny --task mega_language_modeling --chunk-multiples 2,6 --valid-blocks 8
        --max-tokens 1024 --lr 6e-3 --share-decoder-input-output-embed"""),
}
PRECISIONS = {
    "float32": [],
    "float32, seed 2": ["--seed", "2"],
    "bf16": ["--bf16"],
    "memory-efficient-fp16": ["--memory-efficient-fp16"],
    "amp, CPU's autocast": ["--amp"],
    "amp": ["--amp"],
    "fp16": ["--fp16"],
}
WITH_AUTOCAST = """
import functools, runpy, sys, torch
torch.cuda.amp.autocast = functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16)
sys.argv[0] = "fairseq-train"
runpy.run_module("fairseq_cli.train", run_name="__main__")
"""


def call(*command):
    """The output of a Python process; its last lines in a RuntimeError when it fails."""
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout)[-1500:])
    return done.stdout + done.stderr


def fairseq(name, *arguments):
    return call("-m", f"fairseq_cli.{name}", *arguments)


def read(path, encoding="utf-8"):
    return gzip.decompress(path.read_bytes()).decode(encoding).split("\n")


def prepare_pairs(data, work):
    """Binary data of the first pairs and, held out, the next ones, in joint pieces."""
    work.mkdir()
    lines = {lang: read(data / "multi30k" / f"train.{lang}.gz")[: PAIRS + HELD_OUT] for lang in ("en", "de")}
    for lang, sentences in lines.items():
        (work / f"plain.{lang}").write_text("\n".join(sentences[:PAIRS]))
    sentencepiece.SentencePieceTrainer.train(
        input=[str(work / "plain.en"), str(work / "plain.de")],
        model_prefix=str(work / "spm"),
        vocab_size=PIECES,
        num_threads=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(work / "spm.model"))
    for lang, sentences in lines.items():
        encoded = [" ".join(line) + "\n" for line in pieces.encode(sentences, out_type=str)]
        (work / f"train.{lang}").write_text("".join(encoded[:PAIRS]))
        (work / f"valid.{lang}").write_text("".join(encoded[PAIRS:]))
    splits = [f"--{split}pref={work / split}" for split in ("train", "valid")]
    fairseq("preprocess", "-s", "en", "-t", "de", "--joined-dictionary", *splits, "--destdir", work / "bin")
    return work / "bin"


def prepare_characters(data, work):
    """Binary data of Shakespeare's characters; held out are the last 40,000."""
    work.mkdir()
    text = "\n".join(read(data / "shakespeare" / "input.txt.gz"))
    for split, part in (("train", text[:-40000]), ("valid", text[-40000:])):
        lines = part.removesuffix("\n").replace(" ", "_").split("\n")
        (work / split).write_text("".join(" ".join(line) + "\n" for line in lines))
    splits = [f"--{split}pref={work / split}" for split in ("train", "valid")]
    fairseq("preprocess", "--only-source", *splits, "--destdir", work / "bin")
    return work / "bin"


def updates_of(log):
    """The statistics of every update."""
    lines = re.findall(r"\| INFO \| train_inner \| (.*)", log)
    return [json.loads(line) for line in lines]


def scored(model, data, checkpoint):
    """Loss per held-out token in float32, base 2."""
    where = [data, "--user-dir", "mega_fairseq", "--path", checkpoint]
    if model == "mega_lm_tiny":
        out = fairseq("eval_lm", *where, "--gen-subset", "valid", "--tokens-per-sample", 1024)
        return float(re.search(r"Loss \(base 2\): ([\d.]+)", out)[1])
    out = fairseq(
        "validate", *where, "--task", "translation", "--valid-subset", "valid", "--max-tokens", 2048
    )
    return float(re.search(r"\| valid \|.*? loss ([\d.]+)", out)[1])


def run(model, precision, data, folder):
    """Train, score, and say what came of it: losses, or why it stopped."""
    start = time.monotonic()
    train = ["-c", WITH_AUTOCAST] if "autocast" in precision else ["-m", "fairseq_cli.train"]
    options = [*COMMON, *MODELS[model], *PRECISIONS[precision], "--save-dir", folder]
    try:
        log = call(*train, data, *options)
    except RuntimeError as error:
        return {"stopped": str(error).strip().split("\n")[-1]}
    updates = updates_of(log)
    losses = [float(u["loss"]) for u in updates]
    saved = torch.load(folder / "checkpoint_last.pt", weights_only=True)
    seconds = round(time.monotonic() - start)
    return {
        "updates": int(updates[-1]["num_updates"]),
        "overflows": len(re.findall("overflow detected", log)),
        "finite": all(map(math.isfinite, losses))
        and all(bool(t.isfinite().all()) for t in saved["model"].values()),
        "training loss, last 50 updates": round(sum(losses[-50:]) / 50, 4),
        "held-out loss": scored(model, data, folder / "checkpoint_last.pt"),
        "seconds of training": seconds,
    }


def compare(found):
    """Add to each run how its losses stand to float32's; whether all that ran pass."""
    passed = True
    for results in found.values():
        exact = results.get("float32", {})
        for result in results.values():
            if "stopped" in result or "stopped" in exact:
                continue
            for name in ("training loss, last 50 updates", "held-out loss"):
                result[f"{name}, over float32's"] = round(result[name] / exact[name], 4)
            ratio = result["held-out loss, over float32's"]
            result["passed"] = result["finite"] and result["updates"] == UPDATES and ratio < 1 + LIMIT
            passed = passed and result["passed"]
    return passed


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "half.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        base = Path(work)
        data = {
            "mega_nmt_tiny": prepare_pairs(arguments.data.resolve(), base / "pairs"),
            "mega_lm_tiny": prepare_characters(arguments.data.resolve(), base / "characters"),
        }
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        found = {model: before.get(model, {}) for model in MODELS}
        for i, precision in enumerate(PRECISIONS):
            for model in MODELS:
                if precision in found[model]:
                    continue
                found[model][precision] = run(model, precision, data[model], base / f"{model}-{i}")
                print(model, precision, found[model][precision], flush=True)
                passed = compare(found)
                result = {"seed": 1, "torch": torch.__version__, "limit": LIMIT, "passed": passed, **found}
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(0 if passed else 1)


if __name__ == "__main__":
    main()

"""WikiText's recipe at a size for two CPU cores: train on its validation text, evaluate on its test text.

    python benchmarks/wikitext/run.py "$MEGA_SHARED/data/wikitext"

takes valid.txt.gz and test.txt.gz from that folder, holds the last tenth of the first back to validate, and
goes through examples/wikitext103 (prepare from a mirror, train.sh, evaluate.sh). Writes results.json.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECIPE = "examples/wikitext103"
MODEL = """--decoder-embed-dim 192 --decoder-hidden-dim 384 --decoder-ffn-embed-dim 384 --decoder-z-dim 64
    --decoder-layers 4 --decoder-chunk-size 128 --adaptive-softmax-cutoff 2000,6000
    --weight-init open-gates --dropout 0.3"""
TRAINING = """--max-tokens 1536 --update-freq 1 --lr 4e-3 --warmup-updates 200 --total-num-update 1500
    --max-update 1500 --clip-norm 1.0 --num-workers 0 --no-epoch-checkpoints --validate-interval 2"""


def build_mirror(texts: Path, mirror: Path) -> None:
    """An archive with WikiText-103's layout, and its SHA256SUMS."""
    valid, test = (gzip.decompress((texts / f"{s}.txt.gz").read_bytes()).decode() for s in ("valid", "test"))
    lines = valid.splitlines(keepends=True)
    border = len(lines) * 9 // 10
    splits = {"train": "".join(lines[:border]), "valid": "".join(lines[border:]), "test": test}
    mirror.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(mirror / "wikitext-103-v1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for split, text in splits.items():
            archive.writestr(f"wikitext-103/wiki.{split}.tokens", text)
    content = (mirror / "wikitext-103-v1.zip").read_bytes()
    (mirror / "SHA256SUMS").write_text(f"{hashlib.sha256(content).hexdigest()}  wikitext-103-v1.zip\n")


def call(*command: object) -> str:
    """The standard output of a command; exits with its error when it fails."""
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Run the recipe for each seed and each way of evaluating."""
    parser = argparse.ArgumentParser(description="WikiText's recipe, small")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--work", type=Path, default=HERE / "work")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    if not (work / "mirror").exists():
        build_mirror(arguments.texts, work / "mirror")
    call(sys.executable, f"{RECIPE}/prepare.py", "--out", work, "--mirror", work / "mirror")
    results = []
    for seed in arguments.seeds:
        save = work / f"seed-{seed}"
        call(f"{RECIPE}/train.sh", work / "data-bin", save, *MODEL.split(), *TRAINING.split(), "--seed", seed)
        for chunk, blocks in ((128, 10), (256, 10), (128, 1), (128, 240)):
            options = [
                "--model-overrides",
                f"{{'decoder_chunk_size': {chunk}}}",
                "--valid-blocks",
                blocks,
                "--json",
            ]
            text = work / "text" / "test.txt"
            command = [f"{RECIPE}/evaluate.sh", work / "data-bin", save / "checkpoint_best.pt", text]
            report = json.loads(call(*command, *options))
            results.append({"seed": seed, **{k: v for k, v in report.items() if k != "checkpoint"}})
            print(results[-1], flush=True)
            (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

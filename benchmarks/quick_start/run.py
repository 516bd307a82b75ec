"""What lets Mega's cross-attention start quickly on small data: validation perplexity at equal updates.

    python benchmarks/quick_start/run.py            # after `make quickstart`, whose data it trains on

Every variant trains for 600 updates of 1,024 tokens with the quickstart's settings but for what its row says.
Writes results.json beside this file.
"""

import json
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DATA = "examples/quickstart/work/de/data-bin"
UPDATES, SEEDS = 600, (1,)
SETTINGS = shlex.split("""
    --source-lang en --target-lang de --user-dir mega_fairseq --task translation --share-all-embeddings
    --max-tokens 1024 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
    --lr-scheduler inverse_sqrt --warmup-updates 300 --criterion label_smoothed_cross_entropy
    --label-smoothing 0.1
    --validate-interval-updates 200 --validate-interval 1000 --num-workers 0 --no-save --log-format json
""")
TRANSFORMER = """--arch transformer --encoder-layers 2 --decoder-layers 2 --encoder-embed-dim 128
    --encoder-ffn-embed-dim 512 --decoder-ffn-embed-dim 512 --encoder-attention-heads 4
    --decoder-attention-heads 4"""
SIZES = """--arch mega_nmt --encoder-embed-dim 128 --encoder-hidden-dim 256 --encoder-ffn-embed-dim 256
    --encoder-z-dim 64 --encoder-layers 2"""
VARIANTS = {
    "transformer, lr 2e-3": f"{TRANSFORMER} --lr 2e-3",
    "transformer, lr 4e-3": f"{TRANSFORMER} --lr 4e-3",
    "paper (post-norm, simple bias), lr 2e-3": f"{SIZES} --lr 2e-3",
    "pre-norm, rotary, lr 2e-3": f"{SIZES} --normalize-before --rel-pos-bias rotary --lr 2e-3",
    "pre-norm, rotary, lr 4e-3": f"{SIZES} --normalize-before --rel-pos-bias rotary --lr 4e-3",
    "post-norm, simple bias, open gates, lr 4e-3": f"{SIZES} --weight-init open-gates --lr 4e-3",
    "pre-norm, rotary, open gates, lr 2e-3": "--arch mega_nmt_tiny --lr 2e-3",
    "pre-norm, rotary, open gates, lr 4e-3 (mega_nmt_tiny)": "--arch mega_nmt_tiny --lr 4e-3",
}


def perplexities(variant: str, seed: int) -> list[float]:
    """Validation perplexity after 200, 400 and 600 updates."""
    arguments = [*SETTINGS, *shlex.split(variant), "--seed", str(seed), "--max-update", str(UPDATES)]
    command = [sys.executable, "-m", "fairseq_cli.train", DATA, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stderr[-2000:]}")
    found = re.findall(r'"valid_ppl": "([\d.]+)"', done.stdout + done.stderr)
    return [float(ppl) for ppl in found][: UPDATES // 200]


def main() -> None:
    """Every variant with every seed, in turn."""
    runs: dict[str, dict[int, list[float]]] = {name: {} for name in VARIANTS}
    for seed in SEEDS:
        for name, variant in VARIANTS.items():
            runs[name][seed] = perplexities(variant, seed)
            print(name, seed, runs[name][seed], flush=True)
            last = {n: statistics.mean(r[-1] for r in by.values()) for n, by in runs.items() if by}
            result = {"updates": UPDATES, "mean perplexity at the end": last, "by seed": runs}
            (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

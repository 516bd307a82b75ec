"""Evaluating one text of growing length: peak memory, time, and the loss against a single forward pass.

    python benchmarks/eval_length.py

Every length runs in a fresh process: mega_lm (4 layers, D 128, chunk 256, 10,000 words), a random text as one
block, through fairseq's SequenceScorer, which is what fairseq-eval-lm calls. Writes eval_length.json.
"""

import json
import subprocess
import sys
from pathlib import Path

LENGTHS = [8192, 32768, 131072, 245569]
CODE = """
import json, resource, sys, time
sys.path.insert(0, "benchmarks")
import torch
from models import build_lm
from fairseq.sequence_scorer import SequenceScorer
length, way = int(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
model = build_lm("mega_lm_tiny", words=9996, decoder_chunk_size=256, dropout=0.0).eval()
text = torch.randint(4, 10000, (1, length + 1), generator=torch.Generator().manual_seed(0))
sample = {"net_input": {"src_tokens": text[:, :-1], "src_lengths": None}, "target": text[:, 1:]}
scorer = SequenceScorer(model.decoder.dictionary, softmax_batch=2048)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
if way != "in segments":
    model.decoder.segment = 10**9
score = SequenceScorer.generate.mega_original if way == "fairseq's own way" else SequenceScorer.generate
found = score(scorer, [model], sample)[0][0]
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base
print(json.dumps({"peak_mb": round(peak / 1024, 1), "cpu_seconds": seconds, "nats": -float(found["score"])}))
"""


def measure(length: int, way: str) -> dict[str, float]:
    """Peak memory above the model's, CPU seconds and loss, in a fresh process; {} where it does not fit."""
    command = [sys.executable, "-c", CODE, str(length), way]
    done = subprocess.run(command, capture_output=True, text=True)
    return json.loads(done.stdout.split("\n")[-2]) if done.returncode == 0 else {"failed": done.stderr[-200:]}


def main() -> None:
    """Every way at the lengths where it fits into memory."""
    ways = {"in segments": LENGTHS, "one forward pass": LENGTHS, "fairseq's own way": LENGTHS[:2]}
    result = {way: {str(n): measure(n, way) for n in lengths} for way, lengths in ways.items()}
    text = json.dumps(result, indent=1)
    Path("benchmarks/eval_length.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

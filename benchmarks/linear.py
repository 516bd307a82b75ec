"""From which size of W on oneDNN multiplies x W^T faster than torch's own choice on a CPU.

    python benchmarks/linear.py

Float32, no gradients, medians of 9 rounds in turn, of 20 calls each. Writes linear.json: rows of x, W,
torch's time over oneDNN's ("ratio"), and over oneDNN's with W packed ("packed").
"""

import json
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from mega_fairseq.ops.linear import PACKED_ROWS, _onednn

WEIGHTS = [(128, 128), (576, 128), (512, 256), (512, 512), (1024, 512), (2176, 512), (32000, 512)]
ROWS = [1, 5, 40, 1024]


def seconds(function, weight: torch.Tensor, x: torch.Tensor, bias: torch.Tensor) -> float:
    calls = 20 if len(bias) * x.numel() < 2**24 else 2
    began = time.perf_counter()
    for _ in range(calls):
        function(x, weight, bias)
    return (time.perf_counter() - began) / calls


@torch.no_grad()
def main() -> None:
    """Measure all sizes."""
    found = []
    for outputs, inputs in WEIGHTS:
        for rows in ROWS:
            weight, *others = torch.randn(outputs, inputs), torch.randn(rows, inputs), torch.randn(outputs)
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
            ways = ((F.linear, weight), (_onednn, weight), (_onednn, packed))
            rounds = [[seconds(function, w, *others) for function, w in ways] for _ in range(10)][1:]
            theirs, plain, ordered = (statistics.median(times) for times in zip(*rounds, strict=True))
            ratios = {"ratio": round(theirs / plain, 2), "packed": round(theirs / ordered, 2)}
            found.append({"rows": rows, "weight": [outputs, inputs], **ratios})
            print(found[-1], flush=True)
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

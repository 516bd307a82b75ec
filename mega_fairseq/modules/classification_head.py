"""From a sequence to its class: the mean over time, then two linear layers (Mega, section 4.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from mega_fairseq.modules.dropout import Dropout
from mega_fairseq.ops.precision import at_least_float32


def mean_over_time(x: Tensor, padding: Tensor) -> Tensor:
    """x: (L, B, D), zero where padding (B, L) is True; to (B, D), in x's dtype."""
    count = padding.size(1) - padding.sum(1, keepdim=True)
    return (at_least_float32(x).sum(0) / count.clamp(min=1)).type_as(x)


class ClassificationHead(nn.Module):
    """GELU(dropout(x W + b)) V, from (B, width) to logits (B, classes)."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: Dropout):
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.out_proj = nn.Linear(hidden, classes, bias=False)
        self.dropout = dropout
        for layer in (self.dense, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(F.gelu(self.dropout(self.dense(x))))

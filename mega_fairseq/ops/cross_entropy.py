"""Cross-entropy over a large vocabulary in the memory of the logits, which become their own gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mega_fairseq.ops.precision import at_least_float32

CPU_PIECE, GPU_PIECE = 2**20, 2**27  # logits that are turned into probabilities at a time


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """-sum_v q(v) log p(v) and -log p(target), each (N), float32 at least, of logits (N, V) and target (N).

    q gives the target 1 - smoothing and each other word smoothing / (V - 1) (Szegedy et al. 2016; fairseq's
    label_smoothed_cross_entropy). The second result has no gradient. The backward pass writes the logits'
    gradient over the logits, unless they are a leaf's: it can run once, and who reads them reads them before.
    """
    return _CrossEntropy.apply(logits, target, smoothing)


def _pieces(logits: Tensor, *others: Tensor) -> Any:
    """Rows of all of them that are computed together."""
    rows = max(1, (GPU_PIECE if logits.is_cuda else CPU_PIECE) // logits.size(1))
    return zip(*(t.split(rows) for t in (logits, *others)), strict=True)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, target)
        whole = logits if logits._base is None else logits._base
        ctx.smoothing, ctx.leaf = smoothing, whole.is_leaf
        likelihoods, spread = [], []
        for rows, words in _pieces(logits, target):
            rows = at_least_float32(rows)
            total = torch.logsumexp(rows, dim=-1)
            likelihoods.append(total - rows.gather(1, words.unsqueeze(1)).squeeze(1))
            if smoothing:
                spread.append(total - rows.mean(dim=-1))
        nll = torch.cat(likelihoods)
        ctx.mark_non_differentiable(nll)
        if not smoothing:
            return nll.clone(), nll
        rest = smoothing / (logits.size(1) - 1)
        return (1 - smoothing - rest) * nll + rest * logits.size(1) * torch.cat(spread), nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor, of_nll: Tensor) -> tuple[Tensor | None, None, None]:
        logits, target = ctx.saved_tensors
        gradient = torch.empty_like(logits) if ctx.leaf else logits
        rest = ctx.smoothing / (logits.size(1) - 1) if ctx.smoothing else 0.0
        for rows, into, words, scale in _pieces(logits, gradient, target, of_loss):
            difference = torch.softmax(at_least_float32(rows), dim=-1)  # p, and then p - q
            if rest:
                difference -= rest
            picked = words.unsqueeze(1)
            difference.scatter_add_(1, picked, difference.new_full(picked.shape, rest + ctx.smoothing - 1))
            into.copy_(difference.mul_(scale.unsqueeze(1)))
        return gradient.detach(), None, None

"""The five norms of Mega on (B, L, D), eps 1e-5; apex's fused kernels on CUDA where it is installed."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-5


def fused_norms() -> tuple[Callable[..., Tensor], Callable[..., Tensor]] | None:
    """NVIDIA apex's fused affine (layer norm, RMS norm), or None where it cannot be imported."""
    try:
        from apex.normalization.fused_layer_norm import fused_layer_norm_affine, fused_rms_norm_affine
    except ImportError:  # absent, or the unrelated `apex` of PyPI
        return None
    return fused_layer_norm_affine, fused_rms_norm_affine


class LayerNorm(nn.LayerNorm):
    """weight * (x - mean) / std + bias."""

    def __init__(self, dim: int, affine: bool = True):
        super().__init__(dim, eps=EPS, elementwise_affine=affine)
        fused = fused_norms() if affine else None
        self.fused = fused and fused[0]

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None and x.is_cuda:
            return self.fused(x, self.weight, self.bias, self.normalized_shape, self.eps)
        return super().forward(x)


class RMSNorm(nn.Module):
    """weight * x / rms(x)."""

    def __init__(self, dim: int, affine: bool = True):
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None
        fused = fused_norms() if affine else None
        self.fused = fused and fused[1]

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None and x.is_cuda:
            return self.fused(x, self.weight, (self.dim,), EPS)
        return F.rms_norm(x, (self.dim,), self.weight, EPS)


class ScaleNorm(nn.Module):
    """scalar * x / rms(x)."""

    def __init__(self, dim: int, affine: bool = True):
        super().__init__()
        self.dim = dim
        self.scalar = nn.Parameter(torch.ones(1)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.rms_norm(x, (self.dim,), None, EPS)
        return x if self.scalar is None else x * self.scalar


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over all positions of (B, L, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm over all positions of (B, L, D) of all processes (CUDA only)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def build_norm(kind: str, dim: int, affine: bool = True) -> nn.Module:
    """The norm called `kind` (config.NORMS) over the last dimension of (B, L, dim)."""
    if kind == "layernorm":
        return LayerNorm(dim, affine)
    if kind == "rmsnorm":
        return RMSNorm(dim, affine)
    if kind == "scalenorm":
        return ScaleNorm(dim, affine)
    if kind == "batchnorm":
        return BatchNorm(dim, eps=EPS, affine=affine)
    if kind == "syncbatchnorm":
        return SyncBatchNorm(dim, eps=EPS, affine=affine)
    raise ValueError(f"unknown norm {kind!r}")

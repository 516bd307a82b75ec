"""The five norms against their formulas, and which kernel runs them."""

import sys
import types

import pytest
import torch
from torch import nn

from mega_fairseq.config import NORMS
from mega_fairseq.modules import norm
from mega_fairseq.modules.norm import build_norm

EPS = 1e-5


def draw():
    torch.manual_seed(0)
    return torch.randn(3, 5, 7, dtype=torch.double) * 2 + 1


def made(kind, affine=True):
    module = build_norm(kind, 7, affine).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.rand_like(parameter))
    return module


def formula(kind, module, x):
    if kind in ("rmsnorm", "scalenorm"):
        out = x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()
        weight = getattr(module, "scalar" if kind == "scalenorm" else "weight")
        return out if weight is None else out * weight
    dims = -1 if kind == "layernorm" else (0, 1)
    centred = x - x.mean(dims, keepdim=True)
    out = centred / (centred.square().mean(dims, keepdim=True) + EPS).sqrt()
    return out if module.weight is None else out * module.weight + module.bias


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in NORMS if kind != "syncbatchnorm"])
def test_formula(kind, affine):
    module, x = made(kind, affine), draw()
    torch.testing.assert_close(module(x), formula(kind, module, x), atol=1e-12, rtol=1e-12)
    assert any(True for _ in module.parameters()) == affine


def test_sync_batch_norm_is_batch_norm_in_evaluation():
    sync, batch = made("syncbatchnorm"), made("batchnorm")
    batch(draw())  # running statistics
    sync.load_state_dict(batch.state_dict())
    torch.testing.assert_close(sync.eval()(draw()), batch.eval()(draw()))


def test_unknown_norm():
    with pytest.raises(ValueError, match="'powernorm'"):
        build_norm("powernorm", 7)


class OnCuda(torch.Tensor):
    """A CPU tensor that says it is on a GPU."""

    is_cuda = True


@pytest.fixture
def apex(monkeypatch):
    """A stand-in for NVIDIA's apex; its calls."""
    calls = []

    def fused_layer_norm_affine(x, weight, bias, shape, eps):
        calls.append("layernorm")
        return nn.functional.layer_norm(x.as_subclass(torch.Tensor), tuple(shape), weight, bias, eps)

    def fused_rms_norm_affine(x, weight, shape, eps):
        calls.append("rmsnorm")
        return nn.functional.rms_norm(x.as_subclass(torch.Tensor), tuple(shape), weight, eps)

    module = types.ModuleType("apex.normalization.fused_layer_norm")
    module.fused_layer_norm_affine = fused_layer_norm_affine
    module.fused_rms_norm_affine = fused_rms_norm_affine
    for name in ("apex", "apex.normalization"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_apex_runs_on_cuda_tensors_only(apex, kind):
    module, x = made(kind), draw()
    expected = formula(kind, module, x)
    torch.testing.assert_close(module(x), expected)
    assert apex == []
    torch.testing.assert_close(module(x.as_subclass(OnCuda)), expected)
    assert apex == [kind]
    made(kind, affine=False)(x.as_subclass(OnCuda))  # apex's kernels here have weights
    assert apex == [kind]


def test_another_project_called_apex_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "apex", types.ModuleType("apex"))
    assert norm.fused_norms() is None
    assert made("layernorm").fused is None

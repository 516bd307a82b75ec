"""The linear layer by oneDNN: the numbers of torch's own, gradients included, and when it is taken."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import prune

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.layer import MegaLayer
from mega_fairseq.modules.linear import pack_linears, product
from mega_fairseq.ops import linear as module
from mega_fairseq.ops.linear import linear

INPUTS, OUTPUTS = 12, 10


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(module, "LARGE", INPUTS * OUTPUTS)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the weights that oneDNN has multiplied by."""
    found, original = [], module._onednn

    def counted(x, weight, bias=None):
        found.append("packed" if weight.layout == torch._mkldnn else tuple(weight.shape))
        return original(x, weight, bias)

    monkeypatch.setattr(module, "_onednn", counted)
    return found


def tensors(shape, dtype=torch.float32):
    sizes = (*shape, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,)
    return [torch.randn(size, dtype=dtype, requires_grad=True) for size in sizes]


def equal_with_gradients(ours, theirs, inputs):
    found, expected = (run(*inputs) for run in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    cotangent = torch.randn_like(expected)
    for mine, other in zip(
        *(torch.autograd.grad(y, wanted, cotangent) for y in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (1, 1), (2, 13), (2, 3, 5)])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_torch(shape, bias, calls):
    x, weight, b = tensors(shape)
    equal_with_gradients(linear, F.linear, [x, weight, b if bias else None])
    assert calls == [(OUTPUTS, INPUTS), (INPUTS, OUTPUTS)]


def test_strided_operands(calls):
    x = torch.randn(5, INPUTS, 3, requires_grad=True)
    weight = torch.randn(INPUTS, OUTPUTS, requires_grad=True)
    equal_with_gradients(
        lambda x, w: linear(x.transpose(1, 2), w.t()),
        lambda x, w: F.linear(x.transpose(1, 2), w.t()),
        [x, weight],
    )
    assert len(calls) == 2


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_only_what_needs_a_gradient_has_one(frozen):
    inputs = tensors((4,))
    inputs[frozen].requires_grad_(False)
    equal_with_gradients(linear, F.linear, inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torch_s(dtype, calls):
    x, weight, bias = tensors((3,), dtype)
    assert linear(x, weight, bias).equal(F.linear(x, weight, bias)) and not calls


def test_autocast_and_small_or_empty_operands_are_torch_s(calls, monkeypatch):
    x, weight, bias = tensors((3,))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    assert linear(x[:0], weight, bias).shape == (0, OUTPUTS)
    monkeypatch.setattr(module, "LARGE", INPUTS * OUTPUTS + 1)
    linear(x, weight, bias)
    assert not calls


def test_backward_inside_autocast():
    x, weight, bias = tensors((3,))
    y = linear(x, weight, bias)
    with torch.autocast("cpu", torch.bfloat16):
        y.sum().backward()
    torch.testing.assert_close(weight.grad, x.detach().sum(0).expand(OUTPUTS, INPUTS), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("bias", [torch.randn(2 * OUTPUTS)[::2], torch.randn(1).expand(OUTPUTS)])
def test_strided_bias(bias):
    x, weight, _ = tensors((3,))
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


def test_second_derivative():
    inputs = tensors((3,))
    slopes = []
    for kind in (linear, F.linear):
        (first,) = torch.autograd.grad(kind(*inputs).sin().sum(), inputs[0], create_graph=True)
        slopes.append(torch.autograd.grad(first.square().sum(), inputs))
    for mine, other in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_switched_off_with_torch_s_flag(calls):
    x, weight, bias = tensors((3,))
    with torch.backends.mkldnn.flags(enabled=False):
        linear(x, weight, bias)
    assert not calls


@pytest.mark.parametrize("width", [8, 512])
def test_hooks_and_pruning_reach_long_sequences(width):
    config = MegaConfig(embed_dim=width, hdim=width, ffn_dim=width, zdim=8, ndim=2, chunk_size=64)
    layer = MegaLayer(config, causal=True)
    prune.l1_unstructured(layer.feed_forward.fc1, "weight", 0.5)
    products = [part for part in layer.modules() if isinstance(part, torch.nn.Linear)]
    seen = []
    for part in products:
        part.register_forward_hook(lambda part, *_: seen.append(part))
    x = torch.randn(1, 2049, width)
    for length in (5, 2049):
        seen.clear()
        before = layer(x[:, :length])[0]
        assert set(seen) == set(products)
        with torch.no_grad():
            layer.feed_forward.fc1.weight_orig.mul_(2.0)
        assert not layer(x[:, :length])[0].equal(before)
    layer(x)[0].sum().backward()
    assert layer.feed_forward.fc1.weight_orig.grad.any()


def prepared():
    layer = torch.nn.Linear(INPUTS, OUTPUTS)
    pack_linears(layer)
    return layer


def equals_torch_s(layer, x):
    torch.testing.assert_close(
        product(layer, x), F.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5, check_dtype=True
    )


@torch.no_grad()
@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 3, 5), (300,), (0,)])
def test_packed(shape, calls):
    equals_torch_s(prepared(), torch.randn(*shape, INPUTS))
    assert calls == ([] if 0 in shape else ["packed"])


def test_a_gradient_is_taken_from_the_weight_itself(calls):
    layer, x = prepared(), torch.randn(3, INPUTS)
    product(layer, x).sum().backward()
    assert "packed" not in calls and layer.weight.grad is not None


def load(layer):
    layer.load_state_dict(torch.nn.Linear(INPUTS, OUTPUTS).state_dict())


def write(layer):
    with torch.no_grad():
        layer.weight.mul_(2.0)


def exchange(layer):
    for _ in range(3):  # freed memory is used again
        layer.weight.data = layer.weight.data * 2.0


def assign(layer):
    layer.to("meta")
    layer.load_state_dict(torch.nn.Linear(INPUTS, OUTPUTS).state_dict(), assign=True)


def assign_inferred(layer):
    with torch.inference_mode():
        layer.load_state_dict(torch.nn.Linear(INPUTS, OUTPUTS).state_dict(), assign=True)


def round_and_back(layer):
    layer.half().float()


def train(optimizer, **options):
    def change(layer):
        steps = optimizer(layer.parameters(), lr=0.5, **options)
        product(layer, torch.randn(3, INPUTS)).sum().backward()
        steps.step()

    return change


def train_through_data(layer):  # as fairseq's Adam
    product(layer, torch.randn(3, INPUTS)).sum().backward()
    layer.weight.data.add_(layer.weight.grad)


CHANGES = [load, write, exchange, assign, assign_inferred, round_and_back, train_through_data]
CHANGES += [torch.nn.Module.double, torch.nn.Module.bfloat16]
CHANGES += [train(torch.optim.Adam, fused=True), train(torch.optim.SGD, fused=True), train(torch.optim.AdamW)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_weight_that_changed_is_not_multiplied_by_as_it_was(change, calls):
    layer = prepared()
    change(layer)
    with torch.no_grad():
        equals_torch_s(layer, torch.randn(3, INPUTS, dtype=layer.weight.dtype))
    assert "packed" not in calls


@torch.no_grad()
def test_a_prepared_layer_is_copied_and_saved_as_any(tmp_path):
    layer, other, x = prepared(), torch.nn.Linear(INPUTS, OUTPUTS), torch.randn(3, INPUTS)
    torch.save(layer, tmp_path / "whole.pt")  # torch refuses to save a packed tensor
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    for same in (copy.deepcopy(layer), other):
        torch.testing.assert_close(product(same, x), layer(x), atol=1e-5, rtol=1e-5)
    assert list(layer.state_dict()) == ["weight", "bias"]


@torch.inference_mode()
def test_weights_made_in_inference_mode_are_not_packed(calls):
    layer = prepared()
    equals_torch_s(layer, torch.randn(3, INPUTS))
    assert "packed" not in calls


@torch.no_grad()
def test_weights_that_are_made_from_others_are_not_packed(calls):
    layer = torch.nn.Linear(INPUTS, OUTPUTS)
    torch.nn.utils.parametrizations.weight_norm(layer)
    pack_linears(layer)
    equals_torch_s(layer, torch.randn(3, INPUTS))
    assert "packed" not in calls

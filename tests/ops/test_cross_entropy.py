"""Cross-entropy in the logits' memory: its loop's numbers, gradients included, and who may read them."""

import pytest
import torch
from reference.cross_entropy import naive_cross_entropy

from mega_fairseq.ops import cross_entropy as module
from mega_fairseq.ops.cross_entropy import cross_entropy

WORDS = 11


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(module, "CPU_PIECE", 4 * WORDS)


def draw(rows, dtype=torch.float64):
    return torch.randn(rows, WORDS, dtype=dtype).mul_(3), torch.randint(WORDS, (rows,))


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 13])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("leaf", [True, False])
def test_equals_the_loop(rows, smoothing, leaf):
    x, target = draw(rows)
    cotangent = torch.randn(rows, dtype=x.dtype)
    results = []
    for function in (cross_entropy, naive_cross_entropy):
        y = x.clone().requires_grad_()
        loss, nll = function(y if leaf else y * 1.0, target, smoothing)
        loss.backward(cotangent)
        results.append((loss, nll, y.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    x, target = draw(9, dtype)
    results = []
    for y in (x, x.double()):
        y = y.clone().requires_grad_()
        loss, nll = cross_entropy(y * 1.0, target, 0.1)
        loss.sum().backward()
        results.append((loss, nll, y.grad))
    (loss, nll, gradient), (exact_loss, exact_nll, exact) = results
    assert loss.dtype == nll.dtype == torch.float32 and gradient.dtype == dtype
    torch.testing.assert_close(loss.double(), exact_loss, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(nll.double(), exact_nll, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(gradient, exact.to(dtype), atol=1e-6, rtol=torch.finfo(dtype).eps)


def test_the_gradient_takes_the_memory_of_the_logits():
    x, target = draw(9)
    found = []
    logits = x.requires_grad_() * 1.0
    logits.register_hook(lambda gradient: found.append(gradient.data_ptr()))
    cross_entropy(logits, target)[0].sum().backward()
    assert found == [logits.data_ptr()]


def test_a_leaf_keeps_its_values():
    x, target = draw(9)
    kept = x.clone()
    cross_entropy(x.requires_grad_(), target)[0].sum().backward()
    assert torch.equal(x, kept) and x.grad.data_ptr() != x.data_ptr()


def test_a_view_of_a_leaf_leaves_it_as_it_was():
    x, target = draw(6)
    kept = x.clone()
    cross_entropy(x.requires_grad_().view(3, 2, WORDS).flatten(0, 1), target)[0].sum().backward()
    assert torch.equal(x, kept)


def test_the_gradient_is_no_part_of_the_graph():
    x, target = draw(6)
    logits = x.requires_grad_() * 1.0
    (gradient,) = torch.autograd.grad(cross_entropy(logits, target)[0].sum(), logits)
    assert not gradient.requires_grad


def test_a_vocabulary_of_one_word():
    x = torch.randn(2, 1, requires_grad=True)
    loss, _ = cross_entropy(x * 1.0, torch.zeros(2, dtype=torch.long))
    loss.sum().backward()
    assert torch.equal(loss, torch.zeros(2)) and torch.equal(x.grad, torch.zeros(2, 1))


def test_a_second_backward_pass_is_refused():
    x, target = draw(9)
    loss = cross_entropy(x.requires_grad_() * 1.0, target)[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_who_reads_the_logits_in_the_backward_pass_is_refused():
    x, target = draw(9)
    logits = x.requires_grad_().exp()  # whose gradient needs its result
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        cross_entropy(logits, target)[0].sum().backward()


def test_large_logits_are_finite():
    x = torch.tensor([[1e4, -1e4, 0.0], [-3e38, 0.0, 3e38]], requires_grad=True)
    loss, nll = cross_entropy(x * 1.0, torch.tensor([0, 2]))
    loss.sum().backward()
    assert torch.equal(nll, torch.zeros(2)) and torch.equal(x.grad, torch.zeros(2, 3))

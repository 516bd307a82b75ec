"""Caches that grow in place: equal to concatenation, and safe to continue twice."""

import pytest
import torch

from mega_fairseq.state import AttentionState


def drawn(length, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, length, 3, generator=g), torch.randn(2, length, 5, generator=g)


def contents(state):
    return torch.cat([state.key, state.value], -1)


@pytest.mark.parametrize("lengths", [[1] * 40, [7, 1, 1, 30, 1], [1, 64, 1]])
def test_appending_equals_concatenation(lengths):
    parts = [drawn(length, seed) for seed, length in enumerate(lengths)]
    with torch.no_grad():
        state = AttentionState(*parts[0])
        for part in parts[1:]:
            state = state.append(*part)
    expected = AttentionState(*(torch.cat(tensors, 1) for tensors in zip(*parts, strict=True)))
    assert torch.equal(contents(state), contents(expected))


@torch.no_grad()
def test_a_state_may_be_continued_twice():
    start = AttentionState(*drawn(3)).append(*drawn(1, 1))
    before = contents(start).clone()
    one, other = start.append(*drawn(1, 2)), start.append(*drawn(1, 3))
    longer = one.append(*drawn(2, 4))
    assert torch.equal(contents(start), before)
    assert torch.equal(contents(one)[:, -1:], torch.cat(drawn(1, 2), -1))
    assert torch.equal(contents(other)[:, -1:], torch.cat(drawn(1, 3), -1))
    assert torch.equal(contents(longer)[:, :5], contents(one))


@torch.no_grad()
def test_room_is_used_again_and_not_shared_after_reordering():
    state = AttentionState(*drawn(3)).append(*drawn(1, 1))
    assert state.append(*drawn(1, 2)).room is state.room
    turned = state.reorder(torch.tensor([1, 0, 1]))
    assert torch.equal(contents(turned), contents(state)[[1, 0, 1]]) and turned.room is not state.room
    longer = turned.append(torch.zeros(3, 1, 3), torch.ones(3, 1, 5))
    assert torch.equal(contents(longer)[:, :4], contents(turned)) and longer.room is turned.room


def test_gradients_pass_through():
    parts = [[t.requires_grad_() for t in drawn(2, seed)] for seed in range(2)]
    state = AttentionState(*parts[0]).append(*parts[1])
    contents(state).sum().backward()
    assert all(torch.equal(t.grad, torch.ones_like(t)) for part in parts for t in part)


@torch.no_grad()
@pytest.mark.parametrize("rows", [[1, 0], [1, 1], [0], [0, 1, 1]])
def test_reordering_into_the_room_of_another(rows):
    order = torch.tensor(rows)
    state, scratch = (AttentionState(*drawn(3, seed)).append(*drawn(2, seed + 1)) for seed in (0, 5))
    expected = contents(state)[order]
    reordered = state.reorder(order, scratch)
    assert contents(reordered).equal(expected)
    fits = len(rows) == 2
    assert (reordered.key.data_ptr() == scratch.key.data_ptr()) is fits
    longer = reordered.append(*(t[:1].expand(len(rows), -1, -1) for t in drawn(1, 9)))
    assert contents(longer)[:, :5].equal(expected)


@torch.no_grad()
def test_its_own_room_is_no_scratch():
    state = AttentionState(*drawn(3)).append(*drawn(2, 1))
    expected = contents(state).flip(0)
    assert contents(state.reorder(torch.tensor([1, 0]), state)).equal(expected)

"""Caches that grow in place: equal to concatenation, and safe to continue twice."""

import pytest
import torch

from mega_fairseq.state import AttentionState, Moves


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
@pytest.mark.parametrize("rows", [[1, 0], [1, 1], [0], [0, 1, 1]])
def test_room_is_used_again_after_reordering(rows):
    state = AttentionState(*drawn(3)).append(*drawn(1, 1))
    room, before = state.room, contents(state).clone()
    assert state.append(*drawn(1, 2)).room is room
    state = AttentionState(*drawn(3)).append(*drawn(1, 1))
    room = state.room
    order, origins = torch.tensor(rows), torch.arange(2).unsqueeze(1).expand(-1, 4)
    moves = Moves.of(order, origins, origins[order]) if len(rows) == 2 else None
    turned = state.reorder(order, moves)
    assert torch.equal(contents(turned), before[rows]) and (turned.room is room) is (len(rows) == 2)
    longer = turned.append(*(t[:1].expand(len(rows), -1, -1) for t in drawn(1, 9)))
    assert torch.equal(contents(longer)[:, :4], before[rows]) and longer.room is turned.room


@torch.no_grad()
def test_a_state_continued_elsewhere_is_not_reordered_in_its_room():
    state = AttentionState(*drawn(3)).append(*drawn(1, 1))
    before, longer = contents(state).clone(), state.append(*drawn(1, 2))
    continued = contents(longer).clone()
    order, origins = torch.tensor([1, 0]), torch.arange(2).unsqueeze(1).expand(-1, 4)
    moves = Moves.of(order, origins, origins[order])
    assert torch.equal(contents(state.reorder(order, moves)), before.flip(0))
    assert torch.equal(contents(longer), continued)


@torch.no_grad()
def test_only_what_differs_is_moved():
    state = AttentionState(*drawn(3)).append(*drawn(2, 1))
    before, order = contents(state).clone(), torch.tensor([1, 0])
    origins = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 0, 1]])
    turned = contents(state.reorder(order, Moves.of(order, origins, origins[order])))
    for position in range(5):
        moves = position in (2, 4)
        assert torch.equal(turned[:, position], before.flip(0)[:, position] if moves else before[:, position])


def test_gradients_pass_through():
    parts = [[t.requires_grad_() for t in drawn(2, seed)] for seed in range(2)]
    state = AttentionState(*parts[0]).append(*parts[1])
    contents(state).sum().backward()
    assert all(torch.equal(t.grad, torch.ones_like(t)) for part in parts for t in part)

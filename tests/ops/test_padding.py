"""Rows turned so that their padding lies behind them, and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mega_fairseq.ops.padding import Turn

PAD = 1
ROWS = st.tuples(st.integers(0, 3), st.lists(st.integers(2, 9), max_size=6))


@given(rows=st.lists(ROWS, min_size=1, max_size=4))
def test_padding_lies_behind(rows):
    longest = max(1, *(leading + len(row) for leading, row in rows))
    batch = [[PAD] * leading + row + [PAD] * (longest - leading - len(row)) for leading, row in rows]
    tokens = torch.tensor(batch)
    turn = Turn.of(tokens.eq(PAD))
    for found, (_, row) in zip(turn.apply(tokens).tolist(), rows, strict=True):
        assert found == row + [PAD] * (longest - len(row))  # tokens in order, then pads
    expected = [leading if row else 0 for leading, row in rows]
    assert turn.leading is None if not any(expected) else turn.leading.tolist() == expected
    assert turn.undo(turn.apply(tokens)).equal(tokens)


@given(shifts=st.lists(st.integers(0, 15), min_size=1, max_size=4), length=st.integers(1, 12))
def test_a_turn_equals_roll_and_has_an_inverse(shifts, length):
    turn, x = Turn(torch.tensor(shifts)), torch.randn(len(shifts), length, 3)
    turned = turn.apply(x)
    for found, row, by in zip(turned, x, shifts, strict=True):
        assert found.equal(row.roll(-by, 0))
    assert turn.undo(turned).equal(x)
    weights = x.transpose(1, 2)
    assert turn.undo_columns(turned.transpose(1, 2)).equal(weights)

"""Matrices that depend on column minus row only."""

from torch import Tensor


def toeplitz(values: Tensor, rows: int, columns: int) -> Tensor:
    """The matrix m[..., i, j] = values[..., rows - 1 + j - i] from a vector of rows + columns - 1 values."""
    assert values.size(-1) == rows + columns - 1
    return values.unfold(-1, columns, 1).flip(-2)

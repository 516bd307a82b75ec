"""fairseq-train of a language model: what the stock transformer takes, Mega takes."""

import functools

import pytest
import rows

pytestmark = pytest.mark.slow
ROWS = [*rows.TRAIN_BOTH, *rows.TRAIN_LM]


@pytest.fixture(scope="module")
def run(frame):
    return functools.partial(frame.train, "lm")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.given)
def test_alike(row, agree, run):
    agree(row, run)

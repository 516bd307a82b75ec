"""fairseq-train of a translation model: what the stock transformer takes, Mega takes."""

import functools

import pytest
import rows

pytestmark = pytest.mark.slow
ROWS = [*rows.TRAIN, *rows.TRAIN_BOTH, *rows.TRAIN_NMT]


@pytest.fixture(scope="module")
def run(frame):
    return functools.partial(frame.train, "nmt")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.given)
def test_alike(row, agree, run):
    agree(row, run)


@pytest.fixture(scope="module")
def aligned(frame):
    return functools.partial(frame.train, "align")


@pytest.mark.parametrize("row", rows.TRAIN_ALIGN, ids=lambda row: row.given)
def test_alignments_are_alike(row, agree, aligned):
    agree(row, aligned)

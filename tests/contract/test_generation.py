"""What a trained translation model is asked for."""

import pytest
import rows

pytestmark = pytest.mark.slow
# Command, what is read, rows
TABLES = [
    ("generate", "", rows.GENERATE),
    ("interactive", rows.LINES, rows.INTERACTIVE),
    ("interactive", rows.CONSTRAINED, rows.CONSTRAINTS),
    ("validate", "", rows.VALIDATE + rows.VALIDATE_NMT),
]


@pytest.mark.parametrize(("command", "stdin", "row"), list(rows.each(TABLES)))
def test_alike(command, stdin, row, agree, asked):
    agree(row, asked(command, "nmt", stdin))

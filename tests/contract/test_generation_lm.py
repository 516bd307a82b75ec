"""What a trained language model is asked for."""

import pytest
import rows

pytestmark = pytest.mark.slow
# Command, what is read, rows
TABLES = [
    ("generate", "", rows.GENERATE_LM),
    ("interactive", rows.LINES, rows.INTERACTIVE_LM),
    ("eval_lm", "", rows.EVAL_LM),
    ("validate", "", rows.VALIDATE),
]


@pytest.mark.parametrize(("command", "stdin", "row"), list(rows.each(TABLES)))
def test_alike(command, stdin, row, agree, asked):
    agree(row, asked(command, "lm", stdin))

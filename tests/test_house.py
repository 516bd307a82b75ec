"""What keeps the house readable: short functions and files, and nothing that is said twice."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mega_fairseq"
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTION, FILE, REPEATED = 40, 250, 6  # lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_files_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION, f"{path}: {node.name} has {lines} lines"


def test_nothing_stands_twice():
    found = defaultdict(list)
    for path in FILES:
        lines = [(i, line.strip()) for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
        lines = [(i, line) for i, line in lines if line and not line.startswith(("import ", "from "))]
        for start in range(len(lines) - REPEATED + 1):
            number, _ = lines[start]
            found[tuple(line for _, line in lines[start : start + REPEATED])].append(f"{path.name}:{number}")
    assert [places for places in found.values() if len(places) > 1] == []

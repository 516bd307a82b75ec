"""Imports run one way through the rooms, and the pure part never sees fairseq.

config, state, ops <- modules <- models <- {data, tasks, criterions, checkpoints, evaluation} <- compat <-
commands
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mega_fairseq"
ROOMS = [
    {"config", "state", "ops"},
    {"modules"},
    {"models"},
    {"data", "tasks", "criterions", "checkpoints", "evaluation"},
    {"compat"},
    {"commands"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
PURE = {"config", "state", "ops", "modules"}
FORBIDDEN = {"fairseq", "fairseq_cli", "omegaconf", "hydra"}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or layer_of(path) in FLOOR)


def imports(source: str, package: str) -> set[str]:
    """Every module that the source may import, at any depth; `from a import b` counts as a.b."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: -node.level + 1 or None] if node.level else []
            module = ".".join([*parent, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def package_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).parent.parts)


def test_imports_are_found():
    source = (
        "import fairseq.utils\ndef f():\n    from ..modules import x\nfrom . import y\nfrom hydra import z"
    )
    assert imports(source, "mega_fairseq.ops") == {
        "fairseq.utils",
        "mega_fairseq.modules.x",
        "mega_fairseq.ops.y",
        "hydra.z",
    }


def test_every_file_has_its_room():
    alone = {path.name for path in PACKAGE.glob("*.py")}
    assert alone == {"__init__.py", "__main__.py", "config.py", "state.py"}
    assert {layer_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = layer_of(path)
    for name in imports(path.read_text(), package_of(path)):
        top, _, rest = name.partition(".")
        assert not (room in PURE and top in FORBIDDEN), f"{path} is pure and imports {name}"
        if top == "mega_fairseq":
            target = rest.partition(".")[0]
            assert target in FLOOR, f"{path} imports {name}, the package itself"
            assert FLOOR[target] <= FLOOR[room], f"{path} imports {name} from a room above"


def test_the_plan_shows_every_room_and_the_way_down():
    plan = (PACKAGE.parent / "docs" / "how-mega-works.md").read_text(encoding="utf-8")
    plan = plan[plan.index("```mermaid") : plan.index("```", plan.index("```mermaid") + 3)]
    for room in FLOOR:
        assert f"{room}/: " in plan or f"{room}.py, " in plan, room
    named = {3: "beside", 0: "pure"}
    order = [named.get(floor, next(iter(rooms))) for floor, rooms in enumerate(ROOMS)]
    assert " --> ".join(reversed(order)) in plan

"""Imports run one way, config, state, ops <- modules <- models <- tasks; the pure part never sees fairseq."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mega_fairseq"
LAYERS = {"config": 0, "state": 0, "ops": 0, "modules": 1}
LAYERS |= {"models": 2, "data": 2, "criterions": 2, "tasks": 3}
PURE = {"config", "state", "ops", "modules"}
FORBIDDEN = {"fairseq", "fairseq_cli", "omegaconf", "hydra"}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if layer_of(path) in LAYERS)


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    layer = layer_of(path)
    for name in imports(path.read_text(), package_of(path)):
        top, _, rest = name.partition(".")
        assert not (layer in PURE and top in FORBIDDEN), f"{path} is pure and imports {name}"
        if top == "mega_fairseq":
            target = rest.partition(".")[0]
            assert layer not in PURE or target in PURE, f"{path} is pure and imports {name}"
            assert LAYERS.get(target, 0) <= LAYERS[layer], f"{path} imports {name} from a layer above"

"""The changes by kind, for `python -m mega_fairseq --repairs` and for the tables of docs/repairs.md."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from mega_fairseq.compat import registry, switches

TITLES = {
    "repair": "Repairs of fairseq's faults",
    "check": "Checks of what a user gives",
    "safety": "Safety of files",
    "process": "Settings of the process",
}
BEGIN = "<!-- scripts/list_repairs.py writes what follows -->\n"


def by_kind() -> Iterator[tuple[str, list[registry.Change]]]:
    """Each kind with its changes, by name."""
    for kind in TITLES:
        yield kind, sorted((c for c in registry.known.values() if c.kind == kind), key=lambda c: c.name)


def versions_of(change: registry.Change) -> str:
    return "all" if change.versions == registry.ALL else ", ".join(change.versions)


def printed() -> str:
    """What --repairs prints."""
    lines = [
        f"{switches.VARIABLE}=name,name in the environment does without these, "
        f"{switches.VARIABLE}={switches.ALL} without any."
    ]
    for kind, changes in by_kind():
        lines += ["", f"== {TITLES[kind]} =="]
        for change in changes:
            state = "" if change.applied else " (off)"
            lines += ["", f"{change.name}{state}: {', '.join(change.places)}"]
            about = change.fault
            if change.versions != registry.ALL:
                about += f" A fault of fairseq {versions_of(change)} only."
            if change.until:
                about += f" Goes when {change.until}."
            lines.append(textwrap.fill(about, 110, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)


def tables() -> str:
    """A heading and a table for each kind, in Markdown; only repairs are of some versions and may go."""
    parts = []
    for kind, changes in by_kind():
        columns = ["name", "place", "fault, and what is done"]
        rows = [[f"`{c.name}`", ", ".join(f"`{place}`" for place in c.places), c.fault] for c in changes]
        if kind == "repair":
            columns += ["fairseq", "goes when"]
            rows = [[*row, versions_of(c), c.until] for row, c in zip(rows, changes, strict=True)]
        lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
        head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
        parts.append("\n".join([f"### {TITLES[kind]}", "", head, *lines]))
    return "\n\n".join(parts) + "\n"


def write(document: Path) -> None:
    """Write the tables at the end of docs/repairs.md."""
    text, begin, _ = document.read_text(encoding="utf-8").partition(BEGIN)
    document.write_text(f"{text}{begin}\n{tables()}", encoding="utf-8")

"""Write the tables of docs/fairseq.md, from the rows that the tests run.

.venv/bin/python tests/contract/document.py
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import calls
import inventory
import tasks

from mega_fairseq.models import refused

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "fairseq.md"
BEGINNING = "<!-- The tables below are written by tests/contract/document.py. -->\n"


def text():
    """The document, with the tables of today."""
    return DOCUMENT.read_text(encoding="utf-8").partition(BEGINNING)[0] + BEGINNING + tables()


def tables():
    sections = [training_and_generation(), refusals(), elsewhere(), tasks_and_criteria(), hub()]
    return "\n" + "\n".join(sections)


def table(heading, names, lines, test):
    lines = [" | ".join(str(cell).replace("|", "\\|") for cell in line) for line in lines]
    dashes = "|".join(["---"] * len(names))
    body = "\n".join(f"| {line} |" for line in lines)
    tests = ", ".join(
        f"`tests/contract/{name}`" if "/" not in name else f"`{name}`" for name in test.split(", ")
    )
    return f"### {heading}\n\n{tests}\n\n| {' | '.join(names)} |\n|{dashes}|\n{body}\n"


def code(arguments):
    """As it is typed, without the places of the tests."""
    arguments = re.sub(r"\{(?:folder|save|trained-\w+)\}/?", "", arguments)
    return f"`{arguments}`" if arguments else ""


def answer(row):
    if row.differs:
        works = {"mega works": "only Mega works", "stock works": "Mega refuses"}
        return f"{works.get(row.differs, 'works, unlike the transformer')}: {row.why}"
    if row.stops:
        return f"stops, as the transformer: {row.stops}"
    return f"works; nothing changes here: {row.still}" if row.still else "works"


def training_and_generation():
    names = ("arguments", "after", "Mega")
    return "\n".join(
        table(heading, names, [(code(row.given), code(row.base), answer(row)) for row in rows], test)
        for heading, rows, test in inventory.TABLES
    )


def refusals():
    lines = {
        (code(flag), "" if harmless is None else code(harmless), reason)
        for flag, harmless, reason in refused.TRANSLATION + refused.LANGUAGE
    }
    names = ("flag", "the value that passes", "why it is refused")
    return table("What Mega refuses", names, sorted(lines), "tests/models/test_transformer_flags.py")


def elsewhere():
    lines = [(code(flags), reason) for flags, reason in inventory.ELSEWHERE.items()]
    reason = "its own flags never meet the model"
    lines += [(code(f"--{part.replace('_', '-')}"), reason) for part in inventory.PARTS]
    return table("What needs no row", ("flags", "why"), lines, "test_flags.py")


def tasks_and_criteria():
    lines = [(kind, code(row.given), answer(row)) for kind, _, rows in tasks.TASKS for row in rows]
    lines += [("", code(f"--task {task}"), "its models are its own") for task in sorted(tasks.OWN)]
    text = table("Tasks", ("model", "arguments", "Mega"), lines, "test_tasks.py")
    lines = [
        (code(f"--criterion {criterion}"), f"stops, as the transformer: {stops}" if stops else "works")
        for criterion, stops in tasks.CRITERIA.items()
    ]
    return text + "\n" + table("Criteria", ("arguments", "Mega"), lines, "test_tasks.py")


def hub():
    lines = [(code(call), "both") for call in (*calls.BOTH, *calls.CHANGING)]
    lines += [(code(call), "translation") for call in calls.TRANSLATION]
    lines += [(code(call), "language models") for call in calls.LANGUAGE]
    lines += [(code(f"from_pretrained(..., {named})"), "both") for named in calls.LOADED]
    return table("Calls of the hub interface, which work", ("call", "models"), lines, "test_hub.py")


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")

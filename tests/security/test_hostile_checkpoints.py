"""Hostile checkpoints: nothing in them runs, gets out or takes the machine; one sentence refuses them."""

import pytest
from entries import ENTRIES, MEMORY, SECONDS, Guarded, expected
from hostile import LOADED, PAYLOADS, Kind, written
from hostile_options import REACHING, STRINGS
from hostile_sizes import SIZES, diverged, unlike

KINDS = {**PAYLOADS, **STRINGS, **REACHING, **SIZES}
NAMES = list(ENTRIES)
QUICK = [name for name in NAMES if name.endswith((".py", "--reverse")) or "hub" in name]
SLOW = [name for name in NAMES if name not in QUICK]


def some(number):
    """Two entries in turn, so that all have a share (tests/campaigns/hostile tries all)."""
    return [QUICK[number % len(QUICK)], SLOW[number % len(SLOW)]]


CASES = [(entry, name) for i, name in enumerate(KINDS) for entry in some(i)]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    guard = Guarded(tmp_path_factory.mktemp("honest"))
    yield guard
    guard.close()


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("import os; os.system('true')", "os.system"),
        ("open({outside!r}, 'w')", "open"),
        ("import os; os.mkdir({outside!r})", "os.mkdir"),
        ("import socket; socket.socket().connect(('127.0.0.1', 9))", "socket.connect"),
        ("open({inside!r}, 'w'); open({itself!r})", ""),
        ("bytearray(1 << 40)", ""),
    ],
)
def test_the_guard_sees(guarded, tmp_path, code, seen):
    program, work = tmp_path / "program.py", tmp_path / "work"
    work.mkdir()
    places = {"outside": str(tmp_path / "x"), "inside": str(work / "x"), "itself": str(program)}
    program.write_text(code.format(**places))
    done = guarded.commands.run(str(program), memory=MEMORY, seconds=SECONDS, place=str(work))
    assert (guarded.commands.folder / "3").read_text().partition(" ")[0] == seen
    assert done.status == ("1 << 40" in code or "connect" in code), done.err


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_honest_checkpoint_is_taken(guarded, tmp_path, entry):
    assert guarded.attempt(entry, Kind(lambda state, folder: written(state), ""), tmp_path)[0] == 0


@pytest.mark.parametrize(("entry", "name"), CASES)
def test_a_hostile_checkpoint(guarded, tmp_path, entry, name):
    kind = KINDS[name]
    status, last = guarded.attempt(entry, kind, tmp_path)
    assert status in expected(entry, kind), last
    if status and (kind.refused == LOADED or ENTRIES[entry].builds):
        assert kind.says in last


OTHERS = {  # what the tensors are, and what each entry makes of it: words of its refusal, "" for none
    "NaN": {
        "validate": "",
        "average_checkpoints.py": "",
        "plot_ema.py": "is not finite",
        "convert_reference_checkpoint.py": "",
        "eval-lm": "",
    },
    "an unlike EMA": {
        "train --finetune-from-model": "holds another model",
        "generate": "holds another model",
        "average_checkpoints.py": "",
        "plot_ema.py": "do not fit each other",
        "convert_reference_checkpoint.py": "its tensors and its args differ",
    },
    "a transformer": {
        "train --restore-file": "holds another model",
        "generate": "",
        "validate": "",
        "hub of translation": "",
        "plot_ema.py": "a model without EMA",
        "plot_attention.py": "",
        "convert_reference_checkpoint.py": "no args and model",
        "convert_reference_checkpoint.py --reverse": "Give a checkpoint of ours",
        "eval-lm": "'TransformerModel'",
    },
}


@pytest.mark.parametrize(
    ("name", "entry", "says"),
    [(name, entry, says) for name, found in OTHERS.items() for entry, says in found.items()],
)
def test_other_tensors(guarded, tmp_path, name, entry, says):
    make = {"NaN": diverged, "an unlike EMA": unlike}.get(name, lambda *_: written(guarded.stock))
    status, last = guarded.attempt(entry, Kind(make, ""), tmp_path)
    assert says in last and status == bool(says), last

"""Repairs are put in place once, several of one name around each other, and nobody else sees a difference."""

import inspect
import os
import pickle
import re
import subprocess
import sys
import types
import warnings
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models import transformer
from fairseq.sequence_generator import SequenceGenerator

from mega_fairseq.__main__ import main
from mega_fairseq.checkpoints import safe_types
from mega_fairseq.compat import listing, registry

ROOT = Path(__file__).resolve().parents[2]
# Another libc, or the user's own environment.
MAY_NOT_APPLY = {"keep_small_tensors", "spin_for_a_moment", "use_large_pages"}


def named(name):
    def give(function):
        function.__name__ = name
        return function

    return give


def test_two_repairs_of_one_name(monkeypatch):
    monkeypatch.setattr(registry, "known", {})
    owner = SimpleNamespace(__module__="here", __qualname__="owner", name=lambda: ["original"])
    upstream = owner.name
    for label in ("first", "second"):

        @registry.repairs(owner, "name")
        @named(label)
        def repair(original, label=label):
            return [label, *original()]

    for _ in range(2):
        registry.put_in_place()
        assert owner.name() == ["second", "first", "original"]
        assert owner.name.mega_original is upstream


REPLACED = sorted(
    {
        (place, owner, name)
        for repair in registry.known.values()
        for owner, name in repair.targets
        for place in [registry._place(owner, name)]
    },
    key=lambda found: found[0],
)


@pytest.mark.parametrize(("place", "owner", "name"), REPLACED, ids=[place for place, *_ in REPLACED])
def test_a_stand_in_looks_like_what_it_replaces(place, owner, name):
    found = inspect.getattr_static(owner, name)
    replacement = getattr(found, "__func__", found)
    original = replacement.mega_original
    assert isinstance(replacement, types.FunctionType) and replacement is not original
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        assert getattr(replacement, attribute) == getattr(original, attribute)
    assert replacement.__globals__ is original.__globals__
    for attribute, value in vars(original).items():
        assert attribute == "__wrapped__" or vars(replacement)[attribute] is value
    assert inspect.signature(replacement) == inspect.signature(original)
    assert inspect.getsource(replacement) == inspect.getsource(original)
    assert inspect.isgeneratorfunction(inspect.unwrap(replacement)) == inspect.isgeneratorfunction(
        inspect.unwrap(original)
    )
    reached = getattr(owner, name)
    assert pickle.loads(pickle.dumps(reached)) == reached


def test_every_repair_is_applied_and_tells_its_fault():
    for repair in registry.known.values():
        assert repair.applied or repair.name in MAY_NOT_APPLY, repair.name
        assert len(repair.fault) > 40 and repair.places


def test_a_change_is_in_the_room_of_its_kind():
    rooms = {"repair": "repairs.", "check": "checks.", "safety": "safety", "process": "process."}
    assert rooms.keys() == listing.TITLES.keys()
    for change in registry.known.values():
        room = change.function.__module__.removeprefix("mega_fairseq.compat.")
        assert room.startswith(rooms[change.kind]) or room == safe_types.__name__, change.name


def test_the_documentation_lists_the_changes(tmp_path):
    text = (ROOT / "docs" / "repairs.md").read_text(encoding="utf-8")
    copy = tmp_path / "repairs.md"
    copy.write_text(text, encoding="utf-8")
    listing.write(copy)
    assert text == copy.read_text(encoding="utf-8"), "write it anew: .venv/bin/python scripts/list_repairs.py"
    assert all(f"\n| `{name}` | " in text for name in registry.known)


def python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_repairs_are_switched_off_by_name():
    code = """
import fairseq.search, fairseq.utils
import mega_fairseq
from mega_fairseq.compat import registry
looked_at = fairseq.search.DiverseBeamSearch.step, fairseq.utils.replace_unk
print([hasattr(function, "mega_original") for function in looked_at])
print(sum(repair.applied for repair in registry.known.values()), len(registry.known))
"""
    some = python(code, MEGA_REPAIRS_OFF="number_sentences_by_row")
    assert some.stdout.startswith("[False, True]"), some.stderr
    none = python(code, MEGA_REPAIRS_OFF="all")
    assert none.stdout.startswith("[False, False]\n0 "), none.stderr
    assert "check_what_is_loaded off: a checkpoint from elsewhere may do harm" in none.stderr
    unknown = python(code, MEGA_REPAIRS_OFF="number_sentences_by_rows")
    assert unknown.returncode == 1 and "did you mean number_sentences_by_row?" in unknown.stderr


def test_the_list_is_printed(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mega_fairseq", "--repairs"])
    main()
    printed = capsys.readouterr().out
    _, *parts = re.split(r"^== (.*) ==$", printed, flags=re.M)
    groups = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(groups) == list(listing.TITLES.values())
    for change in registry.known.values():
        group = groups[listing.TITLES[change.kind]]
        assert re.search(rf"^{change.name}\b.*: {change.places[0]}", group, re.M), change.name
        assert change.until in " ".join(group.split())


def test_the_sequence_generator_is_compiled_with_a_stock_model():
    """As fairseq's own tests of exporting do."""
    task, model = stock()
    generator = SequenceGenerator([model], task.tgt_dict, beam_size=2, max_len_b=5)
    sample = {"net_input": {"src_tokens": torch.tensor([[4, 5, 6, 2]]), "src_lengths": torch.tensor([4])}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.jit.script(generator)
    expected = generator.forward(sample)[0]
    for one, other in zip(compiled(sample)[0], expected, strict=True):
        assert torch.equal(one["tokens"], other["tokens"])


def stock():
    words = Dictionary()
    for number in range(20):
        words.add_symbol(f"w{number}")
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words, tgt_dict=words)
    args = Namespace(encoder_embed_dim=16, encoder_layers=1, decoder_layers=1, encoder_ffn_embed_dim=16)
    transformer.base_architecture(args)
    return task, transformer.TransformerModel.build_model(args, task).eval()

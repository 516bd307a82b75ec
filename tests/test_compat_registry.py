"""Repairs are put in place once, and several of one name around each other."""

from types import SimpleNamespace

from mega_fairseq.compat import registry


def test_two_repairs_of_one_name(monkeypatch):
    monkeypatch.setattr(registry, "_replacements", [])
    owner = SimpleNamespace(name=lambda: ["original"])
    upstream = owner.name
    for label in ("first", "second"):

        @registry.repairs(owner, "name")
        def repair(original, label=label):
            return [label, *original()]

    for _ in range(2):
        registry.put_in_place()
        assert owner.name() == ["second", "first", "original"]
        assert owner.name.mega_original is upstream

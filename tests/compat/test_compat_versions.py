"""The fairseq versions that a repair declares are those whose sources have the fault, as last compared.

tests/campaigns/versions/versions.py compares them: after a new repair run it with the three archives.
"""

import json
from pathlib import Path

import pytest

from mega_fairseq.compat import registry

COMPARED = json.loads(
    (Path(__file__).parents[1] / "campaigns" / "versions" / "versions.json").read_text(encoding="utf-8")
)
CHANGES = {name: change for name, change in registry.known.items() if change.kind != "process"}


def test_every_change_has_been_compared():
    assert COMPARED["changes"].keys() == CHANGES.keys()
    for name, change in CHANGES.items():
        places = COMPARED["changes"][name]
        assert places and (not change.targets or set(change.places) <= places.keys()), name
    assert COMPARED["looked"].keys() <= CHANGES.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_a_repair_declares_the_versions_that_have_its_fault(name):
    differing = {version for places in COMPARED["changes"][name].values() for version in places}
    declared, others = set(CHANGES[name].versions), set(registry.ALL) - set(CHANGES[name].versions)
    assert CHANGES[name].kind == "repair" or not others, "what a user gives is checked in every version"
    if name in COMPARED["looked"]:
        assert differing, "all sources are equal: there is nothing to look at"
    else:
        # the sources differ from the installed one's just between those that have the fault and the others
        assert differing == (others if COMPARED["installed"] in declared else declared)

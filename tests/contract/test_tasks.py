"""Every task and every criterion of fairseq, with the stock transformer and with Mega."""

import functools

import pytest
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from rows import Row
from tasks import CRITERIA, OWN, TASKS

import mega_fairseq  # noqa: F401

ROWS = [pytest.param(kind, data, row, id=f"{kind} {row.given}") for kind, data, rows in TASKS for row in rows]


@pytest.fixture(scope="module")
def runs(frame):
    """Training of a kind of model on other data than its own; a base is run once."""
    frame.make_many()

    @functools.cache
    def run(kind, data):
        def train(side, given):
            folder = None if not given.strip() else frame.folder / data if data else ""
            return frame.train(kind, side, given, data=folder)

        return train

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "data", "row"), ROWS)
def test_a_task_is_alike(kind, data, row, agree, runs):
    agree(row, runs(kind, data))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nmt", "lm"])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_is_alike(kind, criterion, agree, runs):
    still = "it is the base" if criterion == "cross_entropy" else ""
    agree(Row(f"--criterion {criterion}", still=still, stops=CRITERIA[criterion]), runs(kind, kind))


def test_every_task_has_a_row():
    named = {row.given.split("--task ")[1].split()[0] for _, _, rows in TASKS for row in rows}
    ours = {name for name, task in TASK_REGISTRY.items() if task.__module__.startswith("mega_fairseq")}
    assert named | OWN == TASK_REGISTRY.keys() - ours and not named & OWN


def test_every_criterion_has_a_row():
    assert {criterion.split()[0] for criterion in CRITERIA} == CRITERION_REGISTRY.keys()

"""fairseq-train in two processes on CPUs: what the stock transformer takes, Mega takes."""

import functools
import shlex

import pytest
import rows
from forked import ROOT, Done
from shell import IN_TWO, Shell

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launch():
    """Runs a command of fairseq's in two processes."""
    shell = Shell()

    def run(command, *arguments):
        done = shell.run(f"{IN_TWO} fairseq-{command} {shlex.join(map(str, arguments))}", ROOT)
        return Done(done.status, done.printed, "" if done.status == 0 else done.printed)

    yield run
    shell.close()


@pytest.fixture(scope="module")
def run(frame, launch):
    return functools.partial(frame.train, "nmt", start=launch)


@pytest.mark.parametrize("row", rows.DISTRIBUTED, ids=lambda row: row.given)
def test_alike(row, agree, run):
    agree(row, run)

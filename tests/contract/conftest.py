import functools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from frame import Frame


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    frame = Frame(tmp_path_factory.mktemp("frame"))
    yield frame
    frame.close()


@pytest.fixture(scope="module")
def agree(frame):
    """Hold a row to what it says. run: from side and arguments to what is seen."""

    def agree(row, run):
        seen, moved, found = frame.difference(row, run)
        assert found == set(filter(None, row.differs.split(", "))), [one.said[-500:] for one in seen]
        assert all(row.stops in one.said for one in seen)
        assert bool(row.stops) == all(one.status for one in seen), [one.said[-500:] for one in seen]
        if not row.stops and not row.differs:
            assert bool(moved[0]) != bool(row.still)

    return agree


@pytest.fixture(scope="module")
def asked(frame):
    """How a command is run on a trained model: the same function each time, so that a base is run once."""

    @functools.cache
    def run(command, kind, stdin):
        return lambda side, given: frame.evaluate(command, kind, side, given, stdin)

    return run

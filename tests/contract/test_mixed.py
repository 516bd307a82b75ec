"""The stock transformer and Mega in one ensemble: whichever is named first, they give the same."""

import re

import pytest

pytestmark = pytest.mark.slow
CASES = [
    ("generate", "nmt", "--beam 3 --nbest 2"),
    ("generate", "nmt", "--prefix-size 2 --diverse-beam-groups 2 --beam 4"),
    ("generate", "nmt", "--score-reference"),
    ("generate", "lm", "--prefix-size 2"),
    ("eval_lm", "lm", ""),
]
NAMED = re.compile(r"loading model|num\. model params|\.pt")  # what is told of the models in their order


@pytest.mark.parametrize(("command", "kind", "given"), CASES)
def test_an_ensemble_of_both(frame, command, kind, given):
    paths = [frame.trained(kind, side) / "checkpoint_last.pt" for side in ("stock", "mega")]

    def result(*chosen):
        path = ":".join(map(str, chosen))
        seen = frame.evaluate(command, kind, "mega", f"--path {path} {given}")
        assert seen.status == 0, seen.said[-2000:]
        return [line for line in seen.aspects["output"] if not NAMED.search(line)]

    both = result(*paths)
    assert both and both == result(*reversed(paths))
    assert all(both != result(path) for path in paths)


@pytest.mark.parametrize(("model", "scorer"), [("stock", "mega"), ("mega", "stock")])
def test_a_language_model_of_the_other_kind(frame, model, scorer):
    scores = frame.trained("lm", scorer) / "checkpoint_last.pt"
    plain, fused = (
        frame.evaluate("generate", "nmt", model, given)
        for given in ("", f"--lm-path {scores} --lm-weight 0.3")
    )
    assert fused.status == 0, fused.said[-2000:]
    assert fused.aspects["output"] != plain.aspects["output"]

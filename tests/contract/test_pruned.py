"""What a training saves of which --decoder-layers-to-keep has pruned the layers can be used and goes on."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("kind", "side"), [("lm", "stock"), ("lm", "mega"), ("nmt", "mega")])
def test_a_pruned_model_is_used_and_goes_on(frame, kind, side):
    save = frame.place()
    given = "--finetune-from-model {trained-KIND}/checkpoint_last.pt --decoder-layers-to-keep 1"
    seen = frame.train(kind, side, given, save)
    assert seen.status == 0, seen.said[-2000:]
    layers = {
        name.split(".layers.")[1][0]
        for name in seen.aspects["parameters"]
        if "decoder" in name and ".layers." in name
    }
    assert layers == {"0"}
    seen = frame.evaluate("generate", kind, side, f"--path {save}/checkpoint_last.pt")
    assert seen.status == 0, seen.said[-2000:]
    whole = frame.evaluate("generate", kind, side)
    assert seen.aspects["output"] != whole.aspects["output"]
    seen = frame.train(kind, side, f"{given} --max-update 9", save)
    assert seen.status == 0, seen.said[-2000:]
    assert any('"num_updates": "9"' in line for line in seen.aspects["values"])

"""Every call of the hub interface, with the stock transformer and with Mega."""

import calls
import pytest
import torch
from fairseq.models.transformer import TransformerModel
from fairseq.models.transformer_lm import TransformerLanguageModel

from mega_fairseq.models import MegaLM, MegaNMT

pytestmark = pytest.mark.slow
CLASSES = {
    "nmt": {"stock": TransformerModel, "mega": MegaNMT},
    "lm": {"stock": TransformerLanguageModel, "mega": MegaLM},
}
ROWS = [("nmt", call, base) for call, base in {**calls.BOTH, **calls.TRANSLATION}.items()]
ROWS += [("lm", call, base) for call, base in {**calls.BOTH, **calls.LANGUAGE}.items()]


@pytest.fixture(scope="module")
def load(frame):
    """A hub interface from the trained model."""

    def load(kind, side, checkpoint_file="checkpoint_last.pt", **more):
        folder = frame.trained(kind, side)
        return CLASSES[kind][side].from_pretrained(
            str(folder),
            checkpoint_file,
            str(frame.folder / kind),
            max_len_b=more.pop("max_len_b", 12),
            **more,
        )

    return load


@pytest.fixture(scope="module")
def hubs(load):
    return {(kind, side): load(kind, side) for kind in CLASSES for side in CLASSES[kind]}


def shape(value):
    """What does not depend on the words: types, names, and how many values where that is asked for."""
    if torch.is_tensor(value):
        return str(value.dtype), value.dim()
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [shape(part) for part in value]
        numbers = all(isinstance(part, list) and set(map(str, part)) <= {"int", "str"} for part in parts)
        return parts[:1] if numbers else parts
    return type(value).__name__


def equal(one, other):
    if torch.is_tensor(one):
        return one.equal(other) if one.shape == other.shape else False
    if isinstance(one, dict):
        return all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def call(hub, text):
    """What it gives."""
    torch.manual_seed(1)
    names = {"hub": hub, "texts": calls.TEXTS, "codes": [hub.encode(text) for text in calls.TEXTS]}
    return eval(text, {**names, "torch": torch})


@pytest.mark.parametrize(("kind", "text", "base"), ROWS)
def test_a_call_is_alike(kind, text, base, hubs):
    stock, mega = (call(hubs[kind, side], text) for side in ("stock", "mega"))
    assert shape(stock) == shape(mega), (stock, mega)
    if base:
        moved = [
            not equal(value, call(hubs[kind, side], base))
            for side, value in (("stock", stock), ("mega", mega))
        ]
        assert moved == [True, True]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("text", calls.LOADED)
def test_loading_is_alike(kind, text, load):
    hubs = [load(kind, side, **eval(f"dict({text})")) for side in ("stock", "mega")]
    stock, mega = (call(hub, "hub.translate(texts), hub.generate(codes)") for hub in hubs)
    assert shape(stock) == shape(mega), (stock, mega)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("text", calls.CHANGING)
def test_a_call_that_changes_the_hub_is_alike(kind, text, load):
    stock, mega = (call(load(kind, side), text) for side in ("stock", "mega"))
    assert shape(stock) == shape(mega), (stock, mega)

"""A converted model computes what the reference computed; round trips are exact."""

import pytest
import torch
from fairseq.data import Dictionary
from goldens import close
from theirs import MODELS, reference, same

from mega_fairseq.checkpoints.conversion import from_reference, to_reference
from mega_fairseq.models import MegaLM, MegaNMT


@pytest.mark.parametrize("name", MODELS)
def test_a_converted_model_computes_the_same_and_goes_back_exactly(name, tmp_path):
    before = reference(name)
    ours = from_reference(before)
    dictionary = Dictionary()
    for i in range((50 if name.startswith("nmt") else 100) - len(dictionary)):
        dictionary.add_symbol(f"w{i}")
    for file in ("dict.txt", "dict.en.txt", "dict.de.txt"):
        dictionary.save(str(tmp_path / file))
    torch.save(ours, tmp_path / "model.pt")
    case, family = MODELS[name], MegaNMT if name.startswith("nmt") else MegaLM
    where = {"source_lang": "en", "target_lang": "de"} if family is MegaNMT else {}
    model = family.from_pretrained(str(tmp_path), "model.pt", str(tmp_path), **where).models[0]
    inputs = case["inputs"]
    if family is MegaNMT:
        real = inputs["prev_output_tokens"].ne(dictionary.pad())
        logits, _ = model(inputs["src_tokens"], inputs["src_lengths"], inputs["prev_output_tokens"])
        close(logits, case["outputs"]["logits"], real, name)
    elif "logits" in case["outputs"]:
        close(model(inputs["src_tokens"])[0], case["outputs"]["logits"], what=name)
    back = to_reference(ours)
    assert same(back["model"], before["model"]) and back["args"] == before["args"]


@pytest.mark.parametrize("name", MODELS)
def test_one_of_our_own_goes_to_the_reference_and_back(name):
    ours = from_reference(reference(name))
    del ours["reference"]  # as fairseq-train writes it
    ours["cfg"]["criterion"]["_name"] = "mega_cross_entropy"
    theirs = to_reference(ours)
    assert theirs["args"].criterion == "label_smoothed_cross_entropy"  # which the reference has
    again = from_reference(theirs)
    assert same(again["model"], ours["model"])
    assert again["cfg"]["model"] == ours["cfg"]["model"]
    for size in ("embed_dim", "chunk_size", "layers"):
        assert getattr(theirs["args"], f"decoder_{size}") == MODELS[name]["config"][f"decoder_{size}"]

"""Whole classifiers equal the reference: logits and gradients; names go both ways bit for bit."""

import pytest
import torch
from builders import build_classifier
from goldens import cases, close

from mega_fairseq.checkpoints.names import from_reference_classifier, to_reference_classifier
from mega_fairseq.models.mega_classifier import HEAD, PRESETS

MODELS = cases("classify")
NAMES = {  # the reference's, ours
    "z_dim": "encoder_z_dim",
    "n_dim": "encoder_n_dim",
    "chunk_size": "encoder_chunk_size",
    "truncation_length": "truncation_length",
    "norm_type": "normalization_type",
    "encoder_normalize_before": "normalize_before",
    "max_positions": "max_source_positions",
    "classifier_out_dim": "head_dim",
    "attention_activation_fn": "attention_activation_fn",
    **{name: name for name in ("encoder_embed_dim", "encoder_hidden_dim", "encoder_ffn_embed_dim")},
    "encoder_layers": "encoder_layers",
}


def built(case):
    config, inputs = case["config"], case["inputs"]
    options = {ours: config[theirs] for theirs, ours in NAMES.items() if theirs in config}
    options["truncation_length"] = options.get("truncation_length") or 0
    options["input_type"] = "real" if inputs["src_tokens"].is_floating_point() else "tokens"
    options["two_towers"] = "src_tokens1" in inputs
    return build_classifier(options, config["sentence_class_num"], case["state_dict"])


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    case = MODELS[name]
    model, inputs = built(case), case["inputs"]
    logits, _ = model(**{key: value for key, value in inputs.items() if key != "cot"})
    close(logits, case["outputs"]["logits"], what=name)
    if "grads" in case["outputs"]:
        (logits * inputs["cot"]).sum().backward()
        ours = dict(model.named_parameters())
        for parameter, expected in from_reference_classifier(case["outputs"]["grads"]).items():
            close(ours[parameter].grad, expected, what=parameter)


@pytest.mark.parametrize("name", MODELS)
def test_names_go_both_ways(name):
    state = {key: tensor for key, tensor in MODELS[name]["state_dict"].items() if "version" not in key}
    back = to_reference_classifier(from_reference_classifier(state))
    back = {key: tensor for key, tensor in back.items() if "version" not in key}
    assert back.keys() == state.keys()
    assert all(back[key].equal(tensor) for key, tensor in state.items())


@pytest.mark.parametrize(
    ("preset", "classes", "expected"),
    [
        ("mega_lra_listops", 10, 608_658),
        ("mega_lra_listops_chunk", 10, 586_170),
        ("mega_lra_text", 2, 970_004),
        ("mega_lra_text_chunk", 2, 939_012),
        ("mega_lra_retrieval", 2, 1_464_606),
        ("mega_lra_retrieval_chunk", 2, 1_418_118),
        ("mega_lra_image", 10, 2_839_096),
        ("mega_lra_image_chunk", 10, 2_824_760),
        ("mega_lra_pathfinder", 2, 1_386_874),
        ("mega_lra_pathfinder_chunk", 2, 1_376_122),
        ("mega_lra_pathx", 2, 381_948),
        ("mega_lra_pathx_chunk", 2, 283_644),
        ("mega_speech_commands", 10, 343_134),
        ("mega_speech_commands_big", 10, 475_890),
    ],
)
def test_parameter_counts_are_the_references(preset, classes, expected):
    with torch.device("meta"):
        model = build_classifier(dict(PRESETS[preset]), classes, vocabulary=100)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


SIZES = {"encoder_embed_dim": 8, "encoder_z_dim": 4, "encoder_n_dim": 2, "encoder_layers": 2, "dropout": 0.0}
LENGTHS = [1, 3, 4, 5, 11]


@pytest.mark.parametrize("chunk", [-1, 4, 64])
@pytest.mark.parametrize("truncation", [0, 3])
@pytest.mark.parametrize("kind", ["tokens", "real"])
@pytest.mark.parametrize("function", ["softmax", "laplace"])
def test_a_text_does_not_depend_on_its_batch(kind, chunk, truncation, function):
    torch.manual_seed(0)
    options = {**SIZES, "encoder_chunk_size": chunk, "truncation_length": truncation, "input_type": kind}
    model = build_classifier({**options, "attention_activation_fn": function})
    lengths = torch.tensor(LENGTHS)
    texts = [torch.randint(4, 30, (n,)) if kind == "tokens" else torch.randn(n) for n in LENGTHS]
    alone = torch.cat([model(text.unsqueeze(0), torch.tensor([len(text)]))[0] for text in texts])
    rows = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1)
    torch.testing.assert_close(model(rows, lengths)[0], alone, atol=1e-5, rtol=1e-5)
    if kind == "tokens":
        left = torch.stack([row.roll(int(len(row) - n)) for row, n in zip(rows, lengths, strict=True)])
        torch.testing.assert_close(model(left, lengths)[0], alone, atol=1e-5, rtol=1e-5)


def test_two_towers_need_two_texts():
    model = build_classifier({**SIZES, "two_towers": True})
    text = torch.tensor([[5, 6, 2]])
    assert model(text, None, text)[0].shape == (1, 5)
    assert model(text, None, text, features_only=True)[0].shape == (1, 16)
    with pytest.raises(ValueError, match="--two-towers needs two texts"):
        model(text)


def test_heads_of_a_checkpoint(caplog):
    saved = build_classifier(SIZES, classes=5).state_dict()
    other = build_classifier(SIZES, classes=3)
    with pytest.raises(ValueError, match=f"the checkpoint's head {HEAD} has 5 classes and this task 3"):
        other.upgrade_state_dict_named(dict(saved), "")
    del other.classification_heads[HEAD]
    other.register_classification_head("new", 3)
    state = dict(saved)
    other.upgrade_state_dict_named(state, "")
    other.load_state_dict(state)
    assert f"head {HEAD} of 5 classes is left out" in caplog.text and "no head new" in caplog.text
    hub = build_classifier({**SIZES, "load_checkpoint_heads": True}, classes=5)
    del hub.classification_heads[HEAD]
    state = dict(saved)
    hub.upgrade_state_dict_named(state, "")
    hub.load_state_dict(state)
    assert hub.classification_heads[HEAD].out_proj.out_features == 5

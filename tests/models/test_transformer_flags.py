"""Flags of fairseq's transformers: obeyed by Mega, or refused with the reason."""

import argparse
import copy

import pytest
import torch
from builders import build_lm, build_nmt, spread
from fairseq import options, quantization_utils
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.modules import FairseqDropout
from fairseq.modules.quantization import pq
from fairseq.modules.quantization.scalar.utils import MAPPING
from omegaconf import OmegaConf

from mega_fairseq.models import refused

SIZES = {
    "encoder_embed_dim": 16,
    "encoder_hidden_dim": 24,
    "encoder_ffn_embed_dim": 32,
    "encoder_z_dim": 8,
    "encoder_n_dim": 2,
    "encoder_layers": 3,
    "dropout": 0.0,
}
LM_SIZES = {name.replace("encoder", "decoder"): size for name, size in SIZES.items()}
SOURCE, TARGET = torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1]]), torch.tensor([[2, 9, 10], [2, 11, 12]])
PAIRS = [("transformer", "mega_nmt"), ("transformer_align", "mega_nmt"), ("transformer_lm", "mega_lm")]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def flags(arch):
    parser = argparse.ArgumentParser(allow_abbrev=False, argument_default=argparse.SUPPRESS)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    return {flag: action for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_every_flag_of_the_transformers_is_known(stock, ours):
    assert not flags(stock).keys() - flags(ours).keys()


@pytest.mark.parametrize(("stock", "ours"), PAIRS)
def test_every_choice_of_the_transformers_is_taken(stock, ours):
    known = flags(ours)
    for flag, action in flags(stock).items():
        assert set(action.choices or ()) <= set(known[flag].choices or ()), flag


TABLE = [("mega_nmt", *row) for row in refused.TRANSLATION] + [("mega_lm", *row) for row in refused.LANGUAGE]


@pytest.mark.parametrize(("arch", "flag", "harmless", "reason"), TABLE, ids=lambda value: str(value)[:30])
def test_a_flag_without_a_meaning_is_refused_with_the_reason(arch, flag, harmless, reason, capsys):
    parser = options.get_training_parser("translation" if arch == "mega_nmt" else "language_modeling")
    given = ["data", "--arch", arch, flag, *([] if harmless is None else ["7"])]
    with pytest.raises(SystemExit):
        options.parse_args_and_arch(parser, given)
    said = " ".join(capsys.readouterr().err.split())
    assert f"argument {flag}: not for Mega: {reason}; leave it out" in said


@pytest.mark.parametrize(("arch", "flag", "harmless"), [row[:3] for row in TABLE if row[2]])
def test_the_value_that_changes_nothing_passes(arch, flag, harmless):
    parser = options.get_training_parser("translation" if arch == "mega_nmt" else "language_modeling")
    parsed = options.parse_args_and_arch(parser, ["data", "--arch", arch, flag, harmless])
    assert not hasattr(parsed, flag.strip("-").replace("-", "_"))


def test_relu_dropout_is_the_older_name_of_activation_dropout():
    parser = options.get_training_parser("translation")
    given = ["data", "--arch", "mega_nmt", "--relu-dropout", "0.3"]
    assert options.parse_args_and_arch(parser, given).activation_dropout == 0.3


def test_kept_layers_are_those_of_the_larger_model():
    whole = spread(build_nmt(SIZES))
    kept = {"encoder_layers_to_keep": "0,2", "decoder_layers_to_keep": "1"}
    pruned = build_nmt({**SIZES, **kept})
    assert (pruned.encoder.num_layers, pruned.decoder.num_layers) == (2, 1)
    cfg = OmegaConf.create({"_name": "mega_nmt", **kept})
    pruned.load_state_dict(whole.state_dict(), model_cfg=cfg)
    ours, theirs = pruned.encoder.layers[1].state_dict(), whole.encoder.layers[2].state_dict()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    assert pruned.decoder.layers[0].attention.kappa.equal(whole.decoder.layers[1].attention.kappa)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_one_side_is_pruned_alone(side):
    model = build_nmt({**SIZES, f"{side}_layers_to_keep": "2"})
    counts = {"encoder": model.encoder.num_layers, "decoder": model.decoder.num_layers}
    assert counts == {"encoder": 3, "decoder": 3, side: 1}


@pytest.mark.parametrize("text", ["0,3", "a", "1,1", "-1", "0,,1"])
def test_layers_that_are_not_there_cannot_be_kept(text):
    with pytest.raises(ValueError, match="--decoder-layers-to-keep"):
        build_lm({**LM_SIZES, "decoder_layers_to_keep": text})


def test_output_dim():
    model = build_nmt({**SIZES, "decoder_output_dim": 10})
    features, _ = model(SOURCE, None, TARGET, features_only=True)
    assert features.shape == (2, 3, 10) and model.decoder.output_projection.in_features == 10
    shared = {"decoder_input_dim": 10, "decoder_output_dim": 10, "share_decoder_input_output_embed": True}
    model = build_lm({**LM_SIZES, **shared})
    assert model(SOURCE)[0].shape == (2, 4, 100)
    assert model.decoder.output_projection.weight is model.decoder.embed_tokens.weight


def test_final_norm_is_left_out():
    sizes = {**SIZES, "normalize_before": True}
    model = build_nmt({**sizes, "no_decoder_final_norm": True})
    assert model.decoder.stack.final_norm is None and model.encoder.stack.final_norm is not None


def test_a_decoder_without_cross_attention():
    model = spread(build_nmt({**SIZES, "no_cross_attention": True}))
    logits, extra = model(SOURCE, None, TARGET)
    assert extra["attn"] == [None] and "cross" not in " ".join(model.state_dict())
    assert logits.equal(model(SOURCE.flip(0), None, TARGET)[0])
    assert len(build_nmt(SIZES).state_dict()) > len(model.state_dict())


def test_alignment_layer():
    models = [spread(build_nmt({**SIZES, "alignment_layer": layer})) for layer in (None, 0, 2)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    last, first, third = (model(SOURCE, None, TARGET)[1]["attn"][0] for model in models)
    assert third.equal(last) and not first.equal(last)
    assert models[0](SOURCE, None, TARGET, alignment_layer=0)[1]["attn"][0].equal(first)
    with pytest.raises(ValueError, match="--alignment-layer must be one of the 3 decoder layers"):
        build_nmt({**SIZES, "alignment_layer": 3})
    with pytest.raises(ValueError, match="full_context_alignment"):
        models[0].decoder(TARGET, models[0].encoder(SOURCE), full_context_alignment=True)


@pytest.mark.parametrize("name", ["gelu_fast", "gelu_accurate"])
def test_activations_are_fairseqs(name):
    from fairseq import utils

    from mega_fairseq.modules.activation import ACTIVATION_FUNCTIONS

    x = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(ACTIVATION_FUNCTIONS[name](x), utils.get_activation_fn(name)(x))


def test_character_embeddings():
    few = {"character_embeddings": True, "character_filters": "[(1, 8), (2, 8)]"}
    model = build_lm({**LM_SIZES, **few})
    assert model(SOURCE)[0].shape == (2, 4, 100)
    wrong = {"character_filters": "[(1,)]"}, {"character_filters": "open('x')"}, {"adaptive_input": True}
    for options_ in (*wrong, {"share_decoder_input_output_embed": True}):
        with pytest.raises(ValueError, match="--character-"):
            build_lm({**LM_SIZES, **few, **options_})


# Dropout while evaluating


def active(model):
    cfg = OmegaConf.create({"generation": {"retain_dropout": True, "retain_dropout_modules": None}})
    model.prepare_for_inference_(cfg)


def every_fairseq_dropout(model):
    for module in model.modules():
        if isinstance(module, FairseqDropout):
            module.train()


DROPOUTS = ["dropout", "attention_dropout", "hidden_dropout", "activation_dropout"]


@pytest.mark.parametrize("name", DROPOUTS)
@pytest.mark.parametrize("switch_on", [active, every_fairseq_dropout])
@pytest.mark.parametrize("feature", [False, True])
def test_dropout_is_retained(name, switch_on, feature):
    model = spread(build_nmt({**SIZES, name: 0.3, "feature_dropout": feature}))
    still = model(SOURCE, None, TARGET)[0]
    assert still.equal(model(SOURCE, None, TARGET)[0])
    switch_on(model)
    passes = [model(SOURCE, None, TARGET)[0] for _ in range(3)]
    assert not any(one.equal(other) for one, other in zip(passes, [*passes[1:], still], strict=True))


def test_dropout_is_retained_where_it_is_named():
    model = build_nmt({**SIZES, "dropout": 0.3})
    cfg = {"retain_dropout": True, "retain_dropout_modules": ["MegaDecoderLayer", "MegaEncoder"]}
    model.prepare_for_inference_(OmegaConf.create({"generation": cfg}))
    kept = {name for name, m in model.named_modules() if getattr(m, "apply_during_inference", False)}
    assert kept and all(name.startswith(("decoder.stack.", "encoder.embedding.")) for name in kept)


def test_unknown_parts_are_named():
    cfg = {"retain_dropout": True, "retain_dropout_modules": ["TransformerDecoder", "MegaDecoder"]}
    with pytest.raises(ValueError, match=r"TransformerDecoder is no part .* MegaDecoderLayer, MegaEncoder"):
        build_nmt(SIZES).prepare_for_inference_(OmegaConf.create({"generation": cfg}))


# Quantisation


def linears(model):
    return {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


@pytest.mark.parametrize("build", [build_nmt, build_lm])
def test_dynamic_quantisation_finds_every_linear_layer(build):
    model = spread(build(SIZES if build is build_nmt else LM_SIZES))
    names = linears(model)
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    found = {name for name, m in quantised.named_modules() if "quantized" in type(m).__module__}
    assert len(names) > 10 and names <= found and not linears(quantised)
    inputs = (SOURCE, None, TARGET) if build is build_nmt else (SOURCE,)
    with torch.no_grad():
        logits, expected = quantised(*inputs)[0], model(*inputs)[0]
    difference = (logits - expected).norm() / expected.norm()
    assert 0.0 < difference < 0.1
    assert type(next(m for m in model.modules() if isinstance(m, torch.nn.Linear))) is torch.nn.Linear


@torch.no_grad()
def test_a_quantised_model_decodes_long_texts_and_steps():
    model = spread(build_lm({**LM_SIZES, "rel_pos_bias": "rotary", "decoder_chunk_size": 16}))
    model.make_generation_fast_()
    quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    text = torch.randint(4, 100, (1, 5000))
    difference = quantised(text)[0] - model(text)[0]
    assert 0.0 < difference.norm() / model(text)[0].norm() < 0.1
    state = {}
    for length in (1, 2, 3):
        assert quantised.decoder(text[:, :length], incremental_state=state)[0].shape == (1, 1, 100)


def test_scalar_quantisation_noise_finds_every_linear_layer():
    model = build_nmt({**SIZES, "share_decoder_input_output_embed": True})
    names = linears(model) - {"decoder.output_projection"}  # the table, which is quantised as such
    cfg = OmegaConf.create({"quant_noise_scalar": 0.2})
    quantization_utils.quantize_model_scalar(model, cfg)
    modules = dict(model.named_modules())
    assert all(type(modules[name]) is MAPPING[torch.nn.Linear] for name in names)
    model.train()(SOURCE, None, TARGET)[0].sum().backward()
    assert model.encoder.layers[0].attention.v_proj.weight.grad.any()


def test_noise_of_product_quantisation_drops_blocks():
    model = build_nmt({**SIZES, "quant_noise_pq": 0.5, "quant_noise_pq_block_size": 4})
    weight = model.encoder.layers[0].feed_forward.fc1.weight
    model(SOURCE, None, TARGET)
    assert weight.all()
    model.train()(SOURCE, None, TARGET)[0].sum().backward()
    blocks = weight.unflatten(1, (-1, 4)).eq(0.0)
    assert blocks.all(-1).equal(blocks.any(-1)) and 0.2 < blocks.float().mean() < 0.8
    assert weight.grad.any()
    for wrong in ({"quant_noise_pq": 1.5}, {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 7}):
        with pytest.raises(ValueError, match="--quant-noise-pq"):
            build_nmt({**SIZES, **wrong})


@pytest.mark.parametrize("length", [4, 2100])  # whole, and in pieces that are computed again
def test_product_quantised_layers_train(length):
    sizes = {**LM_SIZES, "rel_pos_bias": "rotary", "decoder_chunk_size": 16}
    model = spread(build_lm(sizes)).train()
    blocks, centroids = {"Linear": ["in_features", {"*": 4}]}, {"Linear": ["in_features", {"*": 8}]}
    where = [r"decoder\.stack\.layers\.\d+\.(attention|feed_forward)\.\w*(proj|fc1|fc2)$"]
    tracker = pq.SizeTracker(model)
    done = pq.quantize_model_(model, tracker, where, blocks, centroids, step=0, verbose=False)
    assert len(done) == 15
    model(torch.randint(4, 100, (1, length)))[0].sum().backward()
    assert all(model.get_submodule(name).centroids.grad.any() for name in done)


def test_a_prepared_model_is_copied_as_any():
    model = spread(build_lm({**LM_SIZES, "decoder_embed_dim": 256, "decoder_ffn_embed_dim": 1024}))
    model.make_generation_fast_()
    with torch.no_grad():
        assert any(getattr(m, "packed", None) is not None for m in model.modules())
        copied = copy.deepcopy(model)
        torch.testing.assert_close(copied(SOURCE)[0], model(SOURCE)[0], atol=1e-4, rtol=1e-4)

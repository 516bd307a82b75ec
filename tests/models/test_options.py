"""Presets, their YAML twins, and what the flags around the stack do."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from builders import build_lm, build_nmt, spread, words
from fairseq.models import ARCH_CONFIG_REGISTRY

from mega_fairseq.models import mega_classifier, mega_lm, mega_nmt, presets
from mega_fairseq.models.options import MegaLMOptions, MegaNMTOptions, fill

CONFIGS = Path(presets.__file__).parents[1] / "configs"
NMT_SIZES = {
    "encoder_embed_dim": 16,
    "encoder_hidden_dim": 12,
    "encoder_ffn_embed_dim": 12,
    "encoder_z_dim": 4,
    "encoder_n_dim": 2,
    "encoder_layers": 3,
    "dropout": 0.0,
}
ADAPTIVE = {
    "adaptive_softmax_cutoff": "10,25",
    "adaptive_softmax_factor": 2,
    "adaptive_input_factor": 2,
}
SOURCE, TARGET = torch.tensor([[5, 6, 7, 2], [8, 2, 1, 1]]), torch.tensor([[2, 9, 10], [2, 11, 12]])


def count(model):
    return sum(p.numel() for p in model.parameters())


def meta(build, preset, vocabulary, **options):
    with torch.device("meta"):
        return count(build({**preset, **options}, vocabulary=vocabulary))


NMT, LM = {"mega_nmt": {}, **mega_nmt.PRESETS}, {"mega_lm": {}, **mega_lm.PRESETS}
RECIPE = {"normalize_before": True, "rel_pos_bias": "rotary", "no_affine_final_norm": True}


@pytest.mark.parametrize(
    ("build", "preset", "vocabulary", "options", "expected"),
    [
        (build_nmt, NMT["mega_nmt"], 1000, {}, 47_895_534),
        (build_nmt, NMT["mega_nmt_wmt_en_de"], 1000, {}, 47_895_534),
        (build_nmt, NMT["mega_nmt_wmt_en_de_big"], 1000, {}, 186_980_334),
        (build_nmt, NMT["mega_nmt_wmt_en_de"], 1000, {"share_all_embeddings": True}, 46_871_534),
        (build_nmt, NMT["mega_nmt_wmt_en_de"], 32768, {"share_all_embeddings": True}, 63_136_750),
        (build_lm, LM["mega_lm"], 1000, {}, 30_392_314),
        (build_lm, LM["mega_lm_big"], 1000, {}, 208_916_464),
        (build_lm, LM["mega_lm_enwik8"], 1000, {}, 40_076_788),
        (build_lm, LM["mega_lm_enwik8_large"], 1000, {}, 246_238_184),
        (build_lm, LM["mega_lm_adaptive_base"], 1000, {"adaptive_softmax_cutoff": "200,600"}, 116_858_096),
        (build_lm, LM["mega_lm_wikitext103"], 1000, {"adaptive_softmax_cutoff": "200,600"}, 208_579_568),
        (
            build_lm,
            LM["mega_lm_wikitext103"],
            267744,
            {**RECIPE, "decoder_chunk_size": 1024, "max_target_positions": 8096},
            252_237_824,
        ),
        (
            build_lm,
            LM["mega_lm_enwik8"],
            208,
            {**RECIPE, "decoder_chunk_size": 2048, "share_decoder_input_output_embed": True},
            39_137_792,
        ),
    ],
)
def test_parameter_counts_are_the_references(build, preset, vocabulary, options, expected):
    assert meta(build, preset, vocabulary, **options) == expected


def test_python_m_lists_every_preset():
    assert [name for name, _ in presets.presets_with_sizes()] == [
        *NMT,
        *LM,
        "mega_classifier",
        *mega_classifier.PRESETS,
    ]


@pytest.mark.parametrize("name", [*NMT, *LM])
def test_yaml_equals_preset(name):
    options = MegaNMTOptions if name in NMT else MegaLMOptions
    written = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]
    assert written.pop("_name") == ("mega_nmt" if name in NMT else "mega_lm")
    from_yaml, from_preset = Namespace(**written), Namespace()
    fill(from_yaml, options)
    ARCH_CONFIG_REGISTRY[name](from_preset) if name not in ("mega_nmt", "mega_lm") else fill(
        from_preset, options
    )
    assert vars(from_yaml) == vars(from_preset)


def test_a_preset_sets_only_what_is_absent():
    given = Namespace(encoder_z_dim=8, dropout=0.7)
    ARCH_CONFIG_REGISTRY["mega_nmt_wmt_en_de_big"](given)
    assert (given.encoder_z_dim, given.dropout, given.encoder_embed_dim) == (8, 0.7, 1024)


def test_a_decoder_follows_the_encoder_unless_told():
    same = build_nmt(NMT_SIZES)
    assert len(same.decoder.stack.layers) == 3
    other = build_nmt({**NMT_SIZES, "decoder_layers": 1, "decoder_embed_dim": 8, "decoder_input_dim": 6})
    assert len(other.decoder.stack.layers) == 1
    assert other(SOURCE, None, TARGET)[0].shape == (2, 3, 50)
    assert other.decoder.output_projection.in_features == 8


def gradients(model):
    torch.manual_seed(0)
    model(SOURCE, None, TARGET)[0].sin().sum().backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("flag", ["checkpoint_activations", "offload_activations"])
def test_checkpointed_activations_change_nothing(flag):
    plain = spread(build_nmt({**NMT_SIZES, "dropout": 0.3})).double().train()  # float32 sums in another order
    checkpointed = build_nmt({**NMT_SIZES, "dropout": 0.3, flag: True}).double().train()
    checkpointed.load_state_dict(plain.state_dict())
    for ours, theirs in zip(gradients(checkpointed), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_layerdrop_skips_layers_in_training_only():
    model = build_nmt({**NMT_SIZES, "encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5})
    runs = []
    for layer in [
        *model.encoder.stack.layers._modules.values(),
        *model.decoder.stack.layers._modules.values(),
    ]:
        layer.register_forward_hook(lambda *_: runs.append(1))
    seen = set()
    model.train()
    for _ in range(20):
        runs.clear()
        model(SOURCE, None, TARGET)
        seen.add(len(runs))
    assert len(seen) > 2 and max(seen) <= 6
    runs.clear()
    model.eval()(SOURCE, None, TARGET)
    assert len(runs) == 6


def test_fsdp_wraps_no_layer_outside_its_context():
    assert count(build_nmt({**NMT_SIZES, "min_params_to_wrap": 0})) == count(build_nmt(NMT_SIZES))


@pytest.mark.parametrize("more", [{}, {"adaptive_input": True, "tie_adaptive_weights": True}])
def test_adaptive_softmax_in_translation(more):
    model = spread(
        build_nmt({**NMT_SIZES, **ADAPTIVE, **more, "adaptive_softmax_factor": 2, "adaptive_input_factor": 2})
    )
    features, extra = model(SOURCE, None, TARGET)
    with torch.no_grad():
        log_probs = model.get_normalized_probs((features, extra), True)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 3))
    expected = log_probs.gather(-1, TARGET.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(model.decoder.target_log_probs(features, TARGET), expected)


def test_pretrained_embeddings(tmp_path):
    vectors = {f"w{i}": [float(i + k) for k in range(16)] for i in range(3)}
    lines = [f"{word} {' '.join(map(str, vector))}\n" for word, vector in vectors.items()]
    (tmp_path / "vectors").write_text(f"{len(lines)} 16\n" + "".join(lines))
    model = build_nmt({**NMT_SIZES, "encoder_embed_path": str(tmp_path / "vectors")})
    for word, vector in vectors.items():
        index = words(50).index(word)
        assert model.encoder.embed_tokens.weight[index].tolist() == vector
        assert model.decoder.embed_tokens.weight[index].tolist() != vector


def test_open_gates_start_open_and_the_papers_start_even():
    paper, opened = (build_nmt({**NMT_SIZES, "weight_init": init}) for init in ("paper", "open-gates"))
    for model, (update, reset) in ((paper, (0.0, 0.0)), (opened, (-1.0, 2.0))):
        layer = model.decoder.stack.layers[0]
        own, cross = layer.attention, layer.cross_attention
        u, _, r, _ = own.mx_proj.bias.split(own.widths)
        assert set(u.tolist()) == {update} and set(r.tolist()) == {reset}
        assert set(cross.q_proj.bias.split(cross.widths)[1].tolist()) == {reset}
    spreads = [
        float(m.encoder.stack.layers[0].attention.v_proj.weight.detach().std()) for m in (paper, opened)
    ]
    assert spreads[0] == pytest.approx(0.02, rel=0.2)
    assert spreads[1] > 0.1


@pytest.mark.parametrize(
    ("build", "name"), [(build_nmt, "encoder_embed_dim"), (build_lm, "decoder_embed_dim")]
)
@pytest.mark.parametrize("width", [0, -3])
def test_a_width_is_checked_before_anything_is_made_of_it(build, name, width):
    with pytest.raises(ValueError, match=f"--decoder-input-dim must be at least 1; got {width}"):
        build({name: width})

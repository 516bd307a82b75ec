"""Scripts change a model's parts, pickle it and read its options, as they do with fairseq's transformer."""

import copy
import pickle

import pytest
import torch
from builders import build_lm, build_nmt
from fairseq import options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask
from torch import nn

import mega_fairseq

NMT = {"encoder_embed_dim": 12, "encoder_hidden_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_z_dim": 6}
NMT |= {"encoder_layers": 3, "dropout": 0.0}
LM = {"decoder_embed_dim": 12, "decoder_hidden_dim": 16, "decoder_ffn_embed_dim": 16, "decoder_z_dim": 6}
LM |= {"decoder_layers": 8, "dropout": 0.0, "tokens_per_sample": 20}
SOURCE, TARGET = torch.tensor([[5, 9, 7, 2]]), torch.tensor([[2, 4, 8]])


class Wrapped(nn.Module):
    """What adapters put in the place of a layer."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self, x):
        return self.base(x)


def test_a_list_in_the_place_of_the_layers_is_what_runs():
    model = build_nmt(NMT)
    before = model(SOURCE, None, TARGET)[0]
    names = set(model.state_dict())
    model.decoder.layers = nn.ModuleList(list(model.decoder.layers)[:2])
    model.decoder.num_layers = 2
    assert len(model.decoder.layers) == len(model.decoder.stack.layers) == 2
    assert not torch.equal(model(SOURCE, None, TARGET)[0], before)
    assert set(model.state_dict()) == {
        name for name in names if not name.startswith("decoder.stack.layers.2.")
    }
    model.load_state_dict(model.state_dict())
    with pytest.raises(ValueError, match="num_layers is 2, the number of layers; change `layers`"):
        model.decoder.num_layers = 1


@pytest.mark.parametrize("training", [False, True])
def test_each_linear_layer_can_be_wrapped(training):
    model = build_nmt(NMT).train(training)
    expected = model(SOURCE, None, TARGET)[0]
    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    assert any("fc1" in name for name in linear) and any("v_proj" in name for name in linear)
    for name in linear:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, Wrapped(model.get_submodule(name)))
    out = model(SOURCE, None, TARGET)[0]
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "base" in name)


def test_a_model_is_frozen_copied_and_watched_in_part():
    model = build_nmt(NMT).train()
    model.encoder.requires_grad_(False)
    twin, seen = copy.deepcopy(model), []
    first = model.decoder.layers[0]
    watched = {*model.decoder.layers, first.feed_forward.fc1, first.attention.dropout, first.attention.ema}
    for module in watched:
        module.register_forward_hook(lambda module, inputs, output: seen.append(module))
    out = model(SOURCE, None, TARGET)[0]
    assert watched == set(seen)
    assert torch.equal(out, twin(SOURCE, None, TARGET)[0])
    out.sum().backward()
    frozen = {id(parameter) for parameter in model.encoder.parameters()}
    assert all((parameter.grad is None) == (id(parameter) in frozen) for parameter in model.parameters())


def made(arch, task):
    """A model as fairseq-train makes it, from omegaconf's options."""
    words = Dictionary()
    for number in range(20):
        words.add_symbol(f"w{number}")
    given = ["data", "--arch", arch, "--task", task, "--user-dir", mega_fairseq.__path__[0]]
    args = options.parse_args_and_arch(options.get_training_parser(), given)
    cfg = convert_namespace_to_omegaconf(args)
    if task == "translation":
        return TranslationTask(cfg.task, words, words).build_model(cfg.model)
    return LanguageModelingTask(cfg.task, words).build_model(cfg.model)


@pytest.mark.parametrize(
    ("arch", "task"), [("mega_nmt_tiny", "translation"), ("mega_lm", "language_modeling")]
)
def test_a_model_can_be_pickled_with_its_options(arch, task):
    model = made(arch, task)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.cfg == model.cfg
    assert copied.cfg.decoder_embed_dim in (None, model.decoder.embed_tokens.embedding_dim)
    assert all(map(torch.equal, copied.state_dict().values(), model.state_dict().values()))
    if task == "translation":
        assert model.args is model.cfg
    else:
        assert model.cfg.tokens_per_sample == 1024  # the task's


def test_generation_asks_for_no_states_of_layers():
    encoder = build_nmt(NMT).encoder
    given = {"src_tokens": SOURCE, "src_lengths": None, "prev_output_tokens": TARGET}
    assert encoder.forward_torchscript(given)["encoder_states"] == []
    assert len(encoder(SOURCE, None)["encoder_states"]) == 4  # and the embedding


def test_adaptive_input_is_zero_for_padding_only():
    """A word that is zero, at the start of a block, had norms without variance, and infinite gradients."""
    torch.manual_seed(0)
    adaptive = {"adaptive_input": True, "adaptive_input_cutoff": "8,16", "adaptive_input_factor": 2}
    model = build_lm({**LM, **adaptive})
    words = torch.arange(len(model.decoder.dictionary)).unsqueeze(1)
    embedded = model.decoder.embed_tokens(words)
    pad = model.decoder.dictionary.pad()
    assert embedded.abs().amax((1, 2)).eq(0).nonzero().flatten().tolist() == [pad]
    norms = {}
    for name, made in (("adaptive", model), ("plain", build_lm(LM))):
        made(words[words != pad].unsqueeze(1))[0].logsumexp(-1).sum().backward()
        norms[name] = nn.utils.get_total_norm(p.grad for p in made.parameters() if p.grad is not None)
    assert norms["adaptive"] < 10 * norms["plain"]

"""mega_cross_entropy computes what fairseq's label_smoothed_cross_entropy does."""

from types import SimpleNamespace

import pytest
import torch
from builders import build_lm, build_nmt, spread
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from mega_fairseq.criterions import MegaCrossEntropy

SIZES = {"embed_dim": 16, "hidden_dim": 32, "ffn_embed_dim": 32, "z_dim": 8, "n_dim": 4, "layers": 2}


def sized(*sides):
    return {f"{side}_{name}": value for side in sides for name, value in SIZES.items()}


def translation():
    model = spread(build_nmt(sized("encoder", "decoder")))
    source = torch.randint(4, 50, (3, 7))
    target = torch.randint(4, 50, (3, 6))
    target[0, 4:] = 1
    before = torch.cat([torch.full((3, 1), 2), target[:, :-1]], 1)
    inputs = {"src_tokens": source, "src_lengths": torch.full((3,), 7), "prev_output_tokens": before}
    return model, {"net_input": inputs, "target": target, "ntokens": 16}


def language_model():
    model = spread(build_lm(sized("decoder")))
    tokens = torch.randint(4, 100, (2, 10))
    inputs = {"src_tokens": tokens[:, :-1], "src_lengths": torch.full((2,), 9)}
    return model, {"net_input": inputs, "target": tokens[:, 1:].contiguous(), "ntokens": 18}


@pytest.mark.parametrize("case", [translation, language_model])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("reduce", [True, False])
def test_equals_fairseqs(case, smoothing, prefix, reduce):
    torch.manual_seed(0)
    model, sample = case()
    results = []
    for criterion in (MegaCrossEntropy, LabelSmoothedCrossEntropyCriterion):
        model.zero_grad()
        task = SimpleNamespace(target_dictionary=SimpleNamespace(pad=lambda: 1))
        loss, size, log = criterion(task, False, smoothing, prefix, True)(model, sample, reduce)
        loss.sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss, log["loss"], log["nll_loss"], gradients))
        counted = {key: log[key] for key in ("n_correct", "total", "ntokens", "nsentences", "sample_size")}
        results[-1] += (size, counted)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)

"""The benchmarks' baseline computes what ours does."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import work
from models import build, build_lm
from textbook import textbook

SMALL = {"encoder_embed_dim": 32, "encoder_hidden_dim": 48, "encoder_z_dim": 16, "encoder_layers": 2}
SMALL_LM = {"decoder_embed_dim": 32, "decoder_hidden_dim": 48, "decoder_z_dim": 16, "decoder_layers": 2}


@pytest.mark.parametrize("bias", ["simple", "rotary"])
def test_translation(bias):
    torch.manual_seed(0)
    model = build("mega_nmt", 60, rel_pos_bias=bias, **SMALL).eval()
    source, target = torch.randint(4, 60, (3, 70)), torch.randint(4, 60, (3, 66))
    source[0, -9:] = 1
    for one in (model, textbook(model)):
        one(source, None, target)[0].square().mean().backward()
    ours, theirs = model(source, None, target)[0], textbook(model)(source, None, target)[0]
    torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [-1, 8])
@torch.no_grad()
def test_decoding(chunk):
    torch.manual_seed(0)
    model = build_lm("mega_lm", 60, decoder_chunk_size=chunk, **SMALL_LM).eval()
    tokens, states = torch.randint(4, 60, (2, 30)), ({}, {})
    both = model, textbook(model)
    for end in range(1, 31):
        pairs = zip(both, states, strict=True)
        steps = [m.decoder(tokens[:, :end], incremental_state=state)[0] for m, state in pairs]
        torch.testing.assert_close(steps[1], steps[0], atol=2e-5, rtol=1e-4)


def test_gradients():
    torch.manual_seed(0)
    found = []
    for way in ("ours", "textbook"):
        run = work.ema(way, 2, 130, 1)
        run()
        found.append([cell.cell_contents for cell in run.__closure__])
    modules = [next(c for c in cells if isinstance(c, torch.nn.Module)) for cells in found]
    for mine, other in zip(*(m.parameters() for m in modules), strict=True):
        torch.testing.assert_close(other.grad, mine.grad, atol=1e-3, rtol=1e-3)


def test_bare_products_are_those_of_the_work():
    from products import Products

    run = work.layer("textbook", 32, 16)
    with Products(work.D) as products:
        run()
    forward, shapes = 7, [tuple(shape for shape, _ in pair) for pair in products.operands]
    assert len(shapes) == 3 * forward  # five linear layers, Q K and A V; each with two in the backward pass
    assert ((32, 512), (512, 1024)) in shapes and ((2, 16, 16), (2, 16, 1024)) in shapes


def test_a_worker_measures_and_reports_what_stops_it():
    from measure import Worker, peak_memory

    with Worker("ema", "ours", 1, 32) as worker:
        once = worker.run(2)
    assert once.seconds > 0 and once.cpu > 0
    assert peak_memory("ema", "textbook", 1, 512) > 512 * 512 * 16 * 4 / 2**20  # of its powers alone
    with pytest.raises(RuntimeError, match=r"ema ours 1 0 stopped with status 1"):
        Worker("ema", "ours", 1, 0).run()

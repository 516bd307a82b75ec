"""What a causal output never sees: later tokens, and, but for the EMA, other chunks."""

from dataclasses import replace

import torch
from drawn import D, close, configs, lengths, lm, nmt, normal, probe, seeds, spread, stack, words
from hypothesis import given
from hypothesis import strategies as st

from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.state import LayerState


def blind_to_the_future(y, x, t):
    """The gradient of output t is zero for later inputs x (B, L, D), and not for input t."""
    (gradient,) = torch.autograd.grad(probe(y[:, t]), x)
    assert gradient[:, t].any()
    assert not gradient[:, t + 1 :].any()


@given(
    length=st.integers(1, 150),
    ndim=st.integers(1, 4),
    truncation=st.none() | st.integers(1, 80),
    seed=seeds,
    data=st.data(),
)
def test_ema(length, ndim, truncation, seed, data):
    module = spread(MultiHeadEMA(D, ndim, bidirectional=False, truncation=truncation), seed)
    x = normal(2, length, D, seed=seed).requires_grad_()
    blind_to_the_future(module(x)[0], x, data.draw(st.integers(0, length - 1)))


@given(config=configs, seed=seeds, data=st.data())
def test_attention_and_stack(config, seed, data):
    length = data.draw(lengths(config))
    module = stack(config, seed, causal=True)
    x = normal(2, length, D, seed=seed).requires_grad_()
    t = data.draw(st.integers(0, length - 1))
    blind_to_the_future(module.layers[0].attention(x)[0], x, t)
    blind_to_the_future(module(x).x, x, t)


@given(config=configs, seed=seeds, data=st.data())
def test_stack_with_states(config, seed, data):
    length = data.draw(lengths(config))
    module = stack(config, seed, causal=True)
    x = normal(2, length, D, seed=seed).requires_grad_()
    border = data.draw(st.integers(0, length - 1))
    states, outputs = [LayerState()] * config.layers, []
    for part in (x[:, :border], x[:, border:]):
        if part.size(1):
            out = module(part, states=states)
            states = out.states
            outputs.append(out.x)
    blind_to_the_future(torch.cat(outputs, 1), x, data.draw(st.integers(0, length - 1)))


def embedded(decoder):
    """A list that receives the decoder's token embeddings, with gradients."""
    seen = []
    decoder.embed_tokens.register_forward_hook(lambda module, inputs, output: seen.append(output))
    return seen


@given(config=configs, seed=seeds, translation=st.booleans(), data=st.data())
def test_whole_models(config, seed, translation, data):
    length = data.draw(lengths(config))
    model, tokens = (nmt if translation else lm)(config, seed), words(seed, 2, length)
    seen = embedded(model.decoder)
    inputs = (words(seed + 1, 2, 5), None, tokens) if translation else (tokens,)
    logits, _ = model(*inputs)
    blind_to_the_future(logits, seen[-1], data.draw(st.integers(0, length - 1)))


@given(config=configs, seed=seeds, chunk=st.integers(1, 9), causal=st.booleans(), data=st.data())
def test_attention_stays_within_its_chunk(config, seed, chunk, causal, data):
    """With eta = 0 the EMA is SiLU(omega x), which mixes no positions."""
    config = replace(config, chunk_size=chunk)
    module, length = spread(GatedAttention(config, causal=causal), seed), data.draw(lengths(config))
    with torch.no_grad():
        module.ema.eta.zero_()
    x = normal(2, length, D, seed=seed).requires_grad_()
    real = torch.tensor(data.draw(st.lists(st.integers(0, length), min_size=2, max_size=2)))
    padding = torch.arange(length) >= real.unsqueeze(1) if data.draw(st.booleans()) else None
    y, _ = module(x, padding)
    mine = torch.arange(length) // chunk == data.draw(st.integers(0, length - 1)) // chunk
    (gradient,) = torch.autograd.grad(probe(y[:, mine]), x)
    assert gradient[:, mine].any()
    assert not gradient[:, ~mine].any()
    disturbed = torch.where(mine.unsqueeze(-1), x, 100.0 * normal(2, length, D, seed=seed + 1))
    close(module(disturbed, padding)[0][:, mine], y[:, mine])

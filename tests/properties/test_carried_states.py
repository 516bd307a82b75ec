"""Segments and steps that carry states equal one pass; reordered states equal the reordered batch."""

from dataclasses import replace

import torch
from drawn import (
    EOS,
    PAD,
    D,
    close,
    configs,
    cuts,
    dtypes,
    lengths,
    lm,
    nmt,
    normal,
    probe,
    same_states,
    seeds,
    stack,
    words,
)
from hypothesis import given
from hypothesis import strategies as st

from mega_fairseq.state import CarriedEMA, LayerState


def walk(module, x, parts, **source):
    """Output and states over segments of these lengths."""
    states, outputs = [LayerState()] * len(module.layers), []
    for part in x.split(parts, dim=1):
        out = module(part, states=states, **source)
        states = out.states
        outputs.append(out.x)
    return torch.cat(outputs, 1), states


@given(
    config=configs, seed=seeds, dtype=dtypes, batch=st.integers(1, 3), crossed=st.booleans(), data=st.data()
)
def test_segments_equal_whole(config, seed, dtype, batch, crossed, data):
    length = data.draw(lengths(config))
    parts, steps = data.draw(cuts(length)), [1] * length
    module = stack(config, seed, causal=True, source_dim=3 if crossed else None, dtype=dtype)
    x, source = normal(batch, length, D, seed=seed, dtype=dtype), {}
    if crossed:
        columns = data.draw(st.integers(1, 12))
        real = torch.tensor(data.draw(st.lists(st.integers(0, columns), min_size=batch, max_size=batch)))
        encoded = normal(batch, columns, 3, seed=seed + 1, dtype=dtype)
        source = {"source": encoded, "source_padding": torch.arange(columns) >= real.unsqueeze(1)}
    with torch.no_grad():
        whole, states = walk(module, x, [length], **source)
        close(module(x, **source).x, whole, "without states")
        for name, segments in (("segments", parts), ("steps", steps)):
            y, carried = walk(module, x, segments, **source)
            close(y, whole, name)
            same_states(carried, states)


@given(config=configs, seed=seeds, data=st.data())
def test_gradients_through_segments_equal_whole(config, seed, data):
    length = data.draw(lengths(config))
    parts = data.draw(cuts(length))
    module = stack(config, seed, causal=True)
    x = normal(2, length, D, seed=seed).requires_grad_()
    leaves = [x, *module.parameters()]
    found, expected = (
        torch.autograd.grad(probe(walk(module, x, p)[0]), leaves, materialize_grads=True)
        for p in (parts, [length])
    )
    for mine, theirs in zip(found, expected, strict=True):
        close(mine, theirs)


@given(config=configs, seed=seeds, dtype=dtypes, batch=st.integers(1, 3), data=st.data())
def test_language_model_in_segments_equals_forward(config, seed, dtype, batch, data):
    length = data.draw(lengths(config))
    model, tokens = lm(config, seed, dtype), words(seed, batch, length)
    with torch.no_grad():
        whole, _ = model(tokens)
        for parts in (data.draw(cuts(length)), [1] * length):
            state, outputs, end = {}, [], 0
            for part in parts:
                end += part
                outputs.append(model(tokens[:, :end], incremental_state=state)[0])
            close(torch.cat(outputs, 1), whole)


@given(
    config=configs,
    seed=seeds,
    chunk=st.integers(1, 9),
    chunks=st.lists(st.integers(1, 3), min_size=2, max_size=4),
)
def test_training_blocks_of_whole_chunks_equal_one(config, seed, chunk, chunks):
    """Only the EMA's memory is carried: attention begins anew with a block, where a chunk begins."""
    parts = [chunk * n for n in chunks]
    model, tokens = lm(replace(config, chunk_size=chunk), seed), words(seed, 2, sum(parts))
    carried, outputs = CarriedEMA(), []
    for part in tokens.split(parts, dim=1):
        outputs.append(model.decoder.extract_features(part, carried=carried)[0])
    close(torch.cat(outputs, 1), model.decoder.extract_features(tokens)[0])


@given(config=configs, seed=seeds, dtype=dtypes, data=st.data())
def test_translation_by_steps_in_another_order(config, seed, dtype, data):
    """Beam search: rows are repeated, dropped and exchanged, of states and of the source, or twice a step."""
    batch, sources = data.draw(st.integers(1, 3)), data.draw(lengths(config))
    steps = data.draw(st.integers(1, 12))
    model = nmt(config, seed, dtype)
    source, target = words(seed, batch, sources), words(seed + 1, batch, steps)
    pads = data.draw(st.lists(st.integers(0, sources - 1), min_size=batch, max_size=batch))
    source[torch.arange(sources) < torch.tensor(pads).unsqueeze(1)] = PAD  # on the left
    target[:, 0] = EOS
    with torch.no_grad():
        encoded, state = model.encoder(source), {}
        for t in range(steps):
            logits, _ = model.decoder(target[:, : t + 1], encoded, state)
            expected, _ = model(source, None, target[:, : t + 1])
            close(logits[:, 0], expected[:, -1], f"step {t}")
            for _ in range(data.draw(st.integers(0, 2))):
                rows = data.draw(st.lists(st.integers(0, len(source) - 1), min_size=1, max_size=4))
                order = torch.tensor(rows)
                model.decoder.reorder_incremental_state_scripting(state, order)
                encoded = model.encoder.reorder_encoder_out(encoded, order)
                source, target = source[order], target[order]


@given(config=configs, seed=seeds, dtype=dtypes, data=st.data())
def test_states_can_be_continued_more_than_once(config, seed, dtype, data):
    """A tree of texts: each continues any earlier one, and later continuations leave that one as it was."""
    module = stack(config, seed, causal=True, dtype=dtype)
    texts = [(normal(1, 0, D, seed=seed, dtype=dtype), [LayerState()] * config.layers)]
    with torch.no_grad():
        for i in range(8):
            x, states = data.draw(st.sampled_from(texts))
            more = normal(1, data.draw(st.integers(1, 5)), D, seed=seed + i, dtype=dtype)
            out = module(more, states=states)
            texts.append((torch.cat([x, more], 1), out.states))
            close(out.x, module(texts[-1][0]).x[:, x.size(1) :])
        for x, states in texts[1:]:
            same_states(states, module(x, states=texts[0][1]).states)

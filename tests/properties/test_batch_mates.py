"""A sentence's outputs and gradients depend on neither padding, nor its place in the batch, nor its mates."""

from typing import NamedTuple

import torch
from drawn import EOS, PAD, close, configs, lm, nmt, probe, seeds, words
from hypothesis import given
from hypothesis import strategies as st


class Row(NamedTuple):
    """A sentence's length and its pads in front; what is left of the batch's width is padded behind."""

    length: int
    left: int


rows = st.builds(Row, st.integers(1, 24) | st.integers(60, 68), st.integers(0, 5))
batches = st.lists(rows, min_size=1, max_size=3)
extra = st.integers(0, 3)


def padded(sentences, layout, behind):
    """Tokens (B, L) and where each sentence stands."""
    width = max(row.length + row.left for row in layout) + behind
    tokens = torch.full((len(layout), width), PAD)
    places = [slice(row.left, row.left + row.length) for row in layout]
    for line, place, sentence in zip(tokens, places, sentences, strict=True):
        line[place] = sentence
    return tokens, places


def sentences_of(layout, seed):
    return [words(seed + i, row.length) for i, row in enumerate(layout)]


@given(config=configs, seed=seeds, layout=batches, behind=extra)
def test_encoder(config, seed, layout, behind):
    encoder, sentences = nmt(config, seed).encoder, sentences_of(layout, seed)
    tokens, places = padded(sentences, layout, behind)
    batch = encoder(tokens)
    found, outside = batch["encoder_out"][0].transpose(0, 1), batch["encoder_padding_mask"][0]
    for row, pads, place, sentence in zip(found, outside, places, sentences, strict=True):
        alone = encoder(sentence.unsqueeze(0))["encoder_out"][0][:, 0]
        close(row[place], alone)
        assert not row[pads].any() and pads.sum() == len(pads) - len(sentence)


@given(config=configs, seed=seeds, layout=batches, behind=extra)
def test_language_model(config, seed, layout, behind):
    model, sentences = lm(config, seed), sentences_of(layout, seed)
    tokens, places = padded(sentences, layout, behind)
    found, _ = model(tokens)
    for row, place, sentence in zip(found, places, sentences, strict=True):
        close(row[place], model(sentence.unsqueeze(0))[0][0])


@given(
    config=configs,
    seed=seeds,
    pairs=st.lists(st.tuples(rows, rows), min_size=1, max_size=3),
    behind=st.tuples(extra, extra),
    data=st.data(),
)
def test_translation_and_its_gradients(config, seed, pairs, behind, data):
    model = nmt(config, seed)
    sources, targets = (sentences_of([pair[i] for pair in pairs], seed + i) for i in (0, 1))
    for target in targets:
        target[0] = EOS
    order = data.draw(st.permutations(range(len(pairs))))
    source, source_places = padded([sources[i] for i in order], [pairs[i][0] for i in order], behind[0])
    target, target_places = padded([targets[i] for i in order], [pairs[i][1] for i in order], behind[1])
    logits, inside = model(source, None, target)
    attended, losses, alone_losses = inside["attn"][0], [], []
    for row, i in enumerate(order):
        alone, inner = model(sources[i].unsqueeze(0), None, targets[i].unsqueeze(0))
        mine, weights = logits[row, target_places[row]], attended[row, target_places[row]]
        close(mine, alone[0], "logits")
        close(weights[:, source_places[row]], inner["attn"][0][0], "attention")
        outside = torch.ones(weights.size(1), dtype=torch.bool)
        outside[source_places[row]] = False
        assert not weights[:, outside].any()
        losses.append(probe(mine))
        alone_losses.append(probe(alone[0]))
    parameters = list(model.parameters())
    found, expected = (
        torch.autograd.grad(sum(terms), parameters, materialize_grads=True)
        for terms in (losses, alone_losses)
    )
    for (name, _), ours, theirs in zip(model.named_parameters(), found, expected, strict=True):
        close(ours, theirs, name)


@given(config=configs, seed=seeds, layout=st.lists(rows, min_size=2, max_size=3), data=st.data())
def test_order_of_the_batch(config, seed, layout, data):
    model, order = nmt(config, seed), data.draw(st.permutations(range(len(layout))))
    source, _ = padded(sentences_of(layout, seed), layout, 0)
    target, _ = padded(sentences_of(layout, seed + 9), layout, 0)
    close(model(source[order], None, target[order])[0], model(source, None, target)[0][order])

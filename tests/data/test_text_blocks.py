"""Blocks cover a text, have the sizes asked for, and follow from the seed."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary, FairseqDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from mega_fairseq.data.text_blocks import TextBlocks, equal_blocks, random_blocks, stream_blocks


def covers(borders, total):
    return borders[0, 0] == 0 and borders[-1, 1] == total and (borders[1:, 0] == borders[:-1, 1]).all()


@given(total=st.integers(1, 5000), count=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_equal_blocks(total, count):
    borders = equal_blocks(total, count)
    sizes = borders[:, 1] - borders[:, 0]
    assert covers(borders, total)
    assert len(borders) == min(count, total)
    assert sizes.max() - sizes.min() <= 1


@given(
    total=st.integers(1, 5000),
    chunk=st.integers(1, 70),
    lowest=st.integers(1, 5),
    more=st.integers(0, 4),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_random_blocks(total, chunk, lowest, more, seed):
    multiples = (lowest, lowest + more)
    borders = random_blocks(total, chunk, multiples, seed)
    sizes = borders[:, 1] - borders[:, 0]
    assert covers(borders, total)
    assert (sizes > 0).all()
    assert set(sizes[:-1]) <= {chunk * m for m in range(lowest, lowest + more + 1)}
    assert (random_blocks(total, chunk, multiples, seed) == borders).all()


def test_every_multiple_is_drawn_and_seeds_differ():
    first, second = (random_blocks(100_000, 10, (2, 6), seed) for seed in (1, 2))
    assert set(np.diff(first[:-1], axis=1).ravel()) == {20, 30, 40, 50, 60}
    assert not np.array_equal(first[:50], second[:50])


@given(total=st.integers(50, 3000), streams=st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_streams_continue(total, streams):
    borders = stream_blocks(total, streams, lambda n: random_blocks(n, 7, (1, 3), 0))
    steps = borders.reshape(-1, streams, 2)
    assert (steps[1:, :, 0] == steps[:-1, :, 1]).all()  # each block continues the one above it
    assert (np.diff(steps, axis=2) == np.diff(steps, axis=2)[:, :1]).all()  # a batch has one length
    read = np.concatenate([np.arange(a, b) for a, b in borders])
    assert len(set(read)) == len(read)
    assert total - len(read) < streams


class Lines(FairseqDataset):
    def __init__(self, lines):
        self.lines, self.sizes = lines, np.array([len(line) for line in lines])

    def __len__(self):
        return len(self.lines)

    def __getitem__(self, index):
        return self.lines[index]


@pytest.mark.parametrize("rows", [None, 2])
def test_blocks_hold_the_text_and_its_next_tokens(rows):
    generator = torch.Generator().manual_seed(0)
    lines = [torch.randint(4, 90, (n,), generator=generator) for n in (5, 1, 13, 30, 2, 50)]
    whole = torch.cat(lines)
    dictionary = Dictionary()
    blocks = TextBlocks(
        Lines(lines), dictionary, lambda total, epoch: random_blocks(total, 4, (1, 3), epoch), shuffle=False
    )
    blocks.rows = rows
    epochs = []
    for epoch in (1, 2, 1):
        blocks.set_epoch(epoch)
        assert len(blocks.sizes) == len(blocks)
        targets = torch.cat([blocks[i]["target"] for i in range(len(blocks))])
        assert targets.tolist() == whole.tolist()
        sources = torch.cat([blocks[i]["source"] for i in range(len(blocks))])
        assert sources.tolist() == [dictionary.eos(), *whole[:-1].tolist()]
        epochs.append(blocks.sizes.tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    batches = blocks.batch_by_size(blocks.ordered_indices(), max_tokens=24)
    assert sorted(i for batch in batches for i in batch) == list(range(len(blocks)))
    if rows:
        assert [i for batch in batches for i in batch] == list(range(len(blocks)))
        assert all(len(batch) == rows for batch in batches[:-1])

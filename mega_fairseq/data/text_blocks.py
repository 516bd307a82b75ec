"""One text cut into blocks whose borders may change with the epoch."""

from collections.abc import Callable
from typing import Any

import numpy as np
from fairseq.data import MonolingualDataset, TokenBlockDataset, plasma_utils
from fairseq.data.token_block_utils_fast import _get_block_to_dataset_index_fast

Borders = Callable[[int, int], np.ndarray]  # tokens, epoch -> (blocks, 2): first token, one behind the last


def equal_blocks(total: int, count: int) -> np.ndarray:
    """`count` blocks (fewer where there are fewer tokens) whose sizes differ by one at most: (count, 2)."""
    ends = np.linspace(0, total, min(count, total) + 1).round().astype(np.int64)
    return np.stack([ends[:-1], ends[1:]], 1)


def random_blocks(total: int, chunk: int, multiples: tuple[int, int], seed: int) -> np.ndarray:
    """Blocks of `multiples` (lowest, highest) chunks, drawn evenly; the last one is cut off: (blocks, 2)."""
    lowest, highest = multiples
    draw = np.random.RandomState(seed)
    lengths = chunk * draw.randint(lowest, highest + 1, size=-(-total // (lowest * chunk)))
    ends = np.concatenate([[0], lengths.cumsum()]).clip(max=total)
    ends = ends[: np.searchsorted(ends, total) + 1]
    return np.stack([ends[:-1], ends[1:]], 1)


def stream_blocks(total: int, streams: int, borders: Callable[[int], np.ndarray]) -> np.ndarray:
    """Blocks of `streams` consecutive parts of the text, side by side: block i continues block i - streams.

    borders: how one part of that many tokens is cut. Up to streams - 1 tokens at the end are left out.
    """
    length = total // streams
    if length == 0:
        raise ValueError(
            f"a text of {total} tokens cannot be read by {streams} rows at once; lower --batch-size"
        )
    steps = borders(length)  # (T, 2)
    starts = np.arange(streams) * length
    return (steps[:, None] + starts[None, :, None]).reshape(-1, 2)


class TextBlocks(MonolingualDataset):
    """Blocks of a text as language modelling examples; each begins where another one ends.

    tokens: fairseq's data set of lines; borders: their place in each epoch. With `rows` the blocks of a batch
    are continued by those of the next one: batches keep their order and hold so many blocks.
    """

    def __init__(self, tokens: Any, vocabulary: Any, borders: Borders, *, shuffle: bool, **options: Any):
        self.total = int(np.sum(tokens.sizes))
        pad, eos = vocabulary.pad(), vocabulary.eos()
        blocks = TokenBlockDataset(tokens, tokens.sizes, self.total, pad=pad, eos=eos, include_targets=True)
        super().__init__(blocks, blocks.sizes, vocabulary, shuffle=shuffle, targets=["future"], **options)
        self.line_sizes, self.borders = np.asarray(tokens.sizes, dtype=np.int64), borders
        self.rows: int | None = None
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Cut the text anew."""
        super().set_epoch(epoch)
        borders = self.borders(self.total, epoch)
        index = _get_block_to_dataset_index_fast(self.line_sizes, borders)
        self.dataset._slice_indices = plasma_utils.PlasmaArray(borders)
        self.dataset._sizes = plasma_utils.PlasmaArray(borders[:, 1] - borders[:, 0])
        self.dataset._block_to_dataset_index = plasma_utils.PlasmaArray(index)
        self.sizes = self.dataset.sizes

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def ordered_indices(self) -> np.ndarray:
        indices: np.ndarray = np.arange(len(self)) if self.rows else super().ordered_indices()
        return indices

    def batch_by_size(self, indices: Any, *args: Any, **kwargs: Any) -> Any:
        if self.rows:
            return np.split(np.asarray(indices), np.arange(self.rows, len(indices), self.rows))
        return super().batch_by_size(indices, *args, **kwargs)

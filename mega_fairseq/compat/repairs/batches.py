"""Repairs of fairseq's batches and their order."""

import inspect
import re

import numpy as np
from fairseq import tasks
from fairseq.data import data_utils, iterators
from fairseq.tasks.language_modeling import LanguageModelingTask

from mega_fairseq.compat.registry import MAIN, repairs


@repairs(data_utils, "batch_by_size", versions=MAIN)
def keep_last_batch(original, indices, num_tokens_fn, *args, **kwargs):
    """data/data_utils.py drops the last batch when its size is no multiple of --required-batch-size-multiple.

    The longest sentences vanish from training, from the output of generate and from its BLEU. Batches are
    consecutive pieces of `indices`, so the missing one is what is left.
    """
    if not isinstance(indices, np.ndarray):
        indices = np.fromiter(indices, dtype=np.int64, count=-1)
    if len(indices) == 0:
        return []
    try:
        batches = original(indices, num_tokens_fn, *args, **kwargs)
    except AssertionError as error:
        found = re.match(r"Sentences lengths should not exceed max_tokens=(\d+)", str(error))
        if found is None:
            raise
        raise ValueError(
            f"there is a sentence of more than the {found[1]} tokens of a batch; raise --max-tokens"
        ) from error
    bound = inspect.signature(original).bind(indices, num_tokens_fn, *args, **kwargs).arguments
    kept = sum(len(batch) for batch in batches)
    if bound.get("fixed_shapes") is not None or kept == len(indices):
        return batches
    return [*batches, indices[kept:]]


@repairs(tasks.FairseqTask, "get_batch_iterator", versions=MAIN)
def resume_with_equal_batches(original, self, dataset, *args, **kwargs):
    """tasks/fairseq_task.py seeds the grouping of sentences into batches with the epoch of the *first* call.

    A run keeps the batches of epoch 1; one resumed in epoch 3 groups with the seed of epoch 3 and departs
    from it. Where batches are kept across epochs they are those of epoch 1 here, whenever the run began.
    """
    bound = inspect.signature(original).bind(self, dataset, *args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    kept_across_epochs = (
        not given.get("disable_iterator_cache")
        and not given.get("update_epoch_batch_itr")
        and self.can_reuse_epoch_itr(dataset)
    )
    if not kept_across_epochs or dataset in self.dataset_to_epoch_iter:
        return original(*bound.args, **bound.kwargs)
    epoch, given["epoch"] = given["epoch"], 1
    batches = original(*bound.args, **bound.kwargs)
    batches.epoch = max(epoch, 1)
    dataset.set_epoch(epoch)
    return batches


@repairs(iterators.EpochBatchIterator, "_get_iterator_for_epoch")
def end_the_curriculum(original, self, epoch, shuffle, fix_batches_to_gpus=False, offset=0):
    """data/iterators.py reuses a loader with the shuffling it began with: --curriculum never ends."""
    sampler = getattr(self, "epoch_batch_sampler", self.batch_sampler)  # 0.12.2 puts it over the one given
    if isinstance(sampler, iterators.FrozenBatchSampler):
        sampler.shuffle, sampler.fix_batches_to_gpus = shuffle, fix_batches_to_gpus
    return original(self, epoch, shuffle, fix_batches_to_gpus=fix_batches_to_gpus, offset=offset)


@repairs(LanguageModelingTask, "eval_lm_dataloader")
def evaluate_every_block(original, self, dataset, *args, **kwargs):
    """tasks/language_modeling.py skips blocks that exceed the model; with none left, perplexity is "1.00".
    A block of more than the 36,000 tokens that --max-tokens defaults to stops it.
    """
    given = inspect.signature(original).bind(self, dataset, *args, **kwargs)
    given.apply_defaults()
    sizes = np.asarray(getattr(dataset, "sizes", []))
    if sizes.ndim != 1 or not sizes.size:  # of other data than text, or none
        return original(self, dataset, *args, **kwargs)
    limit, longest = given.arguments["max_positions"], int(sizes.max())
    if isinstance(limit, int) and sizes.min() > limit:
        raise ValueError(
            f"every block of the text is longer than the {limit} tokens that the model takes, so there is "
            f"nothing to evaluate; pass --tokens-per-sample {limit}, or less"
        )
    if given.arguments["max_tokens"] is not None:
        room = longest + given.arguments["context_window"]
        given.arguments["max_tokens"] = max(given.arguments["max_tokens"], room)
    return original(*given.args, **given.kwargs)

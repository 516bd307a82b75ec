"""Repairs of fairseq's commands that share their work among processes."""

import logging
import os

from fairseq import options
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import FairseqTask
from fairseq.tasks.translation import TranslationTask

from mega_fairseq.compat.partial import option, set_option
from mega_fairseq.compat.registry import repairs

logger = logging.getLogger(__name__)


@repairs(options, "parse_args_and_arch")
def obey_num_shards(original, *args, **kwargs):
    """fairseq_cli/generate.py reads its share from the distributed options: with --num-shards and --shard-id,
    every process translates everything.
    """
    parsed = original(*args, **kwargs)
    given = parsed[0] if isinstance(parsed, tuple) else parsed
    shards = option(given, "num_shards", 1, int)
    if hasattr(given, "beam") and shards > 1:  # fairseq-eval-lm obeys
        given.distributed_world_size, given.distributed_rank = shards, option(given, "shard_id", 0, int)
    return parsed


@repairs(distributed_utils, "call_main")
def evaluate_in_shards(original, cfg, main, **kwargs):
    """fairseq_cli/eval_lm.py on several GPUs or under torchrun prints the perplexity of one process's part as
    the whole's. One process reads all of it here; under torchrun it is refused.
    """
    if "eval_lm" not in getattr(main, "__globals__", {}):
        return original(cfg, main, **kwargs)
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    given = option(cfg, "distributed_training.distributed_world_size", 1, int)
    processes = int(os.environ["WORLD_SIZE"]) if launched else given
    if processes > 1 and not (launched or option(cfg, "distributed_training.distributed_init_method")):
        logger.warning("evaluating on one GPU of %d: each would print the perplexity of its part", processes)
        set_option(cfg.distributed_training, "distributed_world_size", 1)
    elif processes > 1:
        raise ValueError(
            f"fairseq-eval-lm would print the perplexity of one of {processes} parts of the text; run it "
            f"{processes} times without torchrun, with --num-shards {processes} --shard-id 0 and so on, and "
            "weight each loss with its number of tokens"
        )
    return original(cfg, main, **kwargs)


@repairs(TranslationTask, "valid_step")
@repairs(FairseqTask, "valid_step")
def validate_nothing(original, self, sample, *args, **kwargs):
    """fairseq_cli/validate.py, on several processes, gives the model the empty batches of a process that has
    fewer than the others. (fairseq-train replaces them.)
    """
    return original(self, sample, *args, **kwargs) if sample else (0.0, 0, {})

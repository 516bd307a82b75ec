"""Repairs of fairseq, applied when the plugin is imported.

Each repair names the upstream file and the fault, and changes nothing where a fairseq does not have it. The
original stays within reach as `replaced.mega_original`.
"""

import functools
import inspect
import logging
import os
import pickle
import re
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils, file_io, models, options, tasks, utils
from fairseq.data import data_utils, iterators, language_pair_dataset, token_block_dataset
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from fairseq.modules import transformer_layer
from fairseq.optim.fp16_optimizer import FP16Optimizer
from fairseq.tasks.language_modeling import LanguageModelingTask

from mega_fairseq import safe_types

logger = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parent
_replacements: list[tuple[Any, str, Callable]] = []


class CheckpointError(RuntimeError):
    """A checkpoint file that cannot be used, told in one sentence."""


def apply() -> None:
    """Apply every repair. Harmless when repeated."""
    if tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2]) < (2, 6):
        raise ImportError(
            f"mega_fairseq needs torch 2.6 or newer and found {torch.__version__}: older ones run code "
            "hidden in a checkpoint. Install torch==2.13.0."
        )
    safe_types.allow()
    restore_numpy_names()
    safe_types.read_literals_only()
    for owner, name, repair in _replacements:
        _replace(owner, name, repair)


def _repairs(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Register `repair(original, ...)` to stand in for `owner.name`."""

    def register(repair: Callable) -> Callable:
        _replacements.append((owner, name, repair))
        return repair

    return register


def _replace(owner: Any, name: str, repair: Callable) -> None:
    found = inspect.getattr_static(owner, name)
    binder = type(found) if isinstance(found, staticmethod | classmethod) else None
    original = found.__func__ if binder else found
    if hasattr(original, "mega_original"):
        return

    @functools.wraps(original, updated=())
    def replacement(*args, **kwargs):
        return repair(original, *args, **kwargs)

    replacement.mega_original = original  # type: ignore[attr-defined]
    setattr(owner, name, binder(replacement) if binder else replacement)


@_repairs(data_utils, "batch_by_size")
def keep_last_batch(original, indices, num_tokens_fn, *args, **kwargs):
    """data/data_utils.py drops the last batch when its size is no multiple of --required-batch-size-multiple.

    The longest sentences vanish from training, from the output of generate and from its BLEU. Batches are
    consecutive pieces of `indices`, so the missing one is what is left.
    """
    if not isinstance(indices, np.ndarray):
        indices = np.fromiter(indices, dtype=np.int64, count=-1)
    if len(indices) == 0:
        return []
    batches = original(indices, num_tokens_fn, *args, **kwargs)
    bound = inspect.signature(original).bind(indices, num_tokens_fn, *args, **kwargs).arguments
    kept = sum(len(batch) for batch in batches)
    if bound.get("fixed_shapes") is not None or kept == len(indices):
        return batches
    return [*batches, indices[kept:]]


@_repairs(checkpoint_utils, "load_checkpoint_to_cpu")
def explain_bad_checkpoints(original, path, *args, **kwargs):
    """checkpoint_utils.py lets a truncated or foreign file surface as an error from deep inside torch."""
    try:
        return original(path, *args, **kwargs)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {path}; check --path or --restore-file") from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise CheckpointError(_unreadable(path, error)) from error
        raise CheckpointError(
            f"refused to load {path}: it refers to {refused[1]}, which is no plain data and could run "
            "code. Use a checkpoint that fairseq wrote, or, if you trust this type, allow it with "
            "torch.serialization.add_safe_globals."
        ) from error
    except (EOFError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def _unreadable(path: str, error: Exception) -> str:
    # torch begins with advice to turn its safe loading off, which is no remedy
    text = str(error).rpartition("error: ")[2].strip() or "the file is empty"
    reason = re.split(r"\.\s|\n", text)[0].rstrip(".")
    return (
        f"cannot read {path} as a fairseq checkpoint ({type(error).__name__}: {reason}); it may be truncated "
        "or of another kind. Use another checkpoint of that folder, or delete this one to start again."
    )


@_repairs(file_io.PathManager, "copy")
def copy_atomically(original, src_path, dst_path, overwrite=False):
    """file_io.py copies checkpoint_last.pt in place: a kill leaves nothing to resume from."""
    if file_io.IOPathManager:
        return original(src_path, dst_path, overwrite=overwrite)
    temporary = f"{dst_path}.tmp.{os.getpid()}"
    try:
        shutil.copyfile(src_path, temporary)
        os.replace(temporary, dst_path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
    return dst_path


@_repairs(distributed_utils, "infer_init_method")
def obey_torchrun(original, cfg, *args, **kwargs):
    """distributed/utils.py ignores torchrun unless --distributed-world-size is given, so that every process
    trains alone; and without a GPU its default backend is nccl, which cannot work.
    """
    if cfg.distributed_init_method is None and "TORCHELASTIC_RUN_ID" in os.environ:
        cfg.distributed_world_size = int(os.environ["WORLD_SIZE"])
        if cfg.distributed_backend == "nccl" and not torch.cuda.is_available():
            cfg.distributed_backend = "gloo"
    return original(cfg, *args, **kwargs)


@_repairs(distributed_utils, "_infer_torch_distributed_launch_init")
def launch_without_gpus(original, cfg):
    """distributed/utils.py divides by the number of GPUs."""
    if torch.cuda.device_count() > 0:
        original(cfg)
        return
    cfg.distributed_init_method = "env://"
    cfg.distributed_world_size = int(os.environ["WORLD_SIZE"])
    cfg.distributed_rank = int(os.environ["RANK"])
    cfg.device_id = 0
    cfg.distributed_no_spawn = True


@_repairs(distributed_fairseq_model, "DistributedDataParallel")
def ddp_on_cpu(original, module, device_ids=None, output_device=None, **kwargs):
    """models/distributed_fairseq_model.py names a CUDA device for modules that are on the CPU."""
    if all(p.device.type == "cpu" for p in module.parameters()):
        device_ids = output_device = None
    return original(module, device_ids=device_ids, output_device=output_device, **kwargs)


@_repairs(options, "parse_args_and_arch")
def bf16_without_tpu(original, parser, input_args=None, *args, **kwargs):
    """options.py takes --bf16 for --tpu, and training stops for want of torch_xla."""
    parsed = original(parser, input_args, *args, **kwargs)
    namespace = parsed[0] if isinstance(parsed, tuple) else parsed
    given = sys.argv[1:] if input_args is None else input_args
    if getattr(namespace, "bf16", False) and "--tpu" not in given:
        namespace.tpu = False
    return parsed


@_repairs(FP16Optimizer, "build_optimizer")
def fp16_on_cpu(original, cls, cfg, params, **kwargs):
    """optim/fp16_optimizer.py asks CUDA where to flatten the gradients, so --fp16 stops on a CPU."""
    params = list(params)
    if params and params[0].device.type == "cpu":
        cfg.common.fp16_no_flatten_grads = True
    return original(cls, cfg, params, **kwargs)


@_repairs(tasks.FairseqTask, "get_batch_iterator")
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


@_repairs(iterators.EpochBatchIterator, "_get_iterator_for_epoch")
def end_the_curriculum(original, self, epoch, shuffle, fix_batches_to_gpus=False, offset=0):
    """data/iterators.py reuses a loader with the shuffling it began with: --curriculum never ends."""
    if getattr(self, "dataloader", None) is not None:
        self.epoch_batch_sampler.shuffle = shuffle
        self.epoch_batch_sampler.fix_batches_to_gpus = fix_batches_to_gpus
    return original(self, epoch, shuffle, fix_batches_to_gpus=fix_batches_to_gpus, offset=offset)


@_repairs(LanguageModelingTask, "eval_lm_dataloader")
def evaluate_something(original, self, dataset, *args, **kwargs):
    """tasks/language_modeling.py skips blocks that exceed the model; with none left, perplexity is "1.00"."""
    longest = inspect.signature(original).bind(self, dataset, *args, **kwargs).arguments.get("max_positions")
    if isinstance(longest, int) and len(dataset) > 0 and min(dataset.sizes) > longest:
        raise ValueError(
            f"every block of the text is longer than the {longest} tokens that the model takes, so there is "
            f"nothing to evaluate; pass --tokens-per-sample {longest}, or less"
        )
    return original(self, dataset, *args, **kwargs)


@_repairs(transformer_layer.TransformerEncoderLayerBase, "__init__")
def no_encoder_fast_path(original, self, *args, **kwargs):
    """modules/transformer_layer.py of 0.12.2: torch's fused encoder layer fails on padded batches."""
    original(self, *args, **kwargs)
    if hasattr(self, "can_use_fastpath"):
        self.can_use_fastpath = False


@_repairs(utils, "import_user_module")
def accept_any_spelling(original, args):
    """utils.py refuses a --user-dir whose package is loaded from another path: a link, an installed copy."""
    user_dir = getattr(args, "user_dir", None)
    if user_dir is None:
        return
    real = Path(user_dir).resolve()
    if real != PACKAGE and real.name != "mega_fairseq":
        original(args)
    elif real != PACKAGE and real.exists():
        logger.warning("--user-dir %s is not used: mega_fairseq is already loaded from %s", user_dir, PACKAGE)


@_repairs(models, "import_models")
@_repairs(tasks, "import_tasks")
def import_once(original, folder, namespace):
    """models/__init__.py imports files by the folder's name: a link would register our models again."""
    if sys.modules.get(namespace.partition(".")[0]) is not sys.modules["mega_fairseq"]:
        original(folder, namespace)


def restore_numpy_names() -> None:
    """data/*.py use names that NumPy 2 dropped: np.compat.long, np.int, np.percentile(interpolation=).

    LM generation and --num-batch-buckets stop there. Three modules get a NumPy that has them.
    """

    def percentile(*args, interpolation=None, **kwargs):
        return np.percentile(*args, **kwargs, **({"method": interpolation} if interpolation else {}))

    numpy = types.ModuleType("numpy")
    vars(numpy).update(vars(np), compat=types.SimpleNamespace(long=np.int64), int=int, percentile=percentile)
    for module in (data_utils, language_pair_dataset, token_block_dataset):
        module.np = numpy

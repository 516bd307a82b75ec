"""Where fairseq asks fairscale (distributed/fully_sharded_data_parallel.py), it gets torch's FSDP2.

fairscale is no longer kept and does not install beside today's torch. Where it is present nothing here has an
effect.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from fairseq.distributed import fully_sharded_data_parallel
from fairseq.distributed.fully_sharded_data_parallel import has_FSDP
from fairseq.models import distributed_fairseq_model
from fairseq.modules import LayerDropModuleList
from fairseq.trainer import Trainer
from torch import nn

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import repairs

logger = logging.getLogger(__name__)
NEW_FAIRSCALE = "fairscale installs beside a supported torch"


@contextlib.contextmanager
def _stand_in() -> Iterator[None]:
    """For the time of a call that imports fairscale: what fairseq uses of it."""
    package, nn_module = ModuleType("fairscale"), ModuleType("fairscale.nn")

    @contextlib.contextmanager
    def enable_wrap(**_: Any) -> Iterator[None]:
        yield

    def wrap(module: nn.Module, **_: Any) -> nn.Module:
        module.sharded_apart = True  # type: ignore[assignment]
        return module

    package.__version__, package.nn = "0.4.13", nn_module  # type: ignore[attr-defined]
    nn_module.enable_wrap, nn_module.wrap = enable_wrap, wrap  # type: ignore[attr-defined]
    modules = {"fairscale": package, "fairscale.nn": nn_module}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


@repairs(fully_sharded_data_parallel, "fsdp_enable_wrap", until=NEW_FAIRSCALE)
@contextlib.contextmanager
def build_for_sharding(original, cfg):
    """distributed/fully_sharded_data_parallel.py needs fairscale; here it marks the layers to shard apart."""
    if not has_FSDP and cfg.distributed_world_size == 1:
        logger.info("--ddp-backend fully_sharded on one process has nothing to share out: trained as without")
        cfg.ddp_backend = "pytorch_ddp"
    with contextlib.nullcontext() if has_FSDP else _stand_in(), original(cfg):
        yield


@repairs(Trainer, "__init__", until=NEW_FAIRSCALE)
def train_sharded(original, self, cfg, task, model, *args, **kwargs):
    """trainer.py imports fairscale to know its version, and lets through what a sharded model cannot."""
    if has_FSDP or option(cfg, "distributed_training.ddp_backend") != "fully_sharded":
        original(self, cfg, task, model, *args, **kwargs)
        return
    for flag, remedy in _refused(cfg, model):
        raise ValueError(f"{flag} does not go with --ddp-backend fully_sharded; {remedy}")
    with _stand_in():
        original(self, cfg, task, model, *args, **kwargs)


def _refused(cfg: Any, model: nn.Module) -> Iterator[tuple[str, str]]:
    sharing = cfg.distributed_training
    if sharing.use_sharded_state:
        yield "--use-sharded-state", "without it checkpoints are whole, whatever the number of processes"
    if sharing.cpu_offload:
        yield "--cpu-offload", "leave it out, or share out among more processes"
    if cfg.common.amp:
        yield "--amp", "train with --fp16 or without both"
    if cfg.ema.store_ema:
        yield "--store-ema", "average checkpoints afterwards (mega-average)"
    if getattr(cfg.task, "eval_bleu", False):
        yield (
            "--eval-bleu",
            "its processes decode different numbers of steps; use fairseq-generate afterwards",
        )
    if any(isinstance(module, LayerDropModuleList) for module in model.modules()):
        yield "--encoder-layerdrop and --decoder-layerdrop", "each process would draw layers of its own"


@repairs(distributed_fairseq_model, "DistributedFairseqModel", until=NEW_FAIRSCALE)
def share_out(original, args, model, process_group, device):
    """models/distributed_fairseq_model.py expects a model that fairscale has wrapped."""
    if has_FSDP or args.ddp_backend != "fully_sharded":
        return original(args, model, process_group, device)
    model = (model.half() if args.memory_efficient_fp16 else model).to(device)
    from mega_fairseq.compat.repairs.sharding.model import FullySharded

    return FullySharded(args, model, process_group, device)


@repairs(Trainer, "clip_grad_norm", until=NEW_FAIRSCALE)
def measure_all_parts(original, self, clip_norm):
    """trainer.py sums the norm of a sharded gradient on a GPU only."""
    if has_FSDP or not self.is_fsdp:
        return original(self, clip_norm)
    return self.optimizer.clip_grad_norm(clip_norm, aggregate_norm_fn=self.model.whole_norm)

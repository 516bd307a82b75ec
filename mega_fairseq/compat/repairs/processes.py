"""Repairs of how fairseq starts, joins and leaves its processes: torchrun, and machines without a GPU."""

import gc
import os
import time

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model

from mega_fairseq.compat.partial import option, set_option
from mega_fairseq.compat.registry import MAIN, repairs, swapped


@repairs(distributed_utils, "infer_init_method")
def obey_torchrun(original, cfg, *args, **kwargs):
    """distributed/utils.py ignores torchrun unless --distributed-world-size is given, so that every process
    trains alone; and without a GPU its default backend is nccl, which cannot work.
    """
    if option(cfg, "distributed_init_method") is None and "TORCHELASTIC_RUN_ID" in os.environ:
        set_option(cfg, "distributed_world_size", int(os.environ["WORLD_SIZE"]))
        if option(cfg, "distributed_backend") == "nccl" and not torch.cuda.is_available():
            set_option(cfg, "distributed_backend", "gloo")
    return original(cfg, *args, **kwargs)


@repairs(distributed_utils, "_infer_torch_distributed_launch_init", versions=MAIN)
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


@repairs(distributed_fairseq_model, "DistributedFairseqModel")
def ddp_on_cpu(original, args, model, process_group, device):
    """models/distributed_fairseq_model.py names a CUDA device for modules that are on the CPU."""
    if torch.device(device).type != "cpu":
        return original(args, model, process_group, device)
    wrap = distributed_fairseq_model.DistributedDataParallel

    def wrap_on_cpu(module, device_ids=None, output_device=None, **options):
        return wrap(module, **options)

    with swapped(distributed_fairseq_model, "DistributedDataParallel", wrap_on_cpu):
        return original(args, model, process_group, device)


@repairs(distributed_utils, "all_gather_list")
def gather_on_cpu(original, data, group=None, max_size=16384):
    """distributed/utils.py makes its buffers on a GPU: fairseq-validate on several CPU processes stops."""
    if not torch.cuda.is_available():
        buffers = distributed_utils.all_gather_list
        processes = distributed_utils.get_world_size(group or distributed_utils.get_global_group())
        buffers._buffer = torch.zeros(max_size * processes, dtype=torch.uint8)
        buffers._cpu_buffer = torch.zeros(max_size, dtype=torch.uint8)
    return original(data, group=group, max_size=max_size)


@repairs(distributed_utils, "distributed_main")
def leave_the_group(original, i, main, cfg, kwargs):
    """distributed/utils.py leaves its process groups to the end of the interpreter, where threads of theirs
    still run: rarely, a process that has done all its work ends with "terminate called without an active
    exception", and torchrun reports a failure. Groups that the caller made stay.
    """
    given = torch.distributed.is_initialized()
    original(i, main, cfg, kwargs)
    if torch.distributed.is_initialized() and not given:
        # Who frees a group, torch's DDP for one, waits for its threads with the interpreter's lock, and they
        # may wait for this lock to free a tensor. So what is left of the training goes before the group, and
        # its threads get the lock before it is freed.
        gc.collect()
        time.sleep(0.1)
        torch.distributed.destroy_process_group()
        vars(distributed_utils.get_global_group).pop("_global_group", None)

"""Repairs of fairseq's processes, precision and layers on machines without a GPU."""

import os
import sys

import torch
from fairseq import options
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from fairseq.modules import transformer_layer
from fairseq.modules.quantization.scalar import ops as scalar_quantisation
from fairseq.optim.fp16_optimizer import FP16Optimizer

from mega_fairseq.compat.partial import option, set_option
from mega_fairseq.compat.registry import repairs, swapped


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


@repairs(distributed_utils, "_infer_torch_distributed_launch_init")
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


@repairs(options, "parse_args_and_arch")
def bf16_without_tpu(original, parser, input_args=None, *args, **kwargs):
    """options.py takes --bf16 for --tpu, and training stops for want of torch_xla."""
    parsed = original(parser, input_args, *args, **kwargs)
    namespace = parsed[0] if isinstance(parsed, tuple) else parsed
    given = sys.argv[1:] if input_args is None else input_args
    if getattr(namespace, "bf16", False) and "--tpu" not in given:
        namespace.tpu = False
    return parsed


@repairs(FP16Optimizer, "build_optimizer")
def fp16_on_cpu(original, cls, cfg, params, **kwargs):
    """optim/fp16_optimizer.py asks CUDA where to flatten the gradients, so --fp16 stops on a CPU."""
    params = list(params)
    if params and params[0].device.type == "cpu":
        set_option(cfg.common, "fp16_no_flatten_grads", True)
    return original(cls, cfg, params, **kwargs)


@repairs(transformer_layer.TransformerEncoderLayerBase, "__init__")
def no_encoder_fast_path(original, self, *args, **kwargs):
    """modules/transformer_layer.py of 0.12.2: torch's fused encoder layer fails on padded batches."""
    original(self, *args, **kwargs)
    if hasattr(self, "can_use_fastpath"):
        self.can_use_fastpath = False


@repairs(scalar_quantisation, "emulate_int8_histogram")
def quantise_without_gpu(original, w, scale=None, zero_point=None, bits=8):
    """modules/quantization/scalar/ops.py takes its scale to a GPU: --quant-noise-scalar stops on a CPU."""
    if scale is None and w.device.type == "cpu":
        observer = torch.ao.quantization.observer.HistogramObserver()
        observer(w.float())
        scale, zero_point = (number.type_as(w) for number in observer.calculate_qparams())
    return original(w, scale=scale, zero_point=zero_point, bits=bits)

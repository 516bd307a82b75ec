"""Repairs of training in half precision without a TPU or a GPU."""

import sys

from fairseq import options
from fairseq.optim.fp16_optimizer import FP16Optimizer

from mega_fairseq.compat.partial import set_option
from mega_fairseq.compat.registry import repairs


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

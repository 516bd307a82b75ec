"""Repairs of fairseq's layers."""

import torch
from fairseq.modules import transformer_layer
from fairseq.modules.quantization.scalar import ops as scalar_quantisation

from mega_fairseq.compat.registry import OLD, repairs


@repairs(
    transformer_layer.TransformerEncoderLayerBase,
    "__init__",
    versions=OLD,
    until="Python 3.10 is no longer supported",
)
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

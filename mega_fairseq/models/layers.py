"""A stack whose layers are checkpointed, sharded, dropped and noisy as fairseq trains them."""

import functools

from fairseq.distributed import fsdp_wrap
from fairseq.modules import LayerDropModuleList
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.quant_noise import quant_noise
from torch import nn

from mega_fairseq.models.config import LayerConfig, SideConfig
from mega_fairseq.models.dropout import RetainableDropout
from mega_fairseq.modules.stack import MegaStack


def build_stack(config: SideConfig, *, causal: bool, source_dim: int | None = None) -> MegaStack:
    """The MegaStack of one side. Raises ValueError, naming the flag, for a block that divides no width."""
    layers = config.layers

    def wrap(layer: nn.Module) -> nn.Module:
        _add_quant_noise(layer, layers)
        if layers.checkpoint:
            layer = checkpoint_wrapper(layer, offload_to_cpu=layers.offload)
        return fsdp_wrap(layer, min_num_params=0 if layers.checkpoint else layers.min_params_to_wrap)

    def container(modules: list[nn.Module]) -> nn.ModuleList:
        dropped = layers.layerdrop
        return LayerDropModuleList(dropped, modules) if dropped > 0 else nn.ModuleList(modules)

    return MegaStack(
        config.stack,
        causal=causal,
        source_dim=source_dim,
        dropout=functools.partial(RetainableDropout, module_name=f"Mega{layers.side.title()}Layer"),
        wrap=wrap,
        container=container,
    )


def _add_quant_noise(layer: nn.Module, config: LayerConfig) -> None:
    """Train a layer's linear maps for product quantisation (--quant-noise-pq), as fairseq's transformer's."""
    size = config.quant_noise_block
    if config.quant_noise == 0.0:
        return
    for name, linear in layer.named_modules():
        if isinstance(linear, nn.Linear):
            if size < 1 or linear.in_features % size:
                raise ValueError(
                    f"--quant-noise-pq-block-size must divide the widths of the model; got {size}, and "
                    f"{name} takes {linear.in_features}"
                )
            quant_noise(linear, config.quant_noise, size)

"""Linear layers: torch's own class, multiplied by oneDNN where that is faster; their initial weights."""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from mega_fairseq.ops.linear import Packed, linear, pack
from mega_fairseq.ops.pieces import as_at_first, kept


def product(layer: nn.Module, x: Tensor) -> Tensor:
    """How Mega calls a linear layer: `layer(x)`, faster.

    The layers of a model are nn.Linear and no subclass of it, so that what looks for that class finds them.
    A layer that is nothing but one is multiplied by ops.linear; what has taken its place (quantised, pruned),
    or has hooks, is called as any module.
    """
    if not isinstance(layer, nn.Linear) or not as_at_first(_is_plain(layer)):
        return layer(x)
    return linear(x, *_parameters(layer))


def kept_product(layer: nn.Module, x: Tensor, needed: bool = True) -> Tensor:
    """`product`, which the backward pass does not compute again; needed as for ops.pieces.kept.

    What is more than a plain layer is computed again with all that belongs to it.
    """
    if not isinstance(layer, nn.Linear) or not as_at_first(_is_plain(layer)):
        return layer(x)
    return kept(linear, x, *_parameters(layer), needed=needed)


def _parameters(layer: nn.Linear) -> tuple[Tensor, Tensor | None, Packed | None]:
    return as_at_first(layer.weight), as_at_first(layer.bias), _packed_weight(layer)


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether calling the layer does what nn.Linear does and nothing else."""
    hooks = layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks
    watched = hooks or layer._backward_pre_hooks or _has_any_global_hook()
    return type(layer) is nn.Linear and not watched and "forward" not in vars(layer)


def pack_linears(module: nn.Module) -> None:
    """Give each large weight inside a second, packed copy, for who generates or evaluates."""
    for layer in module.modules():
        if type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter):
            layer.packed = pack(layer.weight)  # type: ignore[assignment]


def _packed_weight(layer: nn.Linear) -> Packed | None:
    """Dropped where the weight is another one, or is trained: some optimizers leave no trace of it."""
    packed: Packed | None = vars(layer).get("packed")
    if packed is not None:
        trained = torch.is_grad_enabled() and layer.weight.requires_grad
        if trained or not packed.is_of(layer.weight):
            packed = layer.packed = None  # type: ignore[assignment]
    return packed


def build_linear(inputs: int, outputs: int, weight_init: str) -> nn.Linear:
    """A linear layer with biases 0 and weights N(0, 0.02), or Xavier's with `open-gates`."""
    layer = nn.Linear(inputs, outputs)
    if weight_init == "paper":
        nn.init.normal_(layer.weight, std=0.02)
    else:
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@torch.no_grad()
def set_gate(bias: Tensor, logit: float, weight_init: str) -> None:
    """Start a gate's logits, a slice of a projection's bias, at `logit`; the paper starts them at 0."""
    if weight_init == "open-gates":
        bias.fill_(logit)

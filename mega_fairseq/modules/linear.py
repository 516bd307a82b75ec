"""Linear layers and gates with one of two initialisations (config.INITS)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mega_fairseq.ops.linear import Packed, linear, linear_of, pack


class Linear(nn.Linear):
    """nn.Linear, but large float32 products are oneDNN's on a CPU (ops.linear)."""

    packed: Packed | None = None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias, self._packed_weight())

    def make_generation_fast_(self, **unused: Any) -> None:
        """What fairseq calls before it generates or evaluates: a large weight gets a second, packed copy."""
        self.packed = pack(self.weight) if isinstance(self.weight, nn.Parameter) else None

    def _packed_weight(self) -> Packed | None:
        """Dropped where the weight is another one, or is trained: some optimizers leave no trace of it."""
        if self.packed is not None:
            trained = torch.is_grad_enabled() and self.weight.requires_grad
            if trained or not self.packed.is_of(self.weight):
                self.packed = None
        return self.packed

    def __getstate__(self) -> dict[str, Any]:
        """Without the packed weight, which torch can neither copy nor save."""
        return {name: value for name, value in self.__dict__.items() if name != "packed"}

    def of(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """This layer's output for function(*inputs), which the backward pass computes again.

        Hooks run as always.
        """
        self._packed_weight()  # which training drops
        if self._forward_hooks or self._forward_pre_hooks:
            return checkpoint(lambda *x: self(function(*x)), *inputs, use_reentrant=False)
        return linear_of(function, inputs, self.weight, self.bias)


def build_linear(inputs: int, outputs: int, weight_init: str) -> Linear:
    """A linear layer with biases 0 and weights N(0, 0.02), or Xavier's with `open-gates`."""
    layer = Linear(inputs, outputs)
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

"""The bare matrix products of a piece of work."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Products(TorchDispatchMode):
    """Records the operands of the matrix products of linear layers and of attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels, self.operands = channels, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("mm", "addmm", "bmm", "mv", "addmv"):
            pair = args[1:3] if name.startswith("add") else args[:2]
            if name != "bmm" or pair[0].size(0) != self.channels:  # a product per channel is the EMA's
                self.operands.append([(tuple(t.shape), t.stride()) for t in pair])
        return function(*args, **(kwargs or {}))


def bare_products(work: Callable[[], Any], channels: int) -> Callable[[], None]:
    """The matrix products of `work` by themselves, with the same shapes and strides.

    channels: the model's D; batched products over so many are the EMA's and do not count.
    """
    with Products(channels) as products:
        work()
    storage: dict[Any, torch.Tensor] = {}
    for shape, stride in (operand for pair in products.operands for operand in pair):
        if (shape, stride) not in storage:
            storage[shape, stride] = torch.empty_strided(shape, stride).fill_(0.01)
    pairs = [tuple(storage[operand] for operand in pair) for pair in products.operands]

    def run() -> None:
        for a, b in pairs:
            torch.matmul(a, b)

    return run

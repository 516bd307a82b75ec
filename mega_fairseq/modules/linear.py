"""Linear layers with Mega's initialisation."""

from torch import nn


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with weights N(0, 0.02) and biases 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer

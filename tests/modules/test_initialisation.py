"""Every parameter of a layer begins as the paper and the reference have it."""

import pytest
import torch

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.layer import MegaLayer

SPREADS = {  # standard deviation, and mean, of what is drawn
    "weight": 0.02,
    "kappa": 0.02,
    "bias.weight": 0.02,
    "bias.alpha": 0.02,
    "bias.beta": 0.02,
    "ema.alpha": 0.2,
    "ema.delta": 0.2,
    "ema.eta": 1.0,
    "ema.omega": 1.0,
}
CONSTANTS = {"bias": 0.0, "mu": 0.0, "norm.weight": 1.0, "norm.bias": 0.0, "norm.scalar": 1.0}


def ending(name, table):
    """The value of the longest ending of a parameter's name, or None."""
    found = [end for end in table if f".{name}".endswith(f".{end}")]
    return table[max(found, key=len)] if found else None


@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", "scalenorm", "batchnorm"])
@pytest.mark.parametrize("bias", ["simple", "rotary"])
@pytest.mark.parametrize("causal", [False, True])
def test_parameters_begin_as_stated(causal, bias, norm):
    torch.manual_seed(0)
    sizes = {"embed_dim": 512, "hdim": 1024, "ffn_dim": 512, "zdim": 512, "ndim": 16, "max_positions": 512}
    config = MegaConfig(**sizes, rel_pos_bias=bias, normalization_type=norm)
    layer = MegaLayer(config, causal=causal, source_dim=384 if causal else None)
    seen = set()
    for name, parameter in layer.named_parameters():
        values = parameter.detach()
        if name.endswith("ema.beta"):
            values = values - torch.tensor([1.0, -1.0]).repeat(8)
            spread = 0.02
        elif (constant := ending(name, CONSTANTS)) is not None:
            assert values.unique().tolist() == [constant], name
            continue
        else:
            spread = ending(name, SPREADS)
        seen.add(name.rpartition(".")[2])
        count = values.numel()
        assert values.mean().abs() < 5 * spread / count**0.5, name
        assert abs(values.std() / spread - 1) < 5 / (2 * count) ** 0.5, name
    assert seen == {"weight", "kappa", "alpha", "delta", "beta", "eta", "omega"}

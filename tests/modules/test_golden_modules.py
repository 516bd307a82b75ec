"""EMA, gated attention and cross-attention equal the reference's tensors, gradients included."""

import pytest
import torch
import torch.nn.functional as F
from goldens import cases, close

from mega_fairseq.checkpoints.names import from_reference_names
from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.cross_attention import GatedCrossAttention
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.gated_attention import GatedAttention
from mega_fairseq.modules.norm import build_norm
from mega_fairseq.ops.ema.coefficients import ema_coefficients
from mega_fairseq.ops.padding import Turn
from mega_fairseq.state import AttentionState, LayerState

EMA = cases("ema")
ATTENTION = cases("mega_attn")
CROSS = cases("cross_attn")
MEGA = ("mega_layer", "attention")  # the reference's name, ours
CROSS_ATTENTION = ("cross_attn", "cross_attention")


def mega_config(c, **kw):
    return MegaConfig(
        embed_dim=c["embed_dim"],
        zdim=c["zdim"],
        hdim=c.get("hdim", 16),
        ndim=c["ndim"],
        activation_fn=c["activation"],
        attention_fn=c["attention_activation"],
        normalization_type=c["norm_type"],
        normalize_before=c["prenorm"],
        rel_pos_bias=c["rel_pos_bias"],
        max_positions=c["max_positions"],
        cross_max_positions=c["max_positions"],
        dropout=0.0,
        **kw,
    )


def renamed(state, theirs, ours):
    """A sub-layer's state or gradients, whose names begin after the sub-layer's own."""
    whole = from_reference_names({f"decoder.layers.0.{theirs}.{name}": t for name, t in state.items()})
    return {name.removeprefix(f"decoder.stack.layers.0.{ours}."): t for name, t in whole.items()}


def check_gradients(module, grads, what):
    ours = dict(module.named_parameters())
    for name, expected in grads.items():
        close(ours[name].grad, expected, what=f"{what} {name}")


@pytest.mark.parametrize("name", EMA)
def test_ema(name):
    case = EMA[name]
    config, outputs = case["config"], case["outputs"]
    module = MultiHeadEMA(
        config["embed_dim"],
        config["ndim"],
        bidirectional=config["bidirectional"],
        truncation=config["truncation"],
    )
    state = {n.removeprefix("move.").removeprefix("ema."): t for n, t in case["state_dict"].items()}
    names = {"delta": "alpha", "alpha": "delta", "gamma": "eta"}
    ours = {names.get(n, n): t.reshape(t.shape[:2]) if t.dim() == 3 else t for n, t in state.items()}
    module.load_state_dict(ours)
    x = case["inputs"]["x"].transpose(0, 1).clone().requires_grad_()
    mask = case["inputs"].get("padding_mask")
    out = F.silu(module(x, mask)[0])
    close(out, outputs["out"].transpose(0, 1), what=name)
    if "q" in outputs:
        _, damping = ema_coefficients(module.alpha, module.delta)
        close(1 - damping, outputs["q"].squeeze(-1))
    if "grad_x" in outputs:
        (out * case["inputs"]["cot"].transpose(0, 1)).sum().backward()
        close(x.grad, outputs["grad_x"].transpose(0, 1), what=name)
        for theirs, expected in outputs["grads"].items():
            grad = module.get_parameter(names.get(theirs, theirs)).grad
            close(grad, expected.reshape(grad.shape), what=theirs)


@pytest.mark.parametrize("name", ATTENTION)
def test_gated_attention(name):
    case = ATTENTION[name]
    config, outputs = case["config"], case["outputs"]
    causal = not config["bidirectional"]
    module = GatedAttention(
        mega_config(config, chunk_size=config["chunk_size"], truncation_length=config["truncation"]),
        causal=causal,
    )
    if not config["norm_affine"]:
        module.norm = build_norm(config["norm_type"], config["embed_dim"], affine=False)
    module.load_state_dict(renamed(case["state_dict"], *MEGA))
    module.eval()
    x = case["inputs"]["x"].transpose(0, 1).clone().requires_grad_()
    mask = case["inputs"].get("padding_mask")
    keep = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else ~mask
    out, _ = module(x, mask)
    close(out, outputs["out"].transpose(0, 1), keep, name)
    (out * case["inputs"]["cot"].transpose(0, 1))[keep].sum().backward()  # the references' loss ignores pads
    close(x.grad, outputs["grad_x"].transpose(0, 1), keep, name)
    if "grads" in outputs:
        check_gradients(module, renamed(outputs["grads"], *MEGA), name)
    if causal and mask is None:
        with torch.no_grad():
            whole, _ = module(x)
            state, steps = LayerState(), []
            for part in x.split([3, 1, 1, 4, 1] + [1] * (x.size(1) - 10) if x.size(1) > 10 else 1, dim=1):
                y, state = module(part, state=state)
                steps.append(y)
        close(torch.cat(steps, 1), whole, what="carried state")


@pytest.mark.parametrize("name", CROSS)
def test_cross_attention(name):
    case = CROSS[name]
    config, outputs = case["config"], case["outputs"]
    module = GatedCrossAttention(mega_config(config), config["embed_dim"])
    module.load_state_dict(renamed(case["state_dict"], *CROSS_ATTENTION))
    x = case["inputs"]["query"].transpose(0, 1).clone().requires_grad_()
    key = case["inputs"]["key"].transpose(0, 1).clone().requires_grad_()
    mask = case["inputs"].get("key_padding_mask")
    if name.endswith("left"):  # ours counts real positions only: equal to the unpadded source, row by row
        leading = mask.sum(1)
        turn = Turn.of(mask)
        out, _ = module(x, module.project(turn.apply(key)), turn.apply(mask))
        for row, pads in enumerate(leading.tolist()):
            alone, _ = module(x[row : row + 1], module.project(key[row : row + 1, pads:]))
            close(out[row : row + 1], alone, what=name)
        return
    out, weights = module(x, module.project(key), mask)
    close(out, outputs["out"].transpose(0, 1), what=name)
    close(weights, outputs["weights"], what=name)
    (out * case["inputs"]["cot"].transpose(0, 1)).sum().backward()
    close(x.grad, outputs["grad_query"].transpose(0, 1), what=name)
    close(key.grad, outputs["grad_key"].transpose(0, 1), what=name)
    if "grads" in outputs:
        check_gradients(module, renamed(outputs["grads"], *CROSS_ATTENTION), name)
    source = AttentionState(*(t.detach() for t in module.project(key)[:2]))
    steps = [module(x[:, i : i + 1], source, mask, i)[0] for i in range(x.size(1))]
    close(torch.cat(steps, 1), out, what="steps")

"""What the properties draw: configurations, models with random parameters, batches, cuts; and comparisons."""

import torch
from builders import build_lm, build_nmt
from hypothesis import strategies as st

from mega_fairseq.config import ACTIVATIONS, ATTENTION_FUNCTIONS, BIASES, NORMS, MegaConfig
from mega_fairseq.modules.stack import MegaStack
from mega_fairseq.ops.ema.coefficients import BLOCK

D, LONGEST, WORDS, PAD, EOS = 6, 96, 30, 1, 2
EXACT = {torch.float64: 1e-9, torch.float32: 2e-4}  # of the largest value; sums run in another order
seeds = st.integers(0, 2**16)
dtypes = st.sampled_from([torch.float64, torch.float64, torch.float32])

choices = st.fixed_dictionaries(
    {
        "ndim": st.integers(1, 4),
        "ffn_dim": st.sampled_from([0, 8]),
        "layers": st.integers(1, 2),
        "chunk_size": st.just(-1) | st.integers(1, 9),
        "truncation_length": st.just(None) | st.integers(1, 12),
        "attention_fn": st.sampled_from(ATTENTION_FUNCTIONS),
        "activation_fn": st.sampled_from(ACTIVATIONS),
        "rel_pos_bias": st.sampled_from(BIASES),
        "normalization_type": st.sampled_from(NORMS),
        "normalize_before": st.booleans(),
        "affine_final_norm": st.booleans(),
    }
)
configs = choices.map(
    lambda chosen: MegaConfig(
        embed_dim=D,
        zdim=4,
        hdim=8,
        max_positions=LONGEST,
        cross_max_positions=LONGEST,
        dropout=0.0,
        **chosen,
    )
)


def lengths(config):
    """1 to 40, near a chunk border, or around the length where the EMA becomes a scan over blocks."""
    found = st.integers(1, 40) | st.integers(BLOCK - 2, BLOCK + 3)
    if config.chunk_size > 0:
        chunks, beside = st.integers(1, 40 // config.chunk_size), st.integers(-1, 1)
        found |= st.builds(lambda m, by: max(1, m * config.chunk_size + by), chunks, beside)
    return found


def cuts(length):
    """Lengths of segments that add up to `length`."""
    borders = st.lists(st.integers(1, max(1, length - 1)), unique=True, max_size=6)
    return borders.map(
        lambda found: [
            right - left
            for left, right in zip([0, *sorted(found)], [*sorted(found), length], strict=True)
            if right > left
        ]
    )


@torch.no_grad()
def spread(module, seed, dtype=torch.float64):
    """The module in evaluation, parameters and running statistics away from where they begin.

    Batch norms less so: with random statistics they do not normalise, and activations would grow from layer
    to layer (squared attention: to the fifth power) until they overflow.
    """
    g = torch.Generator().manual_seed(seed)
    by = 0.2 if any(name.endswith("running_var") for name, _ in module.named_buffers()) else 0.5
    for parameter in module.parameters():
        parameter.add_(by * torch.randn(parameter.shape, generator=g))
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand(buffer.shape, generator=g))
    return module.to(dtype).eval()


def stack(config, seed, *, causal, source_dim=None, dtype=torch.float64):
    return spread(MegaStack(config, causal=causal, source_dim=source_dim), seed, dtype)


def normal(*shape, seed, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def options(config):
    """Flat options of the models for a drawn configuration."""
    sides = {
        "embed_dim": D,
        "hidden_dim": config.hdim,
        "ffn_embed_dim": config.ffn_dim,
        "z_dim": config.zdim,
        "n_dim": config.ndim,
        "layers": config.layers,
        "chunk_size": config.chunk_size,
    }
    return {
        **{f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sides.items()},
        "max_source_positions": LONGEST,
        "max_target_positions": LONGEST,
        "truncation_length": config.truncation_length or 0,
        "attention_activation_fn": config.attention_fn,
        "activation_fn": config.activation_fn,
        "rel_pos_bias": config.rel_pos_bias,
        "normalization_type": config.normalization_type,
        "normalize_before": config.normalize_before,
        "no_affine_final_norm": not config.affine_final_norm,
        "dropout": 0.0,
    }


def model(build, config, seed, dtype=torch.float64):
    """An NMT model or a language model with random parameters, the embedding of padding zero."""
    built = spread(build(options(config), vocabulary=WORDS), seed, dtype)
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight[PAD] = 0.0
    return built


def nmt(config, seed, dtype=torch.float64):
    return model(build_nmt, config, seed, dtype)


def lm(config, seed, dtype=torch.float64):
    return model(build_lm, config, seed, dtype)


def words(seed, *shape):
    """Tokens that are neither padding nor special."""
    return torch.randint(4, WORDS, shape, generator=torch.Generator().manual_seed(seed))


def probe(y):
    """A number that depends on every element, with gradients as large as y's shape alone says."""
    return (y.double() * normal(*y.shape, seed=y.numel())).sum()


def close(ours, expected, what=""):
    """Equal up to EXACT of the largest expected value, 1 at least; both finite."""
    ours, expected = ours.detach(), expected.detach()
    assert expected.isfinite().all(), f"{what}: not finite"
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    atol = EXACT[expected.dtype] * scale
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0.0, msg=lambda m: f"{what}: {m}")


def same_states(ours, expected):
    """Every part of every layer's state."""
    for i, (mine, theirs) in enumerate(zip(ours, expected, strict=True)):
        assert mine.position == theirs.position
        close(mine.ema.memory, theirs.ema.memory, f"EMA of layer {i}")
        for name in ("attention", "cross"):
            found, wanted = getattr(mine, name), getattr(theirs, name)
            assert (found is None) == (wanted is None)
            if wanted is not None:
                close(found.key, wanted.key, f"{name} keys of layer {i}")
                close(found.value, wanted.value, f"{name} values of layer {i}")

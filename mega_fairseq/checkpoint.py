"""Names of the reference implementation's parameters, and what they are called here (MODEL.md section 9)."""

import re

from torch import Tensor

# Applied in order; the reference's delta is our alpha, its alpha our delta, its gamma our eta.
_RENAMES = [
    (r"\.rel_pos_bias\.rel_pos_bias$", ".bias.weight"),
    (r"\.rel_pos_bias\.(alpha|beta)$", r".bias.\1"),
    (r"\bmove\.delta$", "ema.alpha_"),
    (r"\bmove\.alpha$", "ema.delta"),
    (r"\bmove\.gamma$", "ema.eta"),
    (r"\bmove\.(beta|omega)$", r"ema.\1"),
    (r"\bema\.alpha_$", "ema.alpha"),
    (r"(^|mega_layer\.)gamma$", r"\1kappa"),
    (r"(^|mega_layer\.)beta$", r"\1mu"),
    (r"norm\.norm\.", "norm."),
    (r"\bmega_layer\.", "attention."),
    (r"\bcross_attn\.", "cross_attention."),
    (r"\bnffn\.", "feed_forward."),
    (r"^(encoder|decoder)\.(layers|final_norm)\.", r"\1.stack.\2."),
    (r"^(encoder|decoder)\.embed_norm\.", r"\1.embedding.norm."),
    (r"^decoder\.project_in_dim\.", "decoder.embedding.projection."),
]
_DEAD = re.compile(r"^(encoder|decoder)\.version$|rel_pos_bias\._float_tensor$")


def from_reference_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the reference implementation under our names and shapes; dead buffers are dropped."""
    renamed = {}
    for name, tensor in state.items():
        if _DEAD.search(name):
            continue
        ours = f".{name}" if name.startswith("rel_pos_bias.") else name
        for pattern, replacement in _RENAMES:
            ours = re.sub(pattern, replacement, ours)
        if re.search(r"(^|\.)move\.(alpha|beta|delta)$", name):
            tensor = tensor.squeeze(-1)  # (D, N, 1)
        elif re.search(r"rel_pos_bias\.(alpha|beta)$", name):
            tensor = tensor.squeeze(0)  # (1, Z)
        renamed[ours.lstrip(".")] = tensor
    return renamed

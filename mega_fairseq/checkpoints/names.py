"""Names of the reference implementation's parameters, and what they are called here."""

import re

import torch
from torch import Tensor

# The reference's name, ours; * stands for one part of a name, ** for several.
_NAMES = """
    *.embed_tokens.**                           *.embed_tokens.**
    *.embed_norm.norm.*                         *.embedding.norm.*
    *.project_in_dim.*                          *.embedding.projection.*
    *.final_norm.norm.*                         *.stack.final_norm.*
    *.output_projection.*                       *.output_projection.*
    *.adaptive_softmax.**                       *.adaptive_softmax.**
    *.layers.*.mega_layer.move.delta            *.stack.layers.*.attention.ema.alpha
    *.layers.*.mega_layer.move.alpha            *.stack.layers.*.attention.ema.delta
    *.layers.*.mega_layer.move.beta             *.stack.layers.*.attention.ema.beta
    *.layers.*.mega_layer.move.gamma            *.stack.layers.*.attention.ema.eta
    *.layers.*.mega_layer.move.omega            *.stack.layers.*.attention.ema.omega
    *.layers.*.mega_layer.gamma                 *.stack.layers.*.attention.kappa
    *.layers.*.mega_layer.beta                  *.stack.layers.*.attention.mu
    *.layers.*.mega_layer.rel_pos_bias.rel_pos_bias     *.stack.layers.*.attention.bias.weight
    *.layers.*.mega_layer.rel_pos_bias.*        *.stack.layers.*.attention.bias.*
    *.layers.*.mega_layer.norm.norm.*           *.stack.layers.*.attention.norm.*
    *.layers.*.mega_layer.*_proj.*              *.stack.layers.*.attention.*_proj.*
    *.layers.*.cross_attn.rel_pos_bias.rel_pos_bias     *.stack.layers.*.cross_attention.bias.weight
    *.layers.*.cross_attn.rel_pos_bias.*        *.stack.layers.*.cross_attention.bias.*
    *.layers.*.cross_attn.norm.norm.*           *.stack.layers.*.cross_attention.norm.*
    *.layers.*.cross_attn.*_proj.*              *.stack.layers.*.cross_attention.*_proj.*
    *.layers.*.nffn.norm.norm.*                 *.stack.layers.*.feed_forward.norm.*
    *.layers.*.nffn.*.*                         *.stack.layers.*.feed_forward.*.*
"""
_TABLE = [row.split() for row in _NAMES.strip().splitlines()]
# Buffers that compute nothing.
DEAD = re.compile(r"^(encoder|decoder)\.version$|rel_pos_bias\._float_tensor$")


def of_reference(checkpoint: object) -> bool:
    """Whether a checkpoint file's content is of the reference implementation, by its tensors' names."""
    model = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    return isinstance(model, dict) and any(".mega_layer." in str(name) for name in model)


def _renamed(name: str, source: int) -> str | None:
    """The name in the other column of the table, or None where no row fits."""
    for row in _TABLE:
        pattern = re.escape(row[source]).replace(r"\*\*", "(.+)").replace(r"\*", "([^.]+)")
        if match := re.fullmatch(pattern, name):
            return re.sub(r"\*+", "{}", row[1 - source]).format(*match.groups())
    return None


def _all_renamed(state: dict[str, Tensor], source: int, whose: str) -> dict[str, Tensor]:
    names = {name: _renamed(name, source) for name in state}
    unknown = [name for name, found in names.items() if found is None]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(state)} tensors are not of {whose}, the first one {unknown[0]}"
        )
    return {str(names[name]): tensor for name, tensor in state.items()}


def from_reference_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the reference implementation under our names and shapes; dead buffers are dropped.

    Raises ValueError, naming the first one, where a tensor is none of the reference's.
    """
    live = {name: tensor for name, tensor in state.items() if not DEAD.search(name)}
    renamed = _all_renamed(live, 0, "a Mega of the reference implementation")
    for name, tensor in renamed.items():
        if re.search(r"\.ema\.(alpha|beta|delta)$", name) and tensor.dim() == 3:
            renamed[name] = tensor.squeeze(-1)  # (D, N, 1)
        elif re.search(r"\.bias\.(alpha|beta)$", name) and tensor.dim() == 2:
            renamed[name] = tensor.squeeze(0)  # (1, Z)
    return renamed


def to_reference_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_reference_names`; dead buffers get the values that the reference starts with.

    Raises ValueError, naming the first one, where a tensor is none of ours.
    """
    renamed = _all_renamed(state, 1, "a mega_nmt or mega_lm")
    for name, tensor in list(renamed.items()):
        if re.search(r"\.move\.(alpha|beta|delta)$", name):
            renamed[name] = tensor.unsqueeze(-1)
        elif re.search(r"\.rel_pos_bias\.(alpha|beta)$", name):
            renamed[name] = tensor.unsqueeze(0)
            renamed[f"{name.rpartition('.')[0]}._float_tensor"] = torch.zeros(1)
    for side in {name.split(".")[0] for name in state}:
        renamed[f"{side}.version"] = torch.tensor([3.0])
    return renamed


HEAD = "classification_heads.sentence_classification_head"
# Of classifiers, what is not in the encoder: the reference's name, ours.
_HEAD = {"classifier.0.0": f"{HEAD}.dense", "sentence_projection_layer": f"{HEAD}.out_proj"}


def from_reference_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `from_reference_names`, of one of the reference's classifiers."""
    encoder, heads = {}, {}
    for name, tensor in state.items():
        part, _, kind = name.rpartition(".")
        if part in _HEAD:
            heads[f"{_HEAD[part]}.{kind}"] = tensor
        else:
            name = name.replace(".embed_tokens.embed.", ".embed_tokens.")
            encoder[name.removeprefix("encoder.") if name.startswith("encoder.encoder.") else name] = tensor
    return {**from_reference_names(encoder), **heads}


def to_reference_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_reference_classifier`."""
    back = {ours: theirs for theirs, ours in _HEAD.items()}
    encoder = {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in back}
    renamed = {}
    for name, tensor in to_reference_names(encoder).items():
        table = name == "encoder.embed_tokens.weight" and tensor.dim() == 2
        renamed[f"encoder.{'encoder.embed_tokens.embed.weight' if table else name}"] = tensor
    for name in sorted(set(state) - set(encoder)):
        part, _, kind = name.rpartition(".")
        renamed[f"{back[part]}.{kind}"] = state[name]
    return renamed

"""--encoder-layers-to-keep and --decoder-layers-to-keep: a model of some layers of a larger one."""

from typing import Any

from mega_fairseq.models.from_options import size


def keep_layers(cfg: Any, *sides: str) -> None:
    """Set the number of layers to that of --encoder-layers-to-keep and --decoder-layers-to-keep.

    fairseq picks them from the checkpoint (checkpoint_utils.prune_state_dict). Raises ValueError for a list
    that names other layers.
    """
    counts = {side: size(cfg, side, "layers") for side in sides}  # before a decoder's follows the encoder's
    for side, layers in counts.items():
        text = getattr(cfg, f"{side}_layers_to_keep")
        if not text:
            continue
        parts = str(text).split(",")
        if not all(part.strip().isdigit() for part in parts) or len(set(map(int, parts))) != len(parts):
            raise ValueError(f"--{side}-layers-to-keep must be different numbers like 0,2,4; got {text!r}")
        if max(map(int, parts)) >= layers:
            raise ValueError(
                f"--{side}-layers-to-keep counts from 0 and there are {layers} layers; got {text!r}"
            )
        counts[side] = len(parts)
    for side, layers in counts.items():
        setattr(cfg, f"{side}_layers", layers)

"""Where a translation model looks: the cross-attention of one sentence pair, with its tokens on both axes.

A row holds the weights from which its token was predicted; what they let through is gated afterwards.
"""

import ast
from typing import Any

import matplotlib
import torch
from fairseq import checkpoint_utils, tasks, utils
from fairseq.data import Dictionary
from matplotlib import font_manager
from matplotlib.figure import Figure
from omegaconf.errors import MissingMandatoryValue
from torch import Tensor

from mega_fairseq.models.hub import TranslationHub

FONTS = ["DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Arial Unicode MS"]


def load(cfg: Any) -> TranslationHub:
    """The model with the options of fairseq-interactive. Raises ValueError unless --path has one."""
    paths = utils.split_paths(cfg.common_eval.path) if cfg.common_eval.path else []
    if len(paths) != 1:
        raise ValueError(f"--path {cfg.common_eval.path} names {len(paths)} checkpoints; give one")
    overrides = ast.literal_eval(cfg.common_eval.model_overrides)  # which parsing has looked at
    task = tasks.setup_task(cfg.task)
    models, _, _ = checkpoint_utils.load_model_ensemble_and_task(paths, overrides, task)
    if not hasattr(models[0], "encoder"):
        raise ValueError(f"--path {paths[0]} holds a model without cross-attention; give one of translation")
    try:
        return TranslationHub(cfg, task, models)
    except MissingMandatoryValue as error:
        flag = str(error.full_key).replace("_", "-")
        raise ValueError(f"--{flag} is missing; the chosen --bpe or --tokenizer needs it") from error


def picture(hub: TranslationHub, source: str, target: str | None, layer: str) -> Figure:
    """The weights of `layer`, see `chosen`, for a sentence and its translation (without: the model's own)."""
    encoded, translated = tokens(hub, source, target)
    panels = chosen(attention(hub, encoded, translated), layer)
    return draw(panels, labels(hub.src_dict, encoded), labels(hub.tgt_dict, translated))


def tokens(hub: TranslationHub, source: str, target: str | None) -> tuple[Tensor, Tensor]:
    """Source and target (L,) with the end of sentence; without a target the best that the model finds."""
    if not source.strip():
        raise ValueError("--source is empty; give a sentence")
    encoded = hub.encode(source)
    if target is not None:
        return encoded, hub.score([source], [target])[0]["tokens"]
    return encoded, hub.generate([encoded], beam=hub.cfg.generation.beam)[0][0]["tokens"]


@torch.no_grad()
def attention(hub: TranslationHub, source: Tensor, target: Tensor) -> Tensor:
    """Weights (layers, target, source) from which each target token was predicted."""
    model = hub.models[0]
    encoded = model.encoder(source.unsqueeze(0), torch.tensor([len(source)]))
    previous = target.roll(1).unsqueeze(0)  # begins with the end of sentence, as in training
    layers = range(len(getattr(model.decoder, "stack", model.decoder).layers))
    extras = [model.decoder(previous, encoder_out=encoded, alignment_layer=i)[1] for i in layers]
    return torch.cat([extra["attn"][0] for extra in extras])


def chosen(weights: Tensor, layer: str) -> dict[str, Tensor]:
    """The panels that --layer asks for, by title. Raises ValueError for what is no layer."""
    count = len(weights)
    if layer == "mean":
        return {f"mean of {count} decoder layers": weights.mean(0)}
    titles = {str(i): f"decoder layer {i}" for i in range(1, count + 1)}
    if layer == "all":
        return dict(zip(titles.values(), weights, strict=True))
    if layer not in titles:
        raise ValueError(f"--layer {layer} is none of the decoder's; give 1 to {count}, mean or all")
    return {titles[layer]: weights[int(layer) - 1]}


def labels(dictionary: Dictionary, indices: Tensor) -> list[str]:
    """The tokens as the dictionary writes them."""
    return [dictionary[i] for i in indices.tolist()]


def draw(panels: dict[str, Tensor], source: list[str], target: list[str]) -> Figure:
    """The weights of each panel, target by source, in one scale of colours."""
    known = set(font_manager.get_font_names())
    matplotlib.rcParams["font.family"] = [font for font in FONTS if font in known]
    size = max(2.2, 0.22 * len(source)), max(1.8, 0.22 * len(target))
    figure = Figure(figsize=((size[0] + 1.1) * len(panels) + 0.9, size[1] + 1.3))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    top = max(float(weights.max()) for weights in panels.values())
    for axes, (title, weights) in zip(grid, panels.items(), strict=True):
        image = axes.imshow(weights.numpy(), cmap="Blues", vmin=0.0, vmax=top or 1.0, aspect="auto")
        axes.set_xticks(range(len(source)), source, rotation=90)
        axes.set_yticks(range(len(target)), target)
        axes.set(title=title, xlabel="source token")
        axes.grid(False)
    grid[0].set_ylabel("target token")
    figure.colorbar(image, ax=list(grid), label="attention weight")
    return figure

"""What the moving averages of a trained model remember: time scales and impulse responses of each layer.

A time scale is -1/ln q of a component, in tokens; a response is the weight k[d, t] of an input t tokens away.
"""

import re
from pathlib import Path

import numpy as np
import torch
from fairseq import checkpoint_utils
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from mega_fairseq.evaluation.pictures import figures
from mega_fairseq.evaluation.pictures.figures import COLOURS
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.ops.ema.coefficients import ema_coefficients, log_decay

Averages = dict[str, dict[int, MultiHeadEMA]]  # encoder, decoder -> layer, from 1

PARAMETER = re.compile(r"(?:.*\.)?(encoder|decoder)\.(?:.*\.)?layers\.(\d+)\.(?:.*\.)?ema\.(\w+)")
QUANTILES = {"short memory (10 %)": 0.1, "middling (50 %)": 0.5, "long memory (90 %)": 0.9}
DIRECTIONS = ["left to right", "right to left"]
BINS = 15  # for each factor of ten
LIMITS = (0.1, 1e6)  # tokens; what lies beyond is drawn at the border


@torch.no_grad()
def read_averages(path: Path) -> Averages:
    """The EMAs of a checkpoint of mega_nmt or mega_lm.

    Raises ValueError for no file, for another model, and for parameters that are not finite.
    """
    if not path.exists():
        raise ValueError(f"there is no checkpoint {path}; name one from the --save-dir of a training")
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    found: dict[str, dict[int, dict[str, torch.Tensor]]] = {}
    for name, tensor in state["model"].items():
        if match := PARAMETER.fullmatch(name):
            stack, layer, parameter = match.groups()
            found.setdefault(stack, {}).setdefault(int(layer) + 1, {})[parameter] = tensor
    if not found:
        raise ValueError(
            f"{path} holds a model without EMA; name a checkpoint of a mega_nmt or mega_lm, or first convert "
            "one of the reference with mega-convert"
        )
    for stack, layers in found.items():
        for layer, parameters in layers.items():
            if not all(tensor.isfinite().all() for tensor in parameters.values()):
                raise ValueError(
                    f"{path}: the EMA of {stack} layer {layer} is not finite, so training diverged; take an "
                    "earlier checkpoint"
                )
    try:
        truncation = _truncation(state)
        return {
            stack: {layer: _average(parameters, truncation) for layer, parameters in sorted(layers.items())}
            for stack, layers in sorted(found.items(), reverse=True)
        }
    except (AttributeError, LookupError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: its EMA's tensors do not fit each other; take another checkpoint"
        ) from error


def _truncation(state: dict) -> int | None:
    options = state["cfg"]["model"] if state.get("cfg") else state.get("args")
    length = getattr(options, "truncation_length", None) or 0
    return length if length > 0 else None


def _average(parameters: dict[str, torch.Tensor], truncation: int | None) -> MultiHeadEMA:
    (channels, ndim), dim = parameters["alpha"].shape, len(parameters["omega"])
    with torch.device("meta"):  # whatever sizes the file tells
        average = MultiHeadEMA(dim, ndim, bidirectional=channels == 2 * dim, truncation=truncation)
    average.load_state_dict(parameters, assign=True)
    return average.float().requires_grad_(False)


def chosen(averages: Averages, layers: list[int] | None) -> Averages:
    """Those of some layers. Raises ValueError where there is none of that number."""
    if layers is None:
        return averages
    last = max(max(stack) for stack in averages.values())
    if absent := [layer for layer in layers if layer > last]:
        raise ValueError(f"--layers {absent[0]}: the model has {last}; name some of 1 to {last}")
    return {name: {i: stack[i] for i in layers if i in stack} for name, stack in averages.items()}


def time_scales(average: MultiHeadEMA) -> list[np.ndarray]:
    """-1/ln q (D, N) in tokens of each direction."""
    _, damping = ema_coefficients(average.alpha, average.delta)
    return [scales.numpy() for scales in (-1 / log_decay(damping)).chunk(2 if average.bidirectional else 1)]


def responses(average: MultiHeadEMA, taps: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (T,) of inputs that count, 0 = the output's own place, and their weights k (D, T)."""
    averages = (c._replace(omega=None) for c in average.coefficients())
    forward, *other = (c.kernel(taps, average.truncation).numpy() for c in averages)
    if not other:
        return np.arange(1 - taps, 1), forward[:, ::-1]
    backward = other[0]
    both = np.concatenate([forward[:, :0:-1], forward[:, :1] + backward[:, :1], backward[:, 1:]], axis=1)
    return np.arange(1 - taps, taps), both


def by_memory(offsets: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The channels in the order of the mean distance |t| of their inputs, weighted by |k|."""
    weights = np.abs(kernel)
    return np.argsort(weights @ np.abs(offsets) / np.maximum(weights.sum(1), 1e-30), kind="stable")


def draw(averages: Averages, taps: int) -> Figure:
    """A row for each layer; time scales and responses of encoder and decoder side by side."""
    rows, columns = max(len(layers) for layers in averages.values()), 2 * len(averages)
    figure = Figure(figsize=(3.2 * columns, 1.5 * rows + 1.1))
    grid = figure.subplots(rows, columns, squeeze=False, sharex="col", sharey="col")
    every = [scales for layers in averages.values() for one in layers.values() for scales in time_scales(one)]
    every = np.clip(np.concatenate([scales.flatten() for scales in every]), *LIMITS)
    low, high = np.floor(BINS * np.log10(every.min())), np.ceil(BINS * np.log10(every.max()))
    edges = 10 ** (np.arange(low - 1, high + 2) / BINS)
    for column, (stack, layers) in zip(range(0, columns, 2), averages.items(), strict=True):
        scales, kernels = grid[:, column], grid[:, column + 1]
        for row, (layer, average) in enumerate(layers.items()):
            draw_scales(scales[row], time_scales(average), edges)
            draw_responses(kernels[row], *responses(average, taps))
            scales[row].set_ylabel(f"layer {layer}\ncomponents")
            kernels[row].set_ylabel("k / max |k|")
        scales[0].set_title(f"{stack}: time scales")
        kernels[0].set_title(f"{stack}: impulse responses")
        scales[-1].set_xlabel("memory -1/ln q (tokens)")
        kernels[-1].set_xlabel("offset of the input (tokens)")
        for axes in grid[len(layers) :, column : column + 2].flatten():
            axes.remove()
    handles = [handle for axes in grid[0, :2] for handle in axes.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1.2)
    return figure


def draw_scales(axes: Axes, scales: list[np.ndarray], edges: np.ndarray) -> None:
    """Their distribution in per cent of the components, a line for each direction."""
    for values, direction, colour in zip(scales, DIRECTIONS, COLOURS[5:3:-1], strict=False):
        share = np.histogram(np.clip(values, *LIMITS), edges)[0] / values.size
        axes.stairs(share, edges, color=colour, linewidth=1.5, label=direction)
    axes.set_xscale("log")
    figures.one_two_five(axes.xaxis)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(bottom=0)


def draw_responses(axes: Axes, offsets: np.ndarray, kernel: np.ndarray) -> None:
    """k of the channels at QUANTILES of memory, each divided by its largest."""
    order = by_memory(offsets, kernel)
    for (label, quantile), colour in zip(QUANTILES.items(), COLOURS, strict=False):
        k = kernel[order[round(quantile * (len(order) - 1))]]
        axes.plot(offsets, k / max(np.abs(k).max(), 1e-30), color=colour, linewidth=1.2, label=label)
    axes.xaxis.set_major_formatter(FuncFormatter(figures.number))

"""Curves of trainings from fairseq's logs: loss, perplexity, BLEU, learning rate, gradient norm, speed.

A log may hold a training and its resumptions one after another: where updates repeat, the later ones count.
A last line without an end was cut off and is left out. fairseq reports losses in bits, to base 2.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from mega_fairseq.evaluation.pictures import figures
from mega_fairseq.evaluation.pictures.figures import COLOURS

Log = dict[str, dict[str, dict[int, float]]]  # subset -> statistic -> update -> value

# The logger's name and what it said: "... | INFO | valid | ..." or, of Hydra, "[...][valid][INFO] - ...".
LINE = re.compile(r"(?:\| INFO \| |\]\[)([\w.-]+)(?: \| |\]\[INFO\] - )(.*)")
RESUMED = re.compile(r"Loaded checkpoint .* @ (\d+) updates\)")
PAIR = re.compile(r"([a-z]\w*)[= ]([^\s,|]+)(?=,| \||$)")
INNER, EPOCH = "train_inner", "train"  # statistics of the last few updates, and of an epoch
PANELS = [
    ("loss", "loss (bits per token)", True),
    ("ppl", "perplexity", True),
    ("bleu", "validation BLEU", True),
    ("lr", "learning rate", False),
    ("gnorm", "gradient norm", False),
    ("wps", "speed (tokens per second)", False),
]  # statistic, label, whether validation's values are shown
FROM_ZERO = ["lr", "gnorm", "wps"]
MARKERS = "osv^D"
MARKED = 40  # a curve of more points needs no marks


def named(paths: list[Path], names: list[str] | None) -> dict[str, Log]:
    """The logs by name. Raises ValueError unless each has a name of its own."""
    if names is None:
        names = [path.resolve().parent.name if path.stem == "train" else path.stem for path in paths]
        if len(set(names)) < len(names):
            names = [str(path) for path in paths]
    if len(names) != len(paths):
        raise ValueError(f"--names gives {len(names)} names for {len(paths)} logs; give one for each")
    if len(set(names)) < len(names):
        raise ValueError(
            f"two runs are called {max(names, key=names.count)}; give each its own name, --names"
        )
    return {name: read_log(path) for name, path in zip(names, paths, strict=True)}


def read_log(path: Path) -> Log:
    """Statistics of a log. Training's are those of the last few updates, or of epochs if there are no others.

    Raises ValueError for a file without any.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path} ({error.strerror}); name a log of fairseq-train") from error
    if b"\0" in content:
        raise ValueError(f"{path} is not text; name a log of fairseq-train")
    log: Log = {}
    for line in content.decode(errors="replace").split("\n")[:-1]:
        if match := RESUMED.search(line):
            _forget(log, int(match[1]))
        for subset, update, stats in _statistics(line):
            if update < max(log.get(subset, {}).get("num_updates", []), default=0):
                _forget(log, update)  # resumed by a program that did not say so
            for name, value in stats.items():
                log.setdefault(subset, {}).setdefault(name, {})[update] = value
    if not any("num_updates" in stats for stats in log.values()):
        raise ValueError(
            f"{path} holds no statistics of a training; name the output of fairseq-train with --log-format "
            "json or simple and a --log-interval no longer than the training"
        )
    epochs = log.pop(EPOCH, {})
    log = {EPOCH: log.pop(INNER, None) or epochs, **log}
    return {subset: stats for subset, stats in log.items() if any(stats.values())}


def _statistics(line: str) -> Iterator[tuple[str, int, dict[str, float]]]:
    """(subset, updates, statistics) if the line reports any."""
    if not (match := LINE.search(line)):
        return
    subset, text = match.groups()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except ValueError:
            return
    else:
        found = dict(PAIR.findall(text)) if text.startswith("epoch ") else {}
    stats = {}
    for name, value in found.items():
        try:
            stats[name.removeprefix(f"{subset}_") if subset != INNER else name] = float(value)
        except (TypeError, ValueError):
            continue  # no number
    if "num_updates" in stats:
        yield subset, int(stats["num_updates"]), stats


def _forget(log: Log, update: int) -> None:
    """Drop what came after an update at which the training was taken up again."""
    for stats in log.values():
        for values in stats.values():
            for late in [u for u in values if u > update]:
                del values[late]


def draw(runs: dict[str, Log]) -> Figure:
    """A panel for each statistic that a run has; a colour for each run."""
    subsets = list(dict.fromkeys([EPOCH, *(subset for log in runs.values() for subset in log)]))
    panels = []
    for stat, label, validated in PANELS:
        curves = [
            (i, k, values)
            for i, log in enumerate(runs.values())
            for k, subset in enumerate(subsets if validated else [EPOCH])
            if (values := finite(log.get(subset, {}).get(stat, {})))
        ]
        if curves:
            panels.append((stat, label, curves))
    if not panels:
        raise ValueError(
            f"{', '.join(runs)}: there is no finite value of {', '.join(stat for stat, _, _ in PANELS)}, so "
            "training diverged at once or has hardly begun; name a log of another, or a longer one"
        )
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(3.4 * columns, 5.0), 2.5 * rows + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    for axes, (stat, label, curves) in zip(grid, panels, strict=False):
        for i, k, values in curves:
            axes.plot(*zip(*values, strict=True), **_line(i, k, len(values)))
        axes.set(title=label, xlabel="updates")
        axes.tick_params(labelbottom=True)
        _scale(axes, stat)
    for axes in grid[len(panels) :]:
        axes.remove()
    handles = _legend(list(runs), subsets)
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return figure


def finite(values: dict[int, float]) -> list[tuple[int, float]]:
    """(update, value) in order, without what is no number or infinite."""
    return sorted((update, value) for update, value in values.items() if math.isfinite(value))


def _line(run: int, subset: int, points: int) -> dict:
    """How a curve looks: thin and pale for training (subset 0), marked for validation."""
    dashes = ["-", "--", ":"][run // len(COLOURS) % 3]
    look = {"color": COLOURS[run % len(COLOURS)], "linestyle": dashes, "markersize": 3}
    if subset == 0:
        return {**look, "linewidth": 1.0, "alpha": 0.55, "marker": "." if points == 1 else ""}
    marker = MARKERS[(subset - 1) % len(MARKERS)]
    return {**look, "linewidth": 1.5, "marker": marker if points <= MARKED or subset > 1 else ""}


def _scale(axes: Axes, stat: str) -> None:
    """Logarithmic where values of one sign span more than a factor of ten, but for speed, rate and loss."""
    values = [y for line in axes.lines for y in line.get_ydata()]
    if stat in ("ppl", "gnorm") and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        figures.one_two_five(axes.yaxis)
    elif stat in FROM_ZERO:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(figures.number))
    axes.xaxis.set_major_formatter(FuncFormatter(figures.number))


def _legend(names: list[str], subsets: list[str]) -> list[Line2D]:
    """The runs by colour, and training and validation by line."""
    words = {EPOCH: "training", "valid": "validation"}
    runs = [{"label": name, **_line(i, 1, 2), "linewidth": 3, "marker": ""} for i, name in enumerate(names)]
    kinds = [
        {"label": words.get(subset, subset), **_line(0, k, 2), "color": "0.2"}
        for k, subset in enumerate(subsets)
    ]
    return [Line2D([], [], **look) for look in runs + kinds]

"""What the pictures share: colours that the colour-blind tell apart, and equal files from equal input."""

from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]  # Okabe and Ito's
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.dpi": 90,
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 90,
    "text.parse_math": False,  # a dollar is a dollar
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mega_fairseq",  # or every file has names of its own
}
METADATA = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}


def write(out: Path, draw: Callable[[], Figure]) -> Iterator[Path]:
    """Save the picture that `draw` makes; each file as it is written.

    Raises OSError, ValueError where `out` cannot be written, and what `draw` raises.
    """
    files = targets(out)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own settings make no difference
        matplotlib.rcParams.update(STYLE)
        figure = draw()
        for file in files:
            figure.savefig(file, metadata=METADATA[file.suffix])
            yield file


def targets(out: Path) -> list[Path]:
    """The file named, or without a suffix a PNG and an SVG. Raises ValueError where it cannot be written."""
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent} for --out {out}; make it, or choose another")
    if out.suffix and out.suffix not in METADATA:
        raise ValueError(f"--out {out} ends in {out.suffix}; give .png, .svg, or no suffix to get both")
    return [out] if out.suffix else [out.with_suffix(suffix) for suffix in METADATA]


def one_two_five(axis: Axis) -> None:
    """Name 1, 2, 5, 10, 20, ... on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(number))


def number(value: float, _: int) -> str:
    """A tick's name, for matplotlib's FuncFormatter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"

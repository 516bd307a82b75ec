"""Draw docs/pictures/layer.png: one Mega layer, with the names of docs/how-mega-works.md.

python docs/pictures/draw_layer.py [OUT]
"""

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mega_fairseq.commands import pictures
from mega_fairseq.evaluation.pictures import figures

HERE = Path(__file__).resolve().parent
BLUE, ORANGE, GREEN, PINK, *_ = figures.COLOURS
GREY = "#777777"
# Centre, width and height of each box, its text and its colour.
BOXES = [
    (1.5, 3.1, 0.8, 0.6, "norm", GREY),
    (3.05, 3.1, 1.4, 0.9, "EMA\nSiLU(y + ω x̃)", GREEN),
    (3.05, 0.75, 1.4, 0.6, "SiLU(x̃ W_v)", PINK),
    (4.75, 3.1, 0.5, 3.5, "W", GREY),
    (6.35, 4.55, 0.9, 0.55, "σ", ORANGE),
    (6.35, 2.75, 0.9, 0.55, "SiLU", ORANGE),
    (6.35, 1.75, 0.9, 0.75, "SiLU\n* κ + μ", BLUE),
    (8.55, 1.75, 1.75, 0.75, "A =\nf(Q Kᵀ, bias)", BLUE),
    (10.2, 1.75, 0.6, 0.6, "A V", PINK),
    (11.2, 1.75, 0.6, 0.6, "ρ *", ORANGE),
    (12.2, 1.75, 0.6, 0.6, "W_h", GREY),
    (13.3, 1.75, 0.95, 0.75, "+ c\nSiLU", GREY),
    (15.0, 1.75, 1.55, 0.75, "x + φ (Ĥ - x)", ORANGE),
    (15.0, 0.2, 1.75, 0.75, "cross-attention\n(translation)", GREY),
    (16.9, 0.2, 0.8, 0.7, "FFN", GREY),
]
# Corners of each line; the last one has the arrow's head.
ARROWS = [
    [(0.55, 3.1), (1.1, 3.1)],  # x
    [(1.9, 3.1), (2.35, 3.1)],
    [(2.1, 3.1), (2.1, 0.75), (2.35, 0.75)],  # x̃ to the values
    [(3.75, 3.1), (4.5, 3.1)],
    [(0.8, 3.1), (0.8, 5.5), (15.35, 5.5), (15.35, 2.13)],  # x to the gate
    [(5.0, 4.55), (5.9, 4.55)],
    [(6.8, 4.55), (14.65, 4.55), (14.65, 2.13)],  # phi
    [(5.0, 3.65), (13.3, 3.65), (13.3, 2.13)],  # c
    [(5.0, 2.75), (5.9, 2.75)],
    [(6.8, 2.75), (11.2, 2.75), (11.2, 2.05)],  # rho
    [(5.0, 1.75), (5.9, 1.75)],
    [(6.8, 1.95), (7.67, 1.95)],  # Q
    [(6.8, 1.55), (7.67, 1.55)],  # K
    [(3.75, 0.75), (10.2, 0.75), (10.2, 1.45)],  # V
    [(9.43, 1.75), (9.9, 1.75)],
    [(10.5, 1.75), (10.9, 1.75)],
    [(11.5, 1.75), (11.9, 1.75)],
    [(12.5, 1.75), (12.82, 1.75)],
    [(13.78, 1.75), (14.22, 1.75)],
    [(15.0, 1.37), (15.0, 0.58)],
    [(15.88, 0.2), (16.5, 0.2)],
    [(17.3, 0.2), (17.85, 0.2)],
]
# Where the names of what flows stand, above their lines, each with its width.
NAMES = [
    (0.6, 3.13, "x"),
    (2.14, 3.13, "x̃"),
    (4.1, 3.13, "X′"),
    (5.45, 4.58, "u  (D)"),
    (5.45, 3.68, "c  (D)"),
    (5.45, 2.78, "r  (H)"),
    (5.45, 1.78, "z  (Z)"),
    (8.3, 4.58, "φ  update gate (D)"),
    (8.3, 2.78, "ρ  reset gate (H)"),
    (7.23, 1.98, "Q (Z)"),
    (7.23, 1.58, "K (Z)"),
    (5.8, 0.78, "V  values (H)"),
    (9.66, 1.78, "A"),
    (14.0, 1.78, "Ĥ"),
    (8.3, 5.53, "x  residual (D)"),
    (3.05, 2.2, "over all positions"),
    (8.55, 0.98, "within a chunk"),
]


def draw() -> Figure:
    """The layer, from x on the left to its output on the right."""
    figure = Figure(figsize=(12.6, 4.4))
    axes = figure.add_subplot()
    axes.set(xlim=(0.3, 18.0), ylim=(-0.3, 5.9))
    axes.axis("off")
    for corners in ARROWS:
        _arrow(axes, corners)
    for x, y, width, height, text, colour in BOXES:
        corner = (x - width / 2, y - height / 2)
        fill = [0.85 + 0.15 * part for part in to_rgba(colour)[:3]]
        line = {"edgecolor": colour, "linewidth": 1.3, "linestyle": "--" if "cross" in text else "-"}
        style = "round,pad=0,rounding_size=0.1"
        axes.add_patch(FancyBboxPatch(corner, width, height, style, facecolor=fill, zorder=3, **line))
        axes.text(x, y, text, ha="center", va="center", zorder=4, fontsize=9.5)
    for x, y, text in NAMES:
        axes.text(x, y, text, ha="center", va="bottom", color="#333333", fontsize=9.5)
    return figure


def _arrow(axes: Axes, corners: list[tuple[float, float]]) -> None:
    axes.plot(*zip(*corners[:-1], strict=True), color=GREY, linewidth=1.1)
    head = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.1}
    axes.annotate("", xy=corners[-1], xytext=corners[-2], arrowprops=head)


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "layer.png"
    sys.exit(pictures.run("draw_layer.py", out, draw))

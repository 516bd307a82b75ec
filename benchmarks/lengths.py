"""Time and memory of a decoder layer and of the EMA against length, ours and the textbook's.

    python benchmarks/lengths.py            # about 5 minutes; --draw draws lengths.json again

Forward and backward, float32, D 512, N 16, chunk 1,024: medians of 3 rounds, in turn; memory in fresh
processes. Writes lengths.json and lengths.png.
"""

import argparse
import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure import Worker, interleaved, median, peak_memory

HERE = Path(__file__).parent
LENGTHS = (1024, 2048, 4096, 8192, 16384)
WAYS = ("ours", "textbook")
CASES = {"EMA": ("ema", lambda n: (1, n)), "layer": ("layer", lambda n: (n,))}


def measure() -> dict:
    """Seconds and MB by case, way and length."""
    found: dict = {}
    for title, (case, sizes) in CASES.items():
        found[title] = {way: {"seconds": {}, "megabytes": {}} for way in WAYS}
        for length in LENGTHS:
            works = {way: Worker(case, way, *sizes(length)) for way in WAYS}
            for way, times in interleaved(works, 3).items():
                found[title][way]["seconds"][length] = median(times)
                found[title][way]["megabytes"][length] = peak_memory(case, way, *sizes(length))
            print(title, length, {way: found[title][way]["seconds"][length] for way in WAYS}, flush=True)
    return found


def draw(found: dict) -> Figure:
    """A panel for each quantity of each case, on logarithmic axes."""
    from mega_fairseq.evaluation.pictures import figures  # not before: see main

    figure = Figure(figsize=(9, 5.4))
    grid = figure.subplots(2, 2, sharex=True)
    units = {"seconds": "seconds", "megabytes": "peak memory (MB)"}
    for row, (title, ways) in zip(grid, found.items(), strict=True):
        for axes, (quantity, label) in zip(row, units.items(), strict=True):
            for way, colour in zip(WAYS, figures.COLOURS, strict=False):
                values = {int(n): y for n, y in ways[way][quantity].items()}
                axes.plot(values.keys(), values.values(), marker="o", color=colour, label=way)
            _finish(axes, title, label)
            figures.one_two_five(axes.yaxis)
    grid[0][0].legend()
    return figure


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(LENGTHS, labels=[f"{n:,}" for n in LENGTHS])
    axes.set_yscale("log")
    axes.set(title=f"{title}, forward and backward", xlabel="length", ylabel=label)


def main() -> int:
    """Measure unless told to draw only; the exit status."""
    parser = argparse.ArgumentParser(description="time and memory against length")
    parser.add_argument("--draw", action="store_true", help="draw what lengths.json holds")
    file = HERE / "lengths.json"
    if not parser.parse_args().draw:
        file.write_text(json.dumps(measure(), indent=1) + "\n")
    found = json.loads(file.read_text())
    # Only now: the plugin sets environment variables, which the processes that measure would inherit.
    from mega_fairseq.commands import pictures

    return pictures.run("lengths.py", HERE / "lengths.png", lambda: draw(found))


if __name__ == "__main__":
    sys.exit(main())

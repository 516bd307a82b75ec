"""Every speed target in one run: `make bench`, or `make bench-quick` for the same with less of it.

    python benchmarks/bench.py [--quick] [--only NAME...]

Ours and its baselines run in turn, in processes of their own, medians of 5 rounds or more; a ratio's spread
is its lowest and highest round. Memory is measured in fresh processes. Prints a table, and writes
results.json and the table of README.md beside it. Nothing else should run meanwhile.

--quick has shorter texts and no memory, and writes nothing. A target is for a size: where the quick one is
another, one round is run and the ratio only shown; else it is judged by 3 rounds.
"""

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import KEPT, STOCK, Times, Worker, interleaved, median, peak_memory, progress, ratio

HERE = Path(__file__).parent
WAYS = ("ours", "textbook")
Row = dict[str, Any]


class Options(argparse.Namespace):
    """What was asked for.

    rounds: how many count; judged: the same where a quick run's size is that of the target; often: as for
    interleaved().
    """

    quick: bool
    rounds: int
    judged: int
    often: int

    def whole(self, target: float) -> float | None:
        """A target that is for the sizes of a whole run."""
        return None if self.quick else target


def row(
    name: str, value: float, unit: str, baseline: str, target: float | None, *, least: bool, **more: Any
) -> Row:
    """A line of the results. least: the target is a lower bound, else an upper one; None: only to compare."""
    holds = None if target is None else value >= target if least else value <= target
    bound = None if target is None else f"{'at least' if least else 'at most'} {target:g}"
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": baseline,
        "ratio": round(value, 3),
        "target": bound,
        "holds": holds,
        **more,
    }


def compare(name: str, times: Times, above: str, below: str, target: float | None, *, least: bool) -> Row:
    """The ratio of two pieces of work's times as a row; cpu: that of the CPU's."""
    value, spread = ratio(times, above, below)
    cpu = statistics.median(t.cpu for t in times[above]) / statistics.median(t.cpu for t in times[below])
    more = {
        "spread": [round(x, 3) for x in spread],
        "cpu": round(cpu, 3),
        "seconds": {key: round(median(t), 4) for key, t in times.items()},
        "rounds": len(times[above]),
    }
    return row(name, value, "x", below if below != "ours" else above, target, least=least, **more)


def run(options: Options, rounds: int | None = None, **work: tuple[Any, ...]) -> Times:
    """Times of several pieces of work, each (case, arguments), in processes of their own."""
    workers = {name: Worker(*what) for name, what in work.items()}
    return interleaved(workers, rounds or options.rounds, options.often)


def memory(
    options: Options, name: str, target: float, above: tuple[Any, ...], below: tuple[Any, ...], baseline: str
) -> Iterator[Row]:
    """The ratio of two pieces of work's peak memory as a row; none in a quick run."""
    if options.quick:
        return
    used = {}
    with progress(name, 2) as bar:
        for side, work in (("ours", above), (baseline, below)):
            used[side] = peak_memory(*work)
            bar.update()
    yield row(name, used["ours"] / used[baseline], "x", baseline, target, least=False, megabytes=used)


def ema(options: Options) -> Iterator[Row]:
    causal, both = (4096, 2048) if options.quick else (16384, 4096)
    works = {way: ("ema", way, 1, causal) for way in WAYS}
    yield compare(f"ema, L {causal}", run(options, **works), "textbook", "ours", options.whole(8), least=True)
    yield from memory(options, "ema, memory", 1 / 8, works["ours"], works["textbook"], "textbook")
    times = run(options, **{way: ("ema", way, 1, both, 1) for way in WAYS})
    yield compare(f"ema-bidirectional, L {both}", times, "textbook", "ours", options.whole(6), least=True)
    for direction, kind in ((0, "causal"), (1, "both ways")):
        # Milliseconds: their ratio moves by a third from run to run, and no quick run can judge it.
        times = run(options, 60, **{way: ("ema", way, 32, 32, direction) for way in WAYS})
        yield compare(f"ema-short, {kind}", times, "textbook", "ours", options.whole(1.5), least=True)


def layer(options: Options) -> Iterator[Row]:
    length = 2048 if options.quick else 16384
    works = {way: ("layer", way, length) for way in WAYS}
    times = run(options, **works, bare=("bare", "layer", "textbook", length))
    yield compare(f"layer, L {length}", times, "ours", "bare", options.whole(1.5), least=False)
    yield from memory(options, "layer, memory", 0.4, works["ours"], works["textbook"], "textbook")


def linear(options: Options) -> Iterator[Row]:
    short, long = (1024, 8192) if options.quick else (8192, 65536)
    works = {f"L {n}": ("layer", "ours", n) for n in (short, long)}
    kinds = {"linear": None} if options.quick else {"linear": None, "linear, memory kept": KEPT}
    target = options.whole(8.6)
    for kind, settings in kinds.items():
        workers = {name: Worker(*what, settings=settings) for name, what in works.items()}
        times = interleaved(workers, options.rounds, options.often)
        yield compare(f"{kind}, L {short} to {long}", times, f"L {long}", f"L {short}", target, least=False)
    yield from memory(options, "linear, memory", 8.3, works[f"L {long}"], works[f"L {short}"], f"L {short}")


def checkpointed(options: Options) -> Iterator[Row]:
    length = 8192
    plain, recomputed = (("layer", "ours", length, 1024, 6, on) for on in (0, 1))
    yield from memory(options, "checkpoint-activations, memory", 0.4, recomputed, plain, "plain")


def train_nmt(options: Options) -> Iterator[Row]:
    works: dict[str, Any] = {way: ("train_nmt", way) for way in ("textbook", "transformer")}
    works["ours"] = ("train_nmt", "ours", "mega_cross_entropy")
    if not options.quick:
        works["ours, fairseq's criterion"] = ("train_nmt", "ours")
        works["transformer, our criterion"] = ("train_nmt", "transformer", "mega_cross_entropy")
    times = run(options, options.judged, **works, bare=("bare", "train_nmt", "textbook"))
    yield compare("train-nmt", times, "ours", "bare", 1.4, least=False)
    yield compare("train-nmt, textbook", times, "textbook", "ours", 1.2, least=True)
    yield compare("train-nmt, transformer", times, "transformer", "ours", 1.0, least=True)
    if not options.quick:
        one = (("textbook", "ours, fairseq's criterion"), ("transformer, our criterion", "ours"))
        yield from (compare("train-nmt, one criterion", times, *pair, None, least=True) for pair in one)


def decode_lm(options: Options) -> Iterator[Row]:
    works: dict[str, Any] = {f"step {n}": ("decode_lm", "ours", n) for n in (256, 2048)}
    works |= {"textbook": ("decode_lm", "textbook", 2048), "reads": ("reads", 2048)}
    workers = {name: Worker(*what) for name, what in works.items()}
    if not options.quick:
        workers["stock textbook"] = Worker("decode_lm", "textbook", 2048, settings=STOCK)
    times = interleaved(workers, 10)
    yield compare("decode-lm, growth", times, "step 2048", "step 256", 1.6, least=False)
    yield compare("decode-lm, textbook", times, "textbook", "step 2048", 3, least=True)
    if not options.quick:
        yield compare("decode-lm, stock textbook", times, "stock textbook", "step 2048", 3, least=True)
    yield compare("decode-lm, reads", times, "step 2048", "reads", 1.5, least=False)


def decode_nmt(options: Options) -> Iterator[Row]:
    steps = 32 if options.quick else 128
    times = run(options, **{way: ("decode_nmt", way, steps) for way in (*WAYS, "transformer")})
    yield compare("decode-nmt, textbook", times, "textbook", "ours", options.whole(1.7), least=True)
    yield compare("decode-nmt, transformer", times, "transformer", "ours", options.whole(1.0), least=True)


def prefill(options: Options) -> Iterator[Row]:
    length = 1024 if options.quick else 8192
    workers = {way: Worker("prefill", way, length) for way in ("ours", "steps")}
    times = interleaved(workers, 1, 1, warm_up=False)
    yield compare(f"prefill, {length} tokens", times, "steps", "ours", options.whole(15), least=True)


def eval_lm(options: Options) -> Iterator[Row]:
    short, long = (8192, 16384) if options.quick else (8192, 131072)
    works = {f"blocks of {n}": ("evaluate", n, long) for n in (short, long)}
    times, target = run(options, **works), options.whole(1.1)
    yield compare("eval-lm", times, f"blocks of {long}", f"blocks of {short}", target, least=False)
    one = [("evaluate", n, n) for n in (long, short)]
    yield from memory(options, "eval-lm, memory", 1.3, *one, f"{short}")


def start(options: Options) -> Iterator[Row]:
    commands = ("mega-generate", "fairseq-generate")
    times = run(options, options.judged, **{command: ("help_text", command) for command in commands})
    more = median(times["mega-generate"]) - median(times["fairseq-generate"])
    yield row("start", more, "s", "fairseq-generate", 0.3, least=False)


CASES = (ema, layer, linear, checkpointed, train_nmt, decode_lm, decode_nmt, prefill, eval_lm, start)


def main() -> None:
    """Run the cases and write what they give."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: under 5 minutes, no file")
    parser.add_argument("--only", nargs="+", choices=[case.__name__ for case in CASES], help="these cases")
    options = parser.parse_args(namespace=Options())
    options.rounds, options.judged, options.often = (1, 3, 1) if options.quick else (5, 5, 2)
    chosen = [case for case in CASES if not options.only or case.__name__ in options.only]
    rows = [] if len(chosen) == len(CASES) else _earlier([case.__name__ for case in chosen])
    for number, case in enumerate(chosen, 1):
        began = time.monotonic()
        print(f"{case.__name__}, {number} of {len(chosen)}", file=sys.stderr, flush=True)
        for made in case(options):
            rows.append({"case": case.__name__, **made})
            mark = {True: "holds", False: "FALLS SHORT", None: f"({made['baseline']})"}[made["holds"]]
            target = made["target"] or "to compare"
            print(f"{made['name']:32} {made['value']:8.3f} {made['unit']}  {target:15} {mark}", flush=True)
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr)
        if not options.quick:
            write(rows)
    print(f"{os.cpu_count()} cores, torch {version('torch')}, not on a GPU")


SPOKEN = {"bare": "bare products", "textbook": "the textbook", "transformer": "the transformer"}
TABLE = re.compile(r"^\| what \| ratio \|.*\n(?:\|.*\n)*", re.MULTILINE)


def table(rows: list[Row]) -> str:
    """The results as benchmarks/README.md shows them."""
    lines = ["| what | ratio | lowest, highest round | CPU time | target | |", "|---|---|---|---|---|---|"]
    for made in rows:
        name = f"{made['name']}, against {SPOKEN.get(made['baseline'], made['baseline'])}"
        unit = " s" if made["unit"] == "s" else ""
        rounds = "{:.2f}, {:.2f}".format(*made["spread"]) if "spread" in made else ""
        if "megabytes" in made:
            rounds = " / ".join(f"{used:.0f}" for used in made["megabytes"].values()) + " MB"
        holds = {True: "holds", False: "falls short", None: ""}[made["holds"]]
        cells = [
            name,
            f"{made['value']:.3g}{unit}",
            rounds,
            made.get("cpu", ""),
            made["target"] or "to compare",
        ]
        lines.append(f"| {' | '.join(map(str, [*cells, holds]))} |")
    return "\n".join(lines) + "\n"


def write(rows: list[Row]) -> None:
    """Into results.json and the README's table, in the order of the cases."""
    order = [case.__name__ for case in CASES]
    rows = sorted(rows, key=lambda made: order.index(made["case"]))
    (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(TABLE.sub(lambda _: table(rows), text, count=1), encoding="utf-8")


def _earlier(again: list[str]) -> list[Row]:
    """The rows of results.json that are not measured again."""
    file = HERE / "results.json"
    return [r for r in json.loads(file.read_text()) if r["case"] not in again] if file.exists() else []


if __name__ == "__main__":
    main()

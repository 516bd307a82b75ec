"""Every speed target in one run: `make bench`, or `make bench-quick` for the same with less of it.

    python benchmarks/bench.py [--quick] [--only NAME...]

Ours and its baselines run in turn, in one process, medians of 5 rounds (--quick: 3, and shorter texts); a
ratio's spread is its lowest and highest round. Memory is measured in fresh processes. Writes results.json
(--quick: nothing) and prints a table. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import work
from measure import bare_products, interleaved, peak_memory, ratio

HERE = Path(__file__).parent
Row = dict[str, Any]


class Options(argparse.Namespace):
    """What was asked for; rounds: how many count."""

    quick: bool
    rounds: int


def row(name: str, value: float, unit: str, baseline: str, target: float, *, least: bool, **more: Any) -> Row:
    """A line of the results. least: the target is a lower bound, else an upper one."""
    holds = value >= target if least else value <= target
    bound = f"{'at least' if least else 'at most'} {target:g}"
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


def compare(name: str, times: dict, above: str, below: str, target: float, *, least: bool) -> Row:
    """The ratio of two pieces of work's times as a row."""
    value, spread = ratio(times, above, below)
    seconds = {key: round(statistics.median(t), 4) for key, t in times.items()}
    rounds = len(times[above])
    baseline = below if below != "ours" else above
    spread = [round(x, 3) for x in spread]
    return row(name, value, "x", baseline, target, least=least, spread=spread, seconds=seconds, rounds=rounds)


def ema(options: Options) -> Iterator[Row]:
    lengths = (4096, 2048) if options.quick else (16384, 4096)
    ways = ("ours", "textbook")
    times = interleaved({way: work.ema(way, 1, lengths[0]) for way in ways}, options.rounds)
    yield compare(f"ema, L {lengths[0]}", times, "textbook", "ours", 8, least=True)
    used = {way: peak_memory("ema", way, 1, lengths[0]) for way in ways}
    share = used["ours"] / used["textbook"]
    yield row("ema, memory", share, "x", "textbook", 1 / 8, least=False, megabytes=used)
    times = interleaved({way: work.ema(way, 1, lengths[1], 1) for way in ways}, options.rounds)
    yield compare(f"ema-bidirectional, L {lengths[1]}", times, "textbook", "ours", 6, least=True)
    for both, kind in ((0, "causal"), (1, "both ways")):
        times = interleaved({way: work.ema(way, 32, 32, both) for way in ways}, 5 * options.rounds)
        yield compare(f"ema-short, {kind}", times, "textbook", "ours", 1.5, least=True)


def layer(options: Options) -> Iterator[Row]:
    length = 4096 if options.quick else 16384
    run = work.layer("ours", length)
    bare = bare_products(work.layer("textbook", length), work.D)
    times = interleaved({"ours": run, "bare products": bare}, options.rounds)
    yield compare(f"layer, L {length}", times, "ours", "bare products", 1.5, least=False)
    used = {way: peak_memory("layer", way, length) for way in ("ours", "textbook")}
    share = used["ours"] / used["textbook"]
    yield row("layer, memory", share, "x", "textbook", 0.4, least=False, megabytes=used)


def linear(options: Options) -> Iterator[Row]:
    short, long = (2048, 16384) if options.quick else (8192, 65536)
    times = interleaved({f"L {n}": work.layer("ours", n) for n in (short, long)}, min(3, options.rounds))
    yield compare(f"linear, L {short} to {long}", times, f"L {long}", f"L {short}", 8.6, least=False)
    used = {n: peak_memory("layer", "ours", n) for n in (short, long)}
    yield row("linear, memory", used[long] / used[short], "x", f"L {short}", 8.3, least=False, megabytes=used)


def checkpointed(options: Options) -> Iterator[Row]:
    length = 2048 if options.quick else 8192
    used = {on: peak_memory("layer", "ours", length, 1024, 6, on) for on in (0, 1)}
    names = {"plain": used[0], "checkpointed": used[1]}
    yield row(
        "checkpoint-activations, memory", used[1] / used[0], "x", "plain", 0.4, least=False, megabytes=names
    )


def train_nmt(options: Options) -> Iterator[Row]:
    ours = work.train_nmt("ours")
    runs = {"ours": ours, "bare products": bare_products(work.train_nmt("textbook"), work.D)}
    runs |= {way: work.train_nmt(way) for way in ("textbook", "transformer")}
    times = interleaved(runs, options.rounds)
    yield compare("train-nmt", times, "ours", "bare products", 1.4, least=False)
    yield compare("train-nmt, textbook", times, "textbook", "ours", 1.2, least=True)
    yield compare("train-nmt, transformer", times, "transformer", "ours", 1.0, least=True)


def decode_lm(options: Options) -> Iterator[Row]:
    runs = {"step 256": work.decode_lm("ours", 256), "step 2048": work.decode_lm("ours", 2048)}
    runs |= {"textbook": work.decode_lm("textbook", 2048), "reads": work.reads(2048)}
    times = interleaved(runs, 5 * options.rounds)
    yield compare("decode-lm, growth", times, "step 2048", "step 256", 1.6, least=False)
    yield compare("decode-lm, textbook", times, "textbook", "step 2048", 3, least=True)
    yield compare("decode-lm, reads", times, "step 2048", "reads", 1.5, least=False)


def decode_nmt(options: Options) -> Iterator[Row]:
    steps = 32 if options.quick else 128
    runs = {way: work.decode_nmt(way, steps) for way in ("ours", "textbook", "transformer")}
    times = interleaved(runs, 3)
    yield compare("decode-nmt, textbook", times, "textbook", "ours", 1.7, least=True)
    yield compare("decode-nmt, transformer", times, "transformer", "ours", 1.0, least=True)


def prefill(options: Options) -> Iterator[Row]:
    length = 1024 if options.quick else 8192
    times = interleaved({way: work.prefill(way, length) for way in ("ours", "steps")}, 1, False)
    yield compare(f"prefill, {length} tokens", times, "steps", "ours", 15, least=True)


def eval_lm(options: Options) -> Iterator[Row]:
    short, long = (8192, 32768) if options.quick else (8192, 131072)
    runs = {n: work.evaluate(n, long) for n in (short, long)}
    times = interleaved({f"blocks of {n}": run for n, run in runs.items()}, min(3, options.rounds))
    yield compare("eval-lm", times, f"blocks of {long}", f"blocks of {short}", 1.1, least=False)
    used = {n: peak_memory("evaluate", n, n) for n in (short, long)}
    yield row("eval-lm, memory", used[long] / used[short], "x", f"{short}", 1.3, least=False, megabytes=used)


def start(options: Options) -> Iterator[Row]:
    times = interleaved(
        {way: work.help_text(way) for way in ("mega-generate", "fairseq-generate")}, options.rounds
    )
    more = statistics.median(times["mega-generate"]) - statistics.median(times["fairseq-generate"])
    yield row("start", more, "s", "fairseq-generate", 0.3, least=False)


CASES = (ema, layer, linear, checkpointed, train_nmt, decode_lm, decode_nmt, prefill, eval_lm, start)


def main() -> None:
    """Run the cases and write what they give."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--quick", action="store_true", help="less of everything: under 4 minutes, no file")
    parser.add_argument("--only", nargs="+", choices=[case.__name__ for case in CASES], help="these cases")
    options = parser.parse_args(namespace=Options())
    options.rounds = 3 if options.quick else 5
    chosen = [case for case in CASES if not options.only or case.__name__ in options.only]
    rows = [] if len(chosen) == len(CASES) else _earlier([case.__name__ for case in chosen])
    for case in chosen:
        began = time.monotonic()
        for made in case(options):
            rows.append({"case": case.__name__, **made})
            mark = "holds" if made["holds"] else "FALLS SHORT"
            print(
                f"{made['name']:32} {made['value']:8.3f} {made['unit']}  {made['target']:15} {mark}",
                flush=True,
            )
        print(f"  {case.__name__}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        if not options.quick:
            (HERE / "results.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, not on a GPU"
    )


def _earlier(again: list[str]) -> list[Row]:
    """The rows of results.json that are not measured again."""
    file = HERE / "results.json"
    return [r for r in json.loads(file.read_text()) if r["case"] not in again] if file.exists() else []


if __name__ == "__main__":
    main()

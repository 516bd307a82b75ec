"""What every quickstart shares: its options, one at a time, and a training that can be resumed."""

import argparse
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import commands
import running
from stage import StageError, fingerprint, read_json, say, write_json

ROOT = Path(__file__).resolve().parents[2]
WORK = Path("examples/quickstart/work")  # from ROOT, where everything runs, so that commands can be copied
USER_DIR = "mega_fairseq"
REPORT = shlex.split("""
    --validate-interval-updates 100 --save-interval-updates 100 --keep-interval-updates 1
    --validate-interval 1000 --save-interval 1000 --no-epoch-checkpoints
    --log-format json --log-interval 50 --num-workers 0
""")  # none of these changes what is learnt


def main(quickstart: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Run the stages of a quickstart that are not whole yet; the exit status."""
    os.chdir(ROOT)

    def work() -> None:
        with running.alone(WORK, "quickstart"):
            quickstart(options)

    return running.in_order("quickstart", work)


def parser(description: str, *, arch: str, minutes: float, updates: int) -> argparse.ArgumentParser:
    """The options that every quickstart has, with its defaults."""
    made = argparse.ArgumentParser(
        description=description,
        usage="%(prog)s [options] [-- options of fairseq-train]",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument("--arch", default=arch, help="model preset for fairseq-train")
    made.add_argument("--minutes", type=_positive(float), default=minutes, help="train no longer than this")
    made.add_argument("--max-update", type=_positive(int), default=updates, help="or than so many updates")
    made.add_argument("--seed", type=int, default=1, help="of the training")
    made.add_argument("--fresh", action="store_true", help="make text, vocabulary and this model again")
    return made


def parse(own: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The options, with what follows `--` as `train_args`. Exits with the usage on nonsense."""
    train_args = []
    if "--" in argv:
        argv, train_args = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    options = own.parse_args(argv)
    options.train_args = train_args
    return options


def _positive(kind: type):
    def number(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError(text)
        return value

    number.__name__ = f"positive {kind.__name__}"  # argparse: "invalid positive int value"
    return number


def train(
    options: argparse.Namespace, base: Path, data: dict[str, str], settings: list[str], where: list[str]
) -> Path:
    """The directory of the trained model, named after what it was trained with; resumes a training cut short.

    data: digests of the binary data in base/data-bin; settings: what decides the result; where: the rest.
    Raises StageError when fairseq-train fails or leaves no checkpoint.
    """
    settings = ["--arch", options.arch, "--seed", str(options.seed), *settings, *options.train_args]
    name = fingerprint({"data": data, "settings": settings})[:6]
    model = base / f"{options.arch}-{name}"
    if options.fresh:
        shutil.rmtree(model, ignore_errors=True)
    limits = {"max_update": options.max_update, "minutes": options.minutes}
    if read_json(model / "finished.json") == limits and (model / "checkpoint_best.pt").exists():
        say(f"training: already in {model}")
        return model
    verb = "goes on" if (model / "checkpoint_last.pt").exists() else "starts"
    say(f"training: {verb} in {model}, at most {options.minutes:g} minutes")
    model.mkdir(parents=True, exist_ok=True)
    stop = ["--stop-time-hours", f"{options.minutes / 60:.5f}", "--max-update", options.max_update]
    place = [base / "data-bin", *where, "--user-dir", USER_DIR, "--save-dir", model]
    commands.train(commands.fairseq("train", *place, *settings, *REPORT, *stop), model / "train.log")
    if not (model / "checkpoint_best.pt").exists():
        raise StageError(f"training left no {model / 'checkpoint_best.pt'}; see {model / 'train.log'}")
    write_json(model / "finished.json", limits)
    return model


def draw(model: Path, arch: str) -> None:
    """Pictures of the training in `model` and of a Mega's EMA. One that fails is said and hides no result."""
    python, log = commands.fairseq("train")[0], model / "pictures.log"
    pictures = {"training": model / "train.log"}
    if arch.startswith("mega_"):
        pictures["ema"] = model / "checkpoint_best.pt"
    say("\nDrawing:")
    for name, source in pictures.items():
        out = model / f"{name}.png"
        try:
            out.unlink(missing_ok=True)
            commands.run([python, f"scripts/plot_{name}.py", str(source), "--out", str(out)], log)
            say(f"  picture: {out}")
        except (StageError, OSError) as error:
            say(f"  no picture: {error}")

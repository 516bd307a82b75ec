"""What is done to a sentence before it is cut into subwords, and which pairs are worth training on."""

import re
from functools import cache

import lines
from sacremoses import MosesPunctNormalizer, MosesTokenizer

SHORTEST, LONGEST = 3, 150  # subwords of a sentence
RATIO = 1.5  # of the longer one of a pair to the shorter
BREAKS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")  # white space that other programs end lines at


def normalise(lang: str, sentences: list[str]) -> list[str]:
    """Moses' punctuation of each line, without characters that do not print, with single spaces."""
    normaliser = _normaliser(lang)
    made = (normaliser.normalize(BREAKS.sub(" ", line)) for line in sentences)
    return [" ".join(line.split()) for line in made]


def tokenise(lang: str, sentences: list[str]) -> list[str]:
    """Each line normalised and cut by Moses' tokenizer: hyphens split (@-@), special characters escaped."""
    tokenizer = _tokenizer(lang)
    made = (
        tokenizer.tokenize(line, aggressive_dash_splits=True, return_str=True, escape=True)
        for line in normalise(lang, sentences)
    )
    return [" ".join(line.split()) for line in made]


def worth_training(source: str, target: str) -> bool:
    """Whether both sides have 3 to 150 subwords, and neither has more than 1.5 times the other's."""
    shorter, longer = sorted((lines.tokens(source), lines.tokens(target)))
    return shorter >= SHORTEST and longer <= LONGEST and longer <= RATIO * shorter


@cache
def _normaliser(lang: str) -> MosesPunctNormalizer:
    return MosesPunctNormalizer(lang, post_remove_control_chars=True)


@cache
def _tokenizer(lang: str) -> MosesTokenizer:
    return MosesTokenizer(lang)

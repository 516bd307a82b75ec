"""What fairseq-generate and fairseq-interactive print, read back in input order."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

WHAT = {"S": "sources", "T": "references", "H": "translations", "D": "detokenized translations"}
_TAGGED = re.compile(r"([A-Z])-([0-9]{1,9})\t(.*)")
_HYPOTHESIS = re.compile(r"[HD]-[0-9]{1,9}\t(?:-?[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|-?inf|nan)\t")
_LOG = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]+ \| [A-Z]+ \| ")


class GeneratedError(ValueError):
    """A file that is no whole output, told in one sentence."""


class Generated(NamedTuple):
    """One line a sentence, in input order; a list is empty where the output has no such lines.

    detokenized is what --bpe and --tokenizer make of the hypotheses, and equal to them without.
    """

    sources: list[str]
    references: list[str]
    hypotheses: list[str]
    detokenized: list[str]


def read_text(path: Path) -> str:
    """A UTF-8 file as it is, carriage returns included. Raises OSError or GeneratedError."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GeneratedError(
            f"{path} is not UTF-8 text at byte {error.start} ({content[error.start : error.start + 4]!r}): "
            "it was cut short or is in another encoding; make it again, or convert it with iconv"
        ) from error


def split_lines(text: str) -> list[str]:
    """Only a line feed ends a line: a sentence may hold U+2028, a form feed or a carriage return."""
    return text.removesuffix("\n").split("\n") if text else []


def is_generated(text: str) -> bool:
    """Whether this is fairseq's output and no plain text, which may hold a line like an output's.

    An output has hypotheses, and most of its lines are tagged (S-0, T-0, H-0, ...); log lines do not count.
    """
    lines = [line for line in split_lines(text) if line.strip() and not _LOG.match(line)]
    tagged = sum(_TAGGED.match(line) is not None for line in lines)
    return any(map(_HYPOTHESIS.match, lines)) and 2 * tagged > len(lines)


def read_generated(path: Path, count: int | None = None) -> Generated:
    """The best hypothesis of each sentence, and its source and reference; of `count` sentences where given.

    The best one has the highest score, the first of several. Lines of some kinds may be left out
    (`grep ^H`), and sentences may be in any order; hypotheses of one follow each other.
    Raises OSError, or GeneratedError unless each kind that occurs is there for every sentence, once.
    """
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise GeneratedError(f"{path} is cut short: its last line has no end; run fairseq-generate again")
    best: dict[str, dict[int, tuple[float, str]]] = {letter: {} for letter in WHAT}
    last: dict[str, int] = {}  # letter -> the sentence of its last line
    for position, line in enumerate(split_lines(text), 1):
        match = _TAGGED.fullmatch(line)
        if match is None or match[1] not in WHAT:
            continue
        found, number, score, rest = best[match[1]], int(match[2]), 0.0, match[3]
        if match[1] in "HD":
            if not _HYPOTHESIS.match(line):
                raise GeneratedError(
                    f"{path}, line {position} is no whole hypothesis ({line[:40]!r}); "
                    "run fairseq-generate again"
                )
            first, _, rest = rest.partition("\t")
            score = float(first)
        if number in found and (match[1] in "ST" or number != last[match[1]]):
            raise GeneratedError(
                f"{path}, line {position} is a second {match[1]}-{number}: the file holds several outputs; "
                "give one"
            )
        last[match[1]] = number
        if number not in found or score > found[number][0]:
            found[number] = score, rest
    texts = {letter: {n: text for n, (_, text) in found.items()} for letter, found in best.items()}
    return _in_order(path, texts, count)


def _in_order(path: Path, found: dict[str, dict[int, str]], count: int | None) -> Generated:
    """Raises GeneratedError where a sentence is missing or there is one too many."""
    total = 1 + max(itertools.chain.from_iterable(found.values()), default=-1)
    if not found["H"]:
        raise GeneratedError(
            f"{path} has no hypotheses (lines like H-0); give what fairseq-generate prints without --quiet"
        )
    if count is not None and total > count:
        raise GeneratedError(
            f"{path} has translations of {len(found['H'])} sentences, the last one number {total - 1}, where "
            f"{count} are expected; is it of another text?"
        )
    total = count or total
    for letter in "HDST":
        lines = found[letter]
        if lines and len(lines) < total:
            missing = next(number for number in itertools.count() if number not in lines)
            raise GeneratedError(
                f"{path} has {WHAT[letter]} of {len(lines)} sentences where {total} are expected; the first "
                f"one missing is number {missing}: the output was cut short, or sentences that are too long "
                "were skipped; run fairseq-generate again"
            )
    return Generated(*([lines[number] for number in range(len(lines))] for lines in found.values()))

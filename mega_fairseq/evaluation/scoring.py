"""BLEU, chrF, TER and COMET of translations, paired tests between systems, and plain text out of tokens."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sacrebleu import significance
from sacrebleu.metrics import BLEU, CHRF, TER

TOKENIZE = {"ja": "char", "ko": "char", "zh": "zh"}  # 13a knows only spaces
METRICS = ("bleu", "chrf", "ter")
DETOKENIZE = ("none", "sentencepiece", "moses", "subword-nmt")
TESTS = {"bootstrap": "bs", "randomization": "ar"}  # sacreBLEU's names
TIE = 1e-9  # points of a score by which sums in another order may differ
PIECE = "\u2581"  # what begins a word in sentencepiece's output
SPLIT = "compound-split BLEU"
SPLIT_NOTE = "Moses tokens, hyphens split, as in papers on WMT English-German; not comparable with sacreBLEU"

Systems = dict[str, list[str]]  # the first one is the baseline


class ScoringError(ValueError):
    """Scores that cannot be had, told in one sentence."""


class Measure(NamedTuple):
    """A metric of sacreBLEU, made anew each time because tests write into it, and what it reads of a line."""

    make: Callable[[], Any]
    prepare: Callable[[str], str] = str
    note: str | None = None


def language(code: str) -> str:
    """zh of zh-Hans or zh_CN."""
    return re.split("[-_]", code.lower())[0]


def bleu(lang: str = "") -> BLEU:
    """sacreBLEU's BLEU with the tokenizer for a language; 13a where it has no other."""
    return BLEU(tokenize=TOKENIZE.get(language(lang), "13a"))


def ter(lang: str = "") -> TER:
    """TER of words, or of characters where a language has no spaces."""
    asian = language(lang) in TOKENIZE
    return TER(normalized=asian, asian_support=asian)


def measures(metrics: tuple[str, ...], lang: str = "", split: bool = False) -> dict[str, Measure]:
    """The measures by their names, sacreBLEU's for `metrics` of METRICS; split: compound-split BLEU as well.

    Raises ScoringError where sacremoses is missing.
    """
    makers: dict[str, Callable[[], Any]] = {
        "bleu": partial(bleu, lang),
        "chrf": CHRF,
        "ter": partial(ter, lang),
    }
    names = {"bleu": "BLEU", "chrf": "chrF2", "ter": "TER"}
    found = {names[metric]: Measure(makers[metric]) for metric in metrics}
    if split:
        tokenize = partial(_moses("MosesTokenizer", lang).tokenize, return_str=True)
        make = partial(BLEU, tokenize="none", force=True)  # no warning of tokenized text
        found[SPLIT] = Measure(make, lambda line: split_compounds(tokenize(line)), SPLIT_NOTE)
    return found


def split_compounds(line: str) -> str:
    """rich-text as rich ##AT##-##AT## text."""
    return re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line)


def detokenizer(kind: str, lang: str = "") -> Callable[[str], str]:
    """What makes plain text of a line of tokens; kind is one of DETOKENIZE.

    Raises ScoringError where sacremoses is missing.
    """
    if kind == "none":
        return str
    if kind == "sentencepiece":  # as fairseq's --remove-bpe sentencepiece
        return lambda line: line.replace(" ", "").replace(PIECE, " ").strip()
    moses = _moses("MosesDetokenizer", lang)
    joint = "@@ " if kind == "subword-nmt" else ""

    def plain(line: str) -> str:
        return moses.detokenize(f"{line} ".replace(joint, "").split() if joint else line.split())

    return plain


def check_pieces(name: str, lines: list[str], others: list[str], kind: str) -> None:
    """Raises ScoringError where `detokenizer(kind)` would join plain text, or leave sentencepieces apart.

    others: further text of the file in the same form, such as sources: a bad model may begin no word.
    """
    if kind == "sentencepiece" and any(lines) and not any(PIECE in line for line in [*lines, *others]):
        raise ScoringError(f"{name} has no sentencepieces (none with {PIECE}); leave out --detokenize")
    if kind != "sentencepiece" and 2 * sum(PIECE in line for line in lines) > len(lines):
        raise ScoringError(f"{name} has sentencepieces ({PIECE}); give --detokenize sentencepiece")


def _moses(tool: str, lang: str) -> Any:
    try:
        import sacremoses
    except ImportError as error:
        raise ScoringError(f"Moses tokens need sacremoses ({error}); pip install sacremoses") from error
    return getattr(sacremoses, tool)(lang=language(lang))


def evaluate(
    measure: Measure,
    systems: Systems,
    references: list[list[str]],
    tests: tuple[str, ...] = (),
    samples: int | None = None,
    seed: int = 12345,
) -> dict[str, Any]:
    """Scores and signature, and for each of `tests` (of TESTS) p-values against the first system.

    references: one list for each set. samples: sacreBLEU's 1,000 and 10,000 where None.
    """
    systems = {name: [measure.prepare(line) for line in lines] for name, lines in systems.items()}
    references = [[measure.prepare(line) for line in lines] for lines in references]
    metric = measure.make()
    scores = {name: float(metric.corpus_score(lines, references).score) for name, lines in systems.items()}
    found: dict[str, Any] = {"scores": scores, "signature": str(metric.get_signature())}
    if measure.note:
        found["note"] = measure.note
    for test in tests:
        found[test] = compare(measure.make(), systems, references, test, samples, seed)
    return found


def compare(
    metric: Any, systems: Systems, references: list[list[str]], test: str, samples: int | None, seed: int
) -> dict[str, Any]:
    """sacreBLEU's paired test: p of each system but the first, and with bootstrap its mean and 95% interval.

    The samples are those of sacreBLEU's command, p is not: it counts those that differ as much as the systems
    too. Without these ties equal systems, or unequal in one sentence, get the smallest p there is.
    seed: at least 1, since sacreBLEU takes 0 for none.
    """
    named: Any = [*systems.items()]
    with _sampled(seed):
        paired: Any = significance.PairedTest(named, {"": metric}, references, TESTS[test], samples or 0)
        signatures, results = paired()
    ((name, signature),) = signatures.items()
    compared = {}
    for system, result in zip(systems, results[name], strict=True):
        values = {"p": result.p_value, "mean": result.mean, "interval": result.ci}
        compared[system] = {key: float(value) for key, value in values.items() if value is not None}
    return {"baseline": next(iter(systems)), "systems": compared, "signature": f"{signature}|ties:counted"}


def p_value(differences: np.ndarray, real: float) -> float:
    """The share of samples that differ at least as much as the systems, which are a sample themselves."""
    return (int(np.sum(differences >= real - TIE)) + 1) / (len(differences) + 1)


@contextlib.contextmanager
def _sampled(seed: int) -> Iterator[None]:
    """sacreBLEU takes its seed from the environment only, and has no option for ties."""
    before, theirs = os.environ.get("SACREBLEU_SEED"), significance._compute_p_value
    os.environ["SACREBLEU_SEED"] = str(seed)
    significance._compute_p_value = p_value
    try:
        yield
    finally:
        significance._compute_p_value = theirs
        del os.environ["SACREBLEU_SEED"]
        if before is not None:
            os.environ["SACREBLEU_SEED"] = before


def comet(model: str, systems: Systems, sources: list[str], references: list[str]) -> dict[str, Any]:
    """Scores of COMET, by a model of its hub or a file. Raises ScoringError where it is missing or fails."""
    try:
        import comet
        import torch
    except ImportError as error:
        raise ScoringError(f"--comet needs COMET ({error}); pip install unbabel-comet") from error
    try:
        path = model if os.path.exists(model) else comet.download_model(model)
        scorer = comet.load_from_checkpoint(path)
        scores = {}
        for name, lines in systems.items():
            triples = zip(sources, lines, references, strict=True)
            data = [{"src": source, "mt": line, "ref": reference} for source, line, reference in triples]
            gpus = int(torch.cuda.is_available())
            scores[name] = float(scorer.predict(data, batch_size=16, gpus=gpus).system_score)
    except Exception as error:  # of the network, of a file, of its many dependencies
        raise ScoringError(
            f"--comet {model} failed ({type(error).__name__}: {error}); give a model's name or its .ckpt file"
        ) from error
    return {"scores": scores, "signature": f"{model}|version:{getattr(comet, '__version__', 'unknown')}"}

"""Paired tests: sacreBLEU's samples, of which those count that differ as much."""

import os

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest
from scored import FAIR, GOOD, POOR, REFERENCE, sacrebleu, sentences, write

from mega_fairseq.evaluation import scoring

METRICS = {"bleu": BLEU, "chrf": CHRF, "ter": TER}
SEED = 7


def compared(metric, systems, test, samples, references=REFERENCE):
    return scoring.compare(METRICS[metric](), systems, [references], test, samples, SEED)["systems"]


def test_the_bootstrap_is_that_of_sacrebleus_command(tmp_path):
    systems = {"a": GOOD, "b": FAIR, "c": POOR}
    for name, lines in {**systems, "ref": REFERENCE}.items():
        write(tmp_path / name, lines)
    arguments = ["ref", "-i", *systems, "-m", "bleu", "--paired-bs", "--paired-bs-n", "150", "-w", "9"]
    theirs = {row["system"][-1]: row["BLEU"] for row in sacrebleu(tmp_path, *arguments)}
    ours = compared("bleu", systems, "bootstrap", 150)
    assert list(ours) == list(theirs) == ["a", "b", "c"]
    for system, found in ours.items():  # no sample differs just as much
        assert found.get("p") == theirs[system]["p_value"]
        assert (found["mean"], found["interval"]) == (theirs[system]["mean"], theirs[system]["ci"])
    assert ours["c"]["p"] < ours["b"]["p"]


@pytest.mark.parametrize("metric", METRICS)
def test_randomization_counts_exchanges_that_differ_as_much(metric, monkeypatch):
    """Of sacreBLEU's exchanges each is made and scored here as two files would be."""
    first, second, samples = GOOD[:12], FAIR[:12], 60
    kept = np.random.default_rng(SEED).integers(2, size=(samples, 12), dtype=bool)

    def difference(one, other):
        scores = [METRICS[metric]().corpus_score(lines, [REFERENCE[:12]]).score for lines in (one, other)]
        return abs(scores[0] - scores[1])

    def exchange(sample):
        triples = [*zip(first, second, sample, strict=True)]
        return [a if keep else b for a, b, keep in triples], [b if keep else a for a, b, keep in triples]

    real = difference(first, second)
    count = sum(difference(*exchange(sample)) >= real - 1e-9 for sample in kept)
    systems = {"a": first, "b": second}
    p = compared(metric, systems, "randomization", samples, REFERENCE[:12])["b"]["p"]
    assert p == (count + 1) / (samples + 1)
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    _, theirs = PairedTest([*systems.items()], {"": METRICS[metric]()}, [REFERENCE[:12]], "ar", samples)()
    assert p > list(theirs.values())[1][1].p_value  # which leaves out those that change nothing


@pytest.mark.parametrize("test", scoring.TESTS)
@pytest.mark.parametrize("metric", METRICS)
def test_equal_systems_do_not_differ(metric, test):
    found = compared(metric, {"a": GOOD, "b": [*GOOD]}, test, 50)
    assert found["b"]["p"] == 1


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_in_one_line_is_no_evidence(metric):
    reference, system = sentences(count=1000), sentences(0.1, 1000)
    position = next(i for i, line in enumerate(system) if line != reference[i])
    other = [*system[:position], reference[position], *system[position + 1 :]]
    assert compared(metric, {"a": system, "b": other}, "randomization", 50, reference)["b"]["p"] == 1


def test_both_tests_with_sacrebleus_numbers_and_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "99")
    theirs = scoring.significance._compute_p_value
    for test, short, samples in (("bootstrap", "bs", 1000), ("randomization", "ar", 10000)):
        found = scoring.compare(CHRF(), {"a": GOOD, "b": FAIR}, [REFERENCE], test, None, 12345)
        assert {f"{short}:{samples}", "seed:12345", "ties:counted"} < set(found["signature"].split("|"))
        assert found["baseline"] == "a" and 0.01 < found["systems"]["b"]["p"] < 1
    assert os.environ["SACREBLEU_SEED"] == "99" and scoring.significance._compute_p_value is theirs
    monkeypatch.delenv("SACREBLEU_SEED")
    compared("bleu", {"a": GOOD, "b": FAIR}, "bootstrap", 5)
    assert "SACREBLEU_SEED" not in os.environ

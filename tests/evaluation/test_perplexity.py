"""Perplexity: what counts as words and characters, and fairseq's scorer is left as it was."""

import math
from types import SimpleNamespace

import pytest
from fairseq_cli import eval_lm

from mega_fairseq.evaluation import perplexity


def test_words_and_characters_are_those_of_the_convention(tmp_path):
    text = tmp_path / "text"
    text.write_text(" the  king\n\nis d\u00e9ad \n", encoding="utf-8")
    assert perplexity.counts(text) == (4 + 3, 21)


def test_figures_are_of_what_is_known():
    assert perplexity.per_unit(6.0, None, None) == {}
    found = perplexity.per_unit(6.0, words=2, characters=3)
    assert found == {
        "words": 2,
        "perplexity_per_word": math.exp(3.0),
        "characters": 3,
        "bits_per_character": pytest.approx(2.0 / math.log(2)),
    }
    with pytest.raises(OverflowError):
        perplexity.per_unit(1000.0, words=1, characters=None)


def test_the_scorer_of_fairseq_stays(monkeypatch):
    theirs = eval_lm.SequenceScorer

    def stop(cfg):
        assert eval_lm.SequenceScorer is not theirs
        raise RuntimeError("stopped")

    monkeypatch.setattr(eval_lm, "main", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        perplexity.evaluate(SimpleNamespace(task=None))
    assert eval_lm.SequenceScorer is theirs

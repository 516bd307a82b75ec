"""Tokenizers of BLEU and plain text out of pieces are those of sacreBLEU and fairseq."""

import pytest
from fairseq.data.data_utils import post_process

from mega_fairseq.evaluation import scoring


@pytest.mark.parametrize(
    ("lang", "tokens"),
    [
        ("", "13a"),
        ("de", "13a"),
        ("zh", "zh"),
        ("zh_CN", "zh"),
        ("zh-Hant", "zh"),
        ("JA", "char"),
        ("ko", "char"),
    ],
)
def test_bleu_knows_languages_without_spaces(lang, tokens):
    metric = scoring.bleu(lang)
    metric.corpus_score(["a"], [["a"]])
    assert f"|tok:{tokens}|" in str(metric.get_signature())


def test_sentencepieces_are_joined_as_by_fairseq():
    join = scoring.detokenizer("sentencepiece")
    for line in ("\u2581a b \u2581c", " \u2581 \u2581a", "", "a \u2028 \u2581b\u2581", "<unk> \u2581x"):
        assert join(line) == post_process(line, "sentencepiece")

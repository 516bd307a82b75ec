"""What a report of scoring takes for translations: outputs and plain text, tokens of every kind."""

import re

import pytest
import sacremoses
from scored import FAIR, output, pieces, write

from mega_fairseq.evaluation.report import hypotheses


def moses(line):
    return sacremoses.MosesTokenizer("de").tokenize(line, return_str=True)


TOKENS = {
    "sentencepiece": pieces,
    "moses": moses,
    "subword-nmt": lambda line: re.sub(r"(\w\w)(?=\w)", r"\1@@ ", moses(line)),
}
PLAIN = [sacremoses.MosesDetokenizer("de").detokenize(line.split()) for line in FAIR]


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_become_plain_text(tmp_path, kind):
    plain = FAIR if kind == "sentencepiece" else PLAIN
    tokens = [TOKENS[kind](line) for line in plain]
    assert sum(a != b for a, b in zip(tokens, plain, strict=True)) > 30
    for lines in (tokens, output(tokens, detokenized=tokens)):
        write(tmp_path / "tokens", lines)
        assert hypotheses(tmp_path / "tokens", "auto", kind, "de") == plain


def test_pieces_that_begin_no_word_and_no_text_at_all_are_joined(tmp_path):
    bad = "\n".join(["S-0\t\u2581a", "H-0\t-0.5\t. . ,", "S-1\tb", "H-1\t-0.5\tc", ""])
    (tmp_path / "gen").write_text(bad)
    assert hypotheses(tmp_path / "gen", "auto", "sentencepiece", "") == ["..,", "c"]
    write(tmp_path / "gen", ["", ""])
    assert hypotheses(tmp_path / "gen", "plain", "sentencepiece", "") == ["", ""]


def test_without_a_tokenizer_of_ours_fairseqs_counts(tmp_path):
    write(tmp_path / "gen", output(["a@@ b"], detokenized=["ab"]))
    assert hypotheses(tmp_path / "gen", "auto", "none", "") == ["ab"]
    write(tmp_path / "gen", output(["a@@ b"]))
    assert hypotheses(tmp_path / "gen", "auto", "none", "") == ["a@@ b"]

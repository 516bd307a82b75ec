"""What scripts/score.py reads: outputs and plain text, tokens of every kind, and what it refuses."""

import json
import re
import sys

import pytest
import sacremoses
from sacrebleu.metrics import BLEU
from scored import FAIR, FILES, GOOD, REFERENCE, load, output, write


@pytest.fixture(scope="module")
def script():
    return load("score")


@pytest.fixture
def score(script, capsys, tmp_path, monkeypatch):
    """The metrics of --json; the files a, b, c are systems, ref and other references."""
    monkeypatch.chdir(tmp_path)
    for name, lines in FILES.items():
        write(tmp_path / name, lines)

    def run(hypotheses, options="", references="ref"):
        given = f"--hypotheses {hypotheses} --references {references} --json {options}".split()
        status, printed = script.main(given), capsys.readouterr()
        assert status == 0, printed.err
        return json.loads(printed.out)["metrics"]

    return run


def test_outputs_are_put_in_order_and_plain_text_stays(score, tmp_path):
    write(tmp_path / "gen", output(GOOD))
    strange = ["H-0\t-0.5\tquoted", "H-1", *GOOD[2:]]
    write(tmp_path / "strange", strange)
    found = score("a gen strange", "--metrics bleu")["BLEU"]["scores"]
    assert found["gen"] == found["a"]
    assert found["strange"] == pytest.approx(BLEU().corpus_score(strange, [REFERENCE]).score)
    write(tmp_path / "two", ["H-0\t-0.5\tone", "H-1\t-0.5\ttwo"])
    write(tmp_path / "ref", ["H-0\t-0.5\tone", "H-1\t-0.5\ttwo"])
    assert score("two", "--metrics chrf --format plain")["chrF2"]["scores"]["two"] == 100
    assert score("two", "--metrics chrf --format auto")["chrF2"]["scores"]["two"] < 50


def test_only_a_line_feed_ends_a_sentence(score, tmp_path):
    lines = [f"eins\u2028zwei\x85drei\x0cvier fünf\r{i}" for i in range(4)]
    write(tmp_path / "plain", lines)
    write(tmp_path / "gen", output(lines))
    found = score("plain gen", references="plain")
    assert found["BLEU"]["scores"] == {"plain": pytest.approx(100), "gen": pytest.approx(100)}


def moses(line):
    return sacremoses.MosesTokenizer("de").tokenize(line, return_str=True)


TOKENS = {
    "sentencepiece": lambda line: " ".join(f"\u2581{w[:2]} {w[2:]}".strip() for w in line.split()),
    "moses": moses,
    "subword-nmt": lambda line: re.sub(r"(\w\w)(?=\w)", r"\1@@ ", moses(line)),
}
PLAIN = [sacremoses.MosesDetokenizer("de").detokenize(line.split()) for line in FAIR]


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_become_plain_text(script, tmp_path, kind):
    plain = FAIR if kind == "sentencepiece" else PLAIN
    tokens = [TOKENS[kind](line) for line in plain]
    assert sum(a != b for a, b in zip(tokens, plain, strict=True)) > 30
    for lines in (tokens, output(tokens, detokenized=tokens)):
        write(tmp_path / "tokens", lines)
        assert script.hypotheses(tmp_path / "tokens", "auto", kind, "de") == plain


def test_pieces_that_begin_no_word_and_no_text_at_all_are_joined(script, tmp_path):
    bad = "\n".join(["S-0\t\u2581a", "H-0\t-0.5\t. . ,", "S-1\tb", "H-1\t-0.5\tc", ""])
    (tmp_path / "gen").write_text(bad)
    assert script.hypotheses(tmp_path / "gen", "auto", "sentencepiece", "") == ["..,", "c"]
    write(tmp_path / "gen", ["", ""])
    assert script.hypotheses(tmp_path / "gen", "plain", "sentencepiece", "") == ["", ""]


def test_without_a_tokenizer_of_ours_fairseqs_counts(script, tmp_path):
    write(tmp_path / "gen", output(["a@@ b"], detokenized=["ab"]))
    assert script.hypotheses(tmp_path / "gen", "auto", "none", "") == ["ab"]
    write(tmp_path / "gen", output(["a@@ b"]))
    assert script.hypotheses(tmp_path / "gen", "auto", "none", "") == ["a@@ b"]


BAD = {
    "no file": ("--hypotheses no --references ref", ["'no'"]),
    "folder": ("--hypotheses a --references dir", ["dir"]),
    "count": (
        "--hypotheses short --references ref",
        ["short has 39 hypotheses", "ref has 40 references", "whole"],
    ),
    "more": ("--hypotheses a long --references ref", ["long has 41 hypotheses", "ref has 40 references"]),
    "references": ("--hypotheses a --references ref short", ["short has 39 references and ref has 40"]),
    "empty hypotheses": ("--hypotheses empty --references ref", ["empty has 0 hypotheses and ref has 40"]),
    "empty references": ("--hypotheses a --references empty", ["empty is empty", "one a line"]),
    "cut between": (
        "--hypotheses hole --references ref",
        ["hole", "39 sentences where 40", "number 3", "again"],
    ),
    "cut at the end": ("--hypotheses tail --references ref", ["tail has 39 hypotheses", "ref has 40"]),
    "cut in a line": (
        "--hypotheses cut --references ref",
        ["cut is cut short", "run fairseq-generate again"],
    ),
    "no output": ("--hypotheses a --references ref --format generate", ["a has no hypotheses", "--quiet"]),
    "encoding": ("--hypotheses latin --references ref", ["latin is not UTF-8 text at byte 1", "iconv"]),
    "joined": (
        "--hypotheses gen --references ref --detokenize sentencepiece",
        ["gen has no sentencepieces", "leave out --detokenize"],
    ),
    "plain": ("--hypotheses a --references ref --detokenize sentencepiece", ["a has no sentencepieces"]),
    "pieces": ("--hypotheses pieces --references ref", ["pieces has", "give --detokenize sentencepiece"]),
    "output of pieces": (
        "--hypotheses genpieces --references ref --detokenize moses --target-lang de",
        ["genpieces has sentencepieces", "give --detokenize sentencepiece"],
    ),
    "names": (
        "--hypotheses a b --references ref --names x",
        ["--names has 1 names for 2 files of --hypotheses"],
    ),
    "same names": ("--hypotheses a b --references ref --names x x", ["are called x", "--names"]),
    "same files": ("--hypotheses a a --references ref", ["are called a", "--names"]),
    "one system": (
        "--hypotheses a --references ref --test bootstrap",
        ["--test bootstrap needs two", "baseline"],
    ),
    "samples": ("--hypotheses a b --references ref --samples 5", ["--samples", "--test"]),
    "seed": ("--hypotheses a b --references ref --seed 5", ["--seed", "--test"]),
    "language": ("--hypotheses a --references ref --target-lang german", ["--target-lang german", "like de"]),
    "moses": (
        "--hypotheses a --references ref --detokenize moses",
        ["--detokenize moses needs --target-lang"],
    ),
    "subword-nmt": (
        "--hypotheses a --references ref --detokenize subword-nmt",
        ["subword-nmt needs --target-lang"],
    ),
    "compounds": (
        "--hypotheses a --references ref --compound-split",
        ["--compound-split needs --target-lang"],
    ),
    "comet sources": ("--hypotheses a --references ref --comet m", ["--comet m needs --sources"]),
    "sources": ("--hypotheses a --references ref --sources c", ["--sources c is for --comet"]),
    "sources count": (
        "--hypotheses a --references ref --comet m --sources short",
        ["short has 39 sources and ref has 40 references"],
    ),
    "comet": (
        "--hypotheses a --references ref --comet m --sources c",
        ["--comet", "pip install unbabel-comet"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(script, score, monkeypatch, capsys, tmp_path, name):
    monkeypatch.setitem(sys.modules, "comet", None)  # not installed
    (tmp_path / "dir").mkdir()
    lines = output(GOOD)
    pieces = [TOKENS["sentencepiece"](line) for line in GOOD]
    write(tmp_path / "gen", lines)
    write(tmp_path / "pieces", pieces)
    write(tmp_path / "genpieces", output(pieces, detokenized=pieces))
    write(tmp_path / "short", GOOD[1:])
    write(tmp_path / "long", [*GOOD, "more"])
    write(tmp_path / "hole", [line for line in lines if "-3\t" not in line])
    write(tmp_path / "tail", output(GOOD[:-1]))
    (tmp_path / "cut").write_text("\n".join(lines))
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin").write_bytes(b"T\xfcr\n" * 40)
    before = sorted(tmp_path.iterdir())
    options, words = BAD[name]
    assert script.main(options.split()) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("score.py: ") and printed.err.count("\n") == 1 and printed.out == ""
    assert [word for word in words if word not in printed.err] == [], printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_sacremoses_may_be_missing(script, score, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    assert score("a", "--metrics bleu")["BLEU"]["scores"]["a"] > 50
    for option in ("--compound-split", "--detokenize moses"):
        given = f"--hypotheses a --references ref --target-lang de {option}"
        assert script.main(given.split()) == 1
        assert "pip install sacremoses" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed 0", "--samples -1", "--metrics comet", "--detokenize spm"])
def test_nonsense_is_refused_with_the_usage(script, capsys, option):
    """sacreBLEU takes a seed of 0 for none: the same command would give other p-values."""
    with pytest.raises(SystemExit) as stopped:
        script.main(["--hypotheses", "a", "--references", "b", *option.split()])
    assert stopped.value.code == 2 and option.split()[0] in capsys.readouterr().err

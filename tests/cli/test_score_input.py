"""What mega-score reads: outputs and plain text; and what it refuses."""

import sys

import pytest
from sacrebleu.metrics import BLEU
from scored import GOOD, REFERENCE, output, pieces, scorer, write

from mega_fairseq.commands.score import main


@pytest.fixture
def score(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return scorer(tmp_path, capsys)


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
def test_bad_input(score, monkeypatch, capsys, tmp_path, name):
    monkeypatch.setitem(sys.modules, "comet", None)  # not installed
    (tmp_path / "dir").mkdir()
    lines = output(GOOD)
    apart = [pieces(line) for line in GOOD]
    write(tmp_path / "gen", lines)
    write(tmp_path / "pieces", apart)
    write(tmp_path / "genpieces", output(apart, detokenized=apart))
    write(tmp_path / "short", GOOD[1:])
    write(tmp_path / "long", [*GOOD, "more"])
    write(tmp_path / "hole", [line for line in lines if "-3\t" not in line])
    write(tmp_path / "tail", output(GOOD[:-1]))
    (tmp_path / "cut").write_text("\n".join(lines))
    (tmp_path / "empty").write_text("")
    (tmp_path / "latin").write_bytes(b"T\xfcr\n" * 40)
    before = sorted(tmp_path.iterdir())
    options, words = BAD[name]
    assert main(options.split()) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("mega-score: ") and printed.err.count("\n") == 1 and printed.out == ""
    assert [word for word in words if word not in printed.err] == [], printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_sacremoses_may_be_missing(score, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    assert score("a", "--metrics bleu")["BLEU"]["scores"]["a"] > 50
    for option in ("--compound-split", "--detokenize moses"):
        given = f"--hypotheses a --references ref --target-lang de {option}"
        assert main(given.split()) == 1
        assert "pip install sacremoses" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed 0", "--samples -1", "--metrics comet", "--detokenize spm"])
def test_nonsense_is_refused_with_the_usage(capsys, option):
    """sacreBLEU takes a seed of 0 for none: the same command would give other p-values."""
    with pytest.raises(SystemExit) as stopped:
        main(["--hypotheses", "a", "--references", "b", *option.split()])
    assert stopped.value.code == 2 and option.split()[0] in capsys.readouterr().err

"""mega-score: scores and paired tests are those that sacreBLEU computes itself."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import sacremoses
from forked import ROOT
from sacrebleu.metrics import BLEU, CHRF, TER
from scored import FAIR, GOOD, POOR, REFERENCE, sacrebleu, scorer, write

from mega_fairseq.commands.score import main
from mega_fairseq.evaluation import scoring


@pytest.fixture
def score(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return scorer(tmp_path, capsys)


@pytest.mark.parametrize("references", ["ref", "ref other"])
def test_scores_and_signatures_are_those_of_sacrebleus_command(score, tmp_path, references):
    ours = score("c", references=references)
    theirs = sacrebleu(tmp_path, *references.split(), "-i", "c", "-m", "bleu", "chrf", "ter", "-w", "9")
    assert [entry["name"] for entry in theirs] == list(ours) == ["BLEU", "chrF2", "TER"]
    for entry in theirs:
        found = ours[entry["name"]]
        assert found["scores"] == {"c": pytest.approx(entry["score"], abs=1e-9)}
        assert found["signature"] == entry["signature"]


def test_errors_of_characters_in_chinese(score, tmp_path):
    write(tmp_path / "zh", ["这是一座大房子"] * 3)
    write(tmp_path / "ref.zh", ["这是一座老房子"] * 3)
    ours = score("zh", "--target-lang zh", references="ref.zh")
    assert ours["TER"]["scores"]["zh"] == pytest.approx(100 / 7)  # one of seven characters
    assert "asian:yes" in ours["TER"]["signature"] and "tok:zh" in ours["BLEU"]["signature"]


def test_compounds_are_split_as_the_papers_do(score):
    assert scoring.split_compounds("a well-known x-y-z - -a b-") == (
        "a well ##AT##-##AT## known x ##AT##-##AT## y-z - -a b-"
    )
    tokenize, split = sacremoses.MosesTokenizer("de").tokenize, []
    for lines in (FAIR, REFERENCE):
        tokens = [tokenize(line, return_str=True) for line in lines]
        split.append([re.sub(r"(\S)-(\S)", r"\1 ##AT##-##AT## \2", line) for line in tokens])
    found = score("a b", "--metrics bleu --compound-split --target-lang de --test bootstrap --samples 20")
    entry = found["compound-split BLEU"]
    assert "##AT##" in "".join(split[0])
    expected = BLEU(tokenize="none").corpus_score(split[0], [split[1]]).score
    assert entry["scores"]["b"] == pytest.approx(expected)
    assert entry["scores"]["b"] != pytest.approx(found["BLEU"]["scores"]["b"], abs=0.01)
    assert "not comparable with sacreBLEU" in entry["note"] and "tok:none" in entry["signature"]
    assert 0 < entry["bootstrap"]["systems"]["b"]["p"] <= 1


def test_the_table_shows_every_number(capsys, score):
    found = score("a c", "--names base new --test both --samples 50")
    given = "--hypotheses a c --references ref --names base new --test both --samples 50 --target-lang de"
    assert main([*given.split(), "--compound-split"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    for system in ("base", "new"):
        shown = next(row for row in rows if row[:1] == [system])
        assert shown[1:4] == [f"{found[name]['scores'][system]:.1f}" for name in ("BLEU", "chrF2", "TER")]
    for test in ("bootstrap", "randomization"):
        for metric in found.values():
            assert f"p = {metric[test]['systems']['new']['p']:.4f}" in printed
            assert metric[test]["signature"] in printed and metric["signature"] in printed
    assert printed.startswith("40 sentences\n") and "p: of no difference from base" in printed
    assert "not comparable with sacreBLEU" in printed


def test_empty_sentences_have_scores(score, tmp_path):
    write(tmp_path / "empty", [""] * 40)
    found = score("empty a", "--test bootstrap --samples 10")
    assert found["BLEU"]["scores"]["empty"] == found["chrF2"]["scores"]["empty"] == 0
    assert found["TER"]["scores"]["empty"] == 100


@pytest.fixture
def fake_comet(monkeypatch):
    """A comet whose score is the number of lines where translation and reference agree."""

    class Model:
        def predict(self, data, batch_size, gpus):
            assert {tuple(triple) for triple in data} == {("src", "mt", "ref")}
            assert [triple["src"] for triple in data] == POOR and gpus in (0, 1) and batch_size > 0
            return SimpleNamespace(system_score=sum(triple["mt"] == triple["ref"] for triple in data) / 40)

    def download(name):
        if name != "wmt22":
            raise KeyError(f"Model '{name}' not supported")
        return "/cache/wmt22.ckpt"

    def load(path):
        assert path in ("/cache/wmt22.ckpt", "own.ckpt")
        return Model()

    module = SimpleNamespace(download_model=download, load_from_checkpoint=load, __version__="2.2.0")
    monkeypatch.setitem(sys.modules, "comet", module)


def test_comet(fake_comet, score, capsys, tmp_path):
    equal = sum(a == b for a, b in zip(GOOD, REFERENCE, strict=True))
    assert 0 < equal < 40
    (tmp_path / "own.ckpt").touch()
    for model in ("wmt22", "own.ckpt"):
        found = score("a ref", f"--comet {model} --sources c --metrics bleu --test bootstrap --samples 5")
        assert found["COMET"]["scores"] == {"a": equal / 40, "ref": 1.0}
        assert found["COMET"]["signature"] == f"{model}|version:2.2.0"
    given = "--hypotheses a --references ref --comet wmt23 --sources c"
    assert main(given.split()) == 1
    assert "--comet wmt23 failed (KeyError: " in capsys.readouterr().err
    assert main(given.replace("wmt23", "wmt22").split()) == 0
    assert f"{equal / 40:.4f}" in capsys.readouterr().out


def test_from_a_shell(score, tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "score.py"), "--references", "ref", "--hypotheses"]
    options = ["--test", "bootstrap", "--samples", "5"]
    done = subprocess.run([*command, "a", "b", *options], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for name, metric in {"BLEU": BLEU(), "chrF2": CHRF(), "TER": TER()}.items():
        assert name in done.stdout and f"{metric.corpus_score(GOOD, [REFERENCE]).score:.1f}" in done.stdout
    done = subprocess.run([*command, "no"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr

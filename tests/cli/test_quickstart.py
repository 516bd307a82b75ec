"""The quickstart without network and without training."""

import hashlib
import itertools
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
sys.path[:0] = [str(EXAMPLE), str(EXAMPLE.parent / "common")]

import commands  # noqa: E402
import corpus  # noqa: E402
import run  # noqa: E402
import scoring  # noqa: E402
import session  # noqa: E402
import stage  # noqa: E402
from stage import StageError  # noqa: E402


def write_wheel(path, translations):
    """A zip with `{component: {language: tree}}`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("homeassistant/components/moon/translations/sensor.de.json", "[]")
        for component, trees in translations.items():
            for language, tree in trees.items():
                name = f"homeassistant/components/{component}/translations/{language}.json"
                archive.writestr(name, json.dumps(tree, ensure_ascii=False))


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / corpus.WHEEL
    write_wheel(
        path,
        {
            "lamp": {
                "de": {
                    "title": "Lampe",
                    "config": {"step": {"user": "Bitte  {name}\nwählen"}, "only_de": "Nur"},
                },
                "en": {"title": "Lamp", "config": {"step": {"user": "Choose {name}"}, "only_en": "Only"}},
                "fr": {"title": "Lampe"},
            },
            "door": {"en": {"config": "Open"}, "de": {"config": {"step": "Öffnen"}}},
            "sun": {"en": {"title": "Sun"}},
        },
    )
    return path


@pytest.fixture
def served(tmp_path, monkeypatch):
    """What the index serves: its bytes are the expected ones, and pip writes them; `served.calls` counts."""

    class Served:
        content, stderr, status, calls = b"the wheel", "", 0, 0

    def pip(command, **options):
        Served.calls += 1
        assert command[1:4] == ["-m", "pip", "download"]
        if not Served.status:
            Path(command[-1], corpus.WHEEL).write_bytes(Served.content)
        return subprocess.CompletedProcess(command, Served.status, stderr=Served.stderr)

    requirement = tmp_path / "wheel.txt"
    requirement.write_text(f"x==1 --hash=sha256:{hashlib.sha256(Served.content).hexdigest()}\n")
    monkeypatch.setattr(corpus.expected_digest, "__defaults__", (requirement,))
    monkeypatch.setattr(corpus.subprocess, "run", pip)
    return Served


def test_pairs_match_by_key_and_component(wheel):
    assert corpus.extract(wheel, "de") == [("Lamp", "Lampe"), ("Choose {name}", "Bitte  {name}\nwählen")]


@pytest.mark.parametrize("lang", ["xx", "fr", "en", "", "../de"])
def test_unknown_language_lists_the_known(wheel, lang):
    with pytest.raises(StageError, match=r"choose a language of de$"):
        corpus.check_language(wheel, lang)


def test_clean():
    pairs = [
        (" Choose\n {name} ", "Wähle  {name}"),
        ("Same", "Same"),
        ("Empty", " \u00a0"),
        ("%", "Prozent"),
        ("Long", "a" * (corpus.MAX_CHARACTERS + 1)),
        ("Lamp", "Leuchte"),
        ("Lamp", "Lampe"),
        ("Lamp", "Lampe"),
    ]
    assert corpus.clean(pairs) == [("Choose {name}", "Wähle {name}"), ("Lamp", "Lampe")]


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.tuples(st.text(), st.text())))
def test_clean_gives_one_line_and_one_translation_a_source(pairs):
    cleaned = corpus.clean(pairs)
    assert len({source for source, _ in cleaned}) == len(cleaned)
    assert cleaned == corpus.clean(cleaned) == corpus.clean(reversed(pairs))
    for side in (side for pair in cleaned for side in pair):
        assert side and len(side.splitlines()) == 1 and side == side.strip()


@settings(deadline=None)  # other work on the machine is no failure
@given(st.text())
def test_sources_that_look_alike_stand_in_one_split(source):
    assert corpus.split_of(source) in corpus.SPLITS
    assert corpus.split_of(f" {source.lower()}! ") == corpus.split_of(source)


def test_split_files_are_disjoint_and_aligned(tmp_path):
    wheel = tmp_path / "many.whl"
    english = {f"key{i}": f"Number {i}" for i in range(1500)}
    write_wheel(wheel, {"many": {"en": english, "de": {key: f"Nummer {key}" for key in english}}})
    corpus.write_text(wheel, "de", tmp_path)
    sides = {
        lang: [corpus.read_lines(tmp_path / f"{s}.{lang}") for s in corpus.SPLITS] for lang in ("en", "de")
    }
    assert [len(lines) for lines in sides["en"]] == [len(lines) for lines in sides["de"]]
    assert sorted(itertools.chain(*sides["en"])) == sorted(english.values())
    assert 20 < len(sides["en"][1]) < 120 and 20 < len(sides["en"][2]) < 120


def test_too_little_text_is_said(wheel, tmp_path):
    with pytest.raises(StageError, match=r"only [0-2] sentences to learn de from"):
        corpus.write_text(wheel, "de", tmp_path)


def test_wheel_is_downloaded_once(served, tmp_path):
    for _ in range(2):
        assert corpus.fetch_wheel(tmp_path / "wheel").read_bytes() == served.content
    assert served.calls == 1


def test_damaged_wheel_is_downloaded_again(served, tmp_path, capsys):
    damaged = tmp_path / "wheel" / corpus.WHEEL
    damaged.parent.mkdir()
    damaged.write_bytes(served.content[:4])
    assert corpus.fetch_wheel(damaged.parent).read_bytes() == served.content
    assert "damaged" in capsys.readouterr().out


def test_wheel_with_another_hash_is_refused(served, tmp_path):
    served.content = b"something else"
    with pytest.raises(StageError, match="hash"):
        corpus.fetch_wheel(tmp_path / "wheel")


def test_without_network_one_sentence_and_status_1(served, tmp_path, monkeypatch, capsys):
    served.status, served.stderr = 1, "WARNING: Retrying\nERROR: No matching distribution found\n"
    monkeypatch.setattr(run, "WORK", tmp_path)
    monkeypatch.setattr(session, "WORK", tmp_path)
    assert session.main(run.quickstart, run.parse([])) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "check the network" in error
    assert (tmp_path / "wheel" / "pip.log").read_text() == served.stderr


def test_hash_in_the_requirement():
    assert len(corpus.expected_digest(corpus.REQUIREMENT)) == 64


class Maker:
    """A stage's `make` that counts and writes."""

    def __init__(self, content="text"):
        self.content, self.calls = content, 0

    def __call__(self, directory):
        self.calls += 1
        (directory / "file").write_text(self.content)


def test_stage_runs_once(tmp_path):
    make = Maker()
    files = [stage.ensure("stage", tmp_path / "out", {"a": 1}, make) for _ in range(3)]
    assert make.calls == 1
    assert files[0] == files[2] == {"file": hashlib.sha256(b"text").hexdigest()}


DAMAGE = {"file": "tex", stage.STAMP: '{"settings": "', "another file": ""}


@pytest.mark.parametrize("name", [*DAMAGE, "gone"])
def test_stage_runs_again_when_not_whole(tmp_path, name):
    make, out = Maker(), tmp_path / "out"
    stage.ensure("stage", out, 1, make)
    if name == "gone":
        (out / "file").unlink()
    else:
        (out / name).write_text(DAMAGE[name])
    stage.ensure("stage", out, 1, make)
    assert make.calls == 2 and sorted(path.name for path in out.iterdir()) == ["file", stage.STAMP]


def test_files_of_others_are_not_deleted(tmp_path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(StageError, match="holds other files"):
        stage.ensure("stage", tmp_path, 1, Maker())
    assert (tmp_path / "mine").read_text() == "precious"


def test_stage_runs_again_for_other_settings_and_after_a_failure(tmp_path):
    make, out = Maker(), tmp_path / "out"

    def fail(directory):
        make(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.ensure("stage", out, 1, fail)
    for chosen in (1, 2):
        stage.ensure("stage", out, chosen, make)
    assert make.calls == 3


def test_failing_command_is_told_with_its_last_line(tmp_path, capsys):
    line = '| valid | {"valid_num_updates": "100", "valid_ppl": "12.5"}'
    script = f"import sys; print({line!r}); sys.exit('broken')"
    with pytest.raises(StageError, match=r"status 1.*broken"):
        commands.train([sys.executable, "-c", script], tmp_path / "train.log")
    assert "100 updates   valid perplexity    12.50" in capsys.readouterr().out
    with pytest.raises(StageError, match=r"status 1.*broken"):
        commands.run([sys.executable, "-c", script], tmp_path / "run.log")


def test_interrupted_training_does_not_go_on_unseen(tmp_path, monkeypatch):
    """The trainer would write its file half a second after the interrupt that its first validation raises."""

    def interrupt(text=""):
        if "valid perplexity" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(commands, "say", interrupt)
    line = '| valid | {"valid_num_updates": "100", "valid_ppl": "12.5"}'
    script = f"import sys, time; print({line!r}, flush=True); time.sleep(0.5); open(sys.argv[1], 'w')"
    with pytest.raises(KeyboardInterrupt):
        commands.train([sys.executable, "-c", script, str(tmp_path / "alive")], tmp_path / "train.log")
    time.sleep(0.7)
    assert not (tmp_path / "alive").exists()


def test_threads_wait_quietly_unless_the_user_chose(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    environment = commands.environment()
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("PASSIVE", "7")


GENERATED = (
    "S-1\tb\nH-1\t-0.5\tB\nS-0\ta\nH-0\t-0.1\t\nS-2\tc\nH-2\t-0.2\tC\u2028c\nGenerate test with beam=5\n"
)


def test_hypotheses_in_input_order(tmp_path):
    output = tmp_path / "generate.txt"
    output.write_text(GENERATED, encoding="utf-8")
    assert scoring.hypotheses(output, 3) == ["", "B", "C\u2028c"]


@pytest.mark.parametrize("count", [2, 4])
def test_lost_or_surplus_sentence_is_an_error(tmp_path, count):
    output = tmp_path / "generate.txt"
    output.write_text(GENERATED, encoding="utf-8")
    with pytest.raises(StageError, match="translations of 3 sentences"):
        scoring.hypotheses(output, count)


def test_bleu_has_a_signature():
    lines = ["Die Lampe ist jetzt an .", "Das Haus ist sehr alt ."]
    score, signature = scoring.bleu(lines, lines, "de")
    assert score == "100.0" and "version:" in signature


def test_samples_are_the_same_every_time():
    sources = [f"sentence number {i}" for i in range(50)] + ["short"] * 50
    chosen = scoring.samples(sources, list(range(100)))
    assert len(chosen) == 10 and chosen == scoring.samples(sources, list(range(100)))
    assert all(source == f"sentence number {i}" for source, i in chosen)
    assert scoring.samples(["short"]) == []

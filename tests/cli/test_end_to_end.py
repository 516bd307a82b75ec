"""Train, resume, generate with fairseq's search options, and the hub, through fairseq's own commands."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece

from mega_fairseq.models import MegaNMT

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]


def sentence(i, words):
    return " ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 1 + words))


PAIRS = [(sentence(i, 1 + i % 7), sentence(i + 1, 3)) for i in range(60)]
SIZES = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SIZES += ["--encoder-z-dim", "8", "--encoder-n-dim", "2", "--encoder-layers", "1"]


def run(module, *arguments, stdin=None):
    command = [sys.executable, "-m", f"fairseq_cli.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def train(data, folder, updates, *extra):
    common = ["--user-dir", "mega_fairseq", "--arch", "mega_nmt_tiny", *SIZES, "--optimizer", "adam"]
    limits = ["--lr", "3e-3", "--max-tokens", "200", "--max-update", updates, "--save-dir", folder]
    quiet = ["--no-progress-bar", "--num-workers", "0", "--no-epoch-checkpoints", "--log-interval", "1"]
    return run("train", data, *common, *limits, *quiet, *extra)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nmt")
    for split in ("train", "valid", "test"):
        for side, lang in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in PAIRS)
            (folder / f"{split}.{lang}").write_text(text)
    splits = [f"--{s}pref={folder / s}" for s in ("train", "valid", "test")]
    run("preprocess", "-s", "en", "-t", "de", *splits, "--joined-dictionary", "--destdir", folder / "bin")
    train(folder / "bin", folder / "a", 6)
    resumed = train(folder / "bin", folder / "a", 12)
    assert "Loaded checkpoint" in resumed and re.search(r"num_updates:? 6|@ 6 updates", resumed)
    train(folder / "bin", folder / "b", 6, "--seed", "2")
    return folder


def generate(trained, *options):
    model = trained / "a" / "checkpoint_last.pt"
    common = ["--user-dir", "mega_fairseq", "--path", model, "--no-progress-bar", "--max-len-b", "12"]
    return run("generate", trained / "bin", *common, *options)


def lines(output, letter):
    """[(sentence number, fields)] of the output lines that begin with `letter`."""
    found = re.findall(rf"^{letter}-(\d+)\t(.*)$", output, re.M)
    return [(int(number), rest.split("\t")) for number, rest in found]


def hypotheses(output):
    return {(number, i): fields for i, (number, fields) in enumerate(lines(output, "H"))}


def test_generate_in_float16(trained):
    whole, half = (dict(lines(generate(trained, *options), "H")) for options in ([], ["--fp16"]))
    assert half.keys() == whole.keys()
    for number, (score, _) in half.items():
        assert float(score) == pytest.approx(float(whole[number][0]), abs=0.02)


@pytest.mark.parametrize(
    ("options", "count"),
    [("--beam 3 --nbest 3", 180), ("--beam 2 --remove-bpe sentencepiece --batch-size 7", 60)],
)
def test_beam_search_loses_no_sentence(trained, options, count):
    output = generate(trained, *options.split())
    assert sorted(number for number, _ in lines(output, "H")) == sorted(list(range(60)) * (count // 60))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--sampling-topk 5", "--sampling-topp 0.8"])
def test_samples_follow_from_the_seed(trained, option):
    options = ["--beam", "1", "--sampling", "--temperature", "1.3", *option.split()]
    first, again, other = (hypotheses(generate(trained, *options, "--seed", s)) for s in ("3", "3", "4"))
    assert first == again
    assert first != other
    assert len(first) == 60


def test_prefixes_are_kept(trained):
    output = generate(trained, "--beam", "2", "--prefix-size", "2")
    translations, references = dict(lines(output, "H")), dict(lines(output, "T"))
    assert len(translations) == 60
    for number, (_, text) in translations.items():
        assert text.split()[:2] == references[number][0].split()[:2]


def test_references_are_scored(trained):
    output = generate(trained, "--score-reference")
    scored, references = dict(lines(output, "H")), dict(lines(output, "T"))
    assert {n: text for n, (_, text) in scored.items()} == {n: text for n, (text,) in references.items()}
    per_word = {n: [float(p) for p in fields[0].split()] for n, fields in lines(output, "P")}
    for number, (score, _) in scored.items():
        assert float(score) == pytest.approx(sum(per_word[number]) / len(per_word[number]), abs=2e-4)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_alignments_point_into_the_source(trained, kind):
    options = ["--beam", "2", "--print-alignment", kind, "--max-tokens", "200"]
    left, right = (generate(trained, *options, *side) for side in ([], ["--left-pad-source"]))  # turns it off
    assert dict(lines(left, "A")) == dict(lines(right, "A"))  # whatever the padding
    sources, aligned = dict(lines(left, "S")), dict(lines(left, "A"))
    assert len(aligned) == 60
    for number, (text,) in aligned.items():
        words = len(sources[number][0].split()) + 1  # and the end of the sentence
        if kind == "hard":
            assert all(int(pair.split("-")[0]) < words for pair in text.split())
        else:
            for row in text.split():
                weights = [float(w) for w in row.split(",")]
                assert len(weights) == words
                assert sum(weights) == pytest.approx(1.0, abs=0.01)


def test_diverse_beams(trained):
    options = ["--beam", "4", "--nbest", "4", "--diverse-beam-groups", "4", "--diverse-beam-strength", "2"]
    many, few = (lines(generate(trained, *options, "--batch-size", size), "H") for size in ("32", "7"))
    assert sorted((n, text) for n, (_, text) in many) == sorted((n, text) for n, (_, text) in few)
    first_words = {n: {f[1].split()[0] for m, f in many if m == n and f[1]} for n, _ in many}
    assert len(first_words) == 60
    assert sum(len(words) >= 3 for words in first_words.values()) > 50


@pytest.mark.parametrize("table", [True, False])
def test_unknown_words_are_replaced(trained, tmp_path, table):
    for lang, text in (("en", "red zebra runs\nlemur\n"), ("de", "blue x y\nz\n")):
        (tmp_path / f"test.en-de.{lang}").write_text(text)
        (tmp_path / f"dict.{lang}.txt").write_text((trained / "bin" / f"dict.{lang}.txt").read_text())
    (tmp_path / "table").write_text("zebra ZEBRA\n\nlemur LEMUR\n")
    model = trained / "a" / "checkpoint_last.pt"
    options = ["--path", model, "--dataset-impl", "raw", "--unkpen", "-100", "--max-len-b", "5"]
    replace = ["--replace-unk", *([tmp_path / "table"] if table else [])]
    output = run("generate", tmp_path, "--user-dir", "mega_fairseq", *options, *replace)
    found = dict(lines(output, "H"))
    assert sorted(found) == [0, 1]
    assert "<unk>" not in "".join(text for _, text in found.values())
    words = {"LEMUR", "<eos>"} if table else {"lemur", "<eos>"}
    assert set(found[1][1].split()) <= words


def test_ensemble(trained):
    paths = f"{trained / 'a' / 'checkpoint_last.pt'}:{trained / 'b' / 'checkpoint_last.pt'}"
    output = run("generate", trained / "bin", "--user-dir", "mega_fairseq", "--path", paths, "--beam", "2")
    assert len(re.findall(r"^H-\d+\t", output, re.M)) == 60


def test_interactive_answers_every_line_and_obeys_constraints(trained):
    model = trained / "a" / "checkpoint_last.pt"
    common = ["--user-dir", "mega_fairseq", "--path", model, "-s", "en", "-t", "de", "--beam", "3"]
    lines = "red dog\n\nunknown words here\n" + "big " * 300 + "\n"
    output = run("interactive", trained / "bin", *common, stdin=lines)
    assert len(re.findall(r"^H-\d+\t", output, re.M)) == 4
    output = run("interactive", trained / "bin", *common, "--constraints", stdin="red dog\ttree\n")
    assert "tree" in re.search(r"^H-0\t[^\t]*\t(.*)$", output, re.M).group(1)


def test_batches_do_not_change_translations(trained):
    def best(*options):
        found = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", generate(trained, "--beam", "3", *options), re.M)
        return {number: (round(float(score), 3), text) for number, score, text in found}

    assert best("--batch-size", "1") == best("--batch-size", "32")


@pytest.fixture
def marked(trained, tmp_path):
    """Dictionaries of sentencepiece's words, and the model that makes them."""
    for lang in ("en", "de"):
        words = (trained / "bin" / f"dict.{lang}.txt").read_text().splitlines()
        (tmp_path / f"dict.{lang}.txt").write_text("".join(f"\u2581{line}\n" for line in words))
    spm = tmp_path / "spm"
    text = [side for pair in PAIRS for side in pair]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_prefix=str(spm), model_type="word", vocab_size=15, minloglevel=2
    )
    return tmp_path, f"{spm}.model"


def test_hub(trained, marked):
    folder, spm = marked
    where = [str(trained / "a"), "checkpoint_last.pt"]
    plain = MegaNMT.from_pretrained(*where, str(trained / "bin"))
    pieces = MegaNMT.from_pretrained(
        *where, str(folder), source_lang="en", target_lang="de", bpe="sentencepiece", sentencepiece_model=spm
    )
    texts = ["red dog", "big tree sees"]
    translations = plain.translate(texts, beam=5)
    assert len(translations) == 2
    assert pieces.translate(texts, beam=5) == translations
    assert len(plain.sample(texts, beam=1, sampling=True, sampling_topk=3)) == 2
    scores = {n: float(f[0]) for n, f in lines(generate(trained, "--score-reference"), "H")}
    for hub in (plain, pieces):
        scored = hub.score([source for source, _ in PAIRS], [target for _, target in PAIRS])
        assert [float(s["score"]) / math.log(2) for s in scored] == pytest.approx(
            [scores[n] for n in range(len(PAIRS))], abs=2e-4
        )
    with pytest.raises(ValueError, match="2 sentences and 1 targets"):
        plain.score(texts, ["red"])

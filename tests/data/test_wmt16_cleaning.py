"""No step of examples/wmt16 loses or misaligns a line, whatever characters it has."""

import sys
import tempfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "examples" / "common"), str(ROOT / "examples" / "wmt16")]

import cleaning  # noqa: E402
import corpora  # noqa: E402
import lines  # noqa: E402
import subwords  # noqa: E402
from stage import StageError  # noqa: E402

ODD = "\r\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\ufeff\xad\u2581\x00 "
LINE = st.text(
    st.sampled_from(ODD + "aäß.,'\"&<>-@|[%1") | st.characters(exclude_characters="\n", codec="utf-8")
)
LINES = st.lists(LINE, max_size=12)


def written(folder, name, sentences):
    path = folder / name
    path.write_bytes("".join(f"{line}\n" for line in sentences).encode())
    return path


@pytest.fixture(scope="module")
def models():
    """A model of each kind of subwords."""
    text = [f"das alte Haus {number} ist groß , sagt er &amp; geht @-@ ." for number in range(60)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = written(folder, "text", text)
        for kind in subwords.KINDS.values():
            kind.learn([file], 60, folder / kind.model)
        yield {kind: (kind.encode, folder / kind.model) for kind in subwords.KINDS.values()}


@given(LINES)
def test_files_keep_their_lines(sentences):
    with tempfile.TemporaryDirectory() as name:
        assert list(lines.read(written(Path(name), "text", sentences))) == sentences


@given(LINES)
def test_a_last_line_without_an_end_counts(sentences):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "text"
        path.write_bytes("\n".join([*sentences, "last"]).encode())
        assert list(lines.read(path)) == [*sentences, "last"]


@settings(max_examples=60, deadline=None)
@given(LINES, st.sampled_from(["en", "de"]), st.sampled_from([cleaning.normalise, cleaning.tokenise]))
def test_every_line_becomes_words_that_any_reader_sees_alike(sentences, lang, work):
    made = work(lang, sentences)
    assert len(made) == len(sentences)
    for line in made:
        assert line == " ".join(line.split())
        assert len(line.splitlines()) <= 1 and not {"Cc", "Cf"} & set(map(unicodedata.category, line))
    assert work(lang, sentences) == made


@settings(max_examples=40, deadline=None)
@given(sentences=LINES)
def test_subwords_keep_lines(models, sentences):
    for kind, (encode, model) in models.items():
        plain = kind.prepare("de", sentences)
        made = encode(model, plain)
        assert len(made) == len(plain)
        for line, text in zip(made, plain, strict=True):
            assert line == " ".join(line.split())
            if kind.model == "codes":
                assert f"{line} ".replace("@@ ", "").strip() == text or "@@" in text
            else:
                whole = line.replace(" ", "").replace("\u2581", " ")
                assert whole.split() == text.replace("\u2581", " ").split()


@settings(max_examples=20, deadline=None)
@given(LINES)
def test_work_in_a_pool_keeps_the_order(sentences):
    many = sentences * 700  # several blocks
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        source, target = written(Path(name), "source", many), Path(name) / "target"
        counts = lines.transform(upper, source, target, pool)
        assert list(lines.read(target)) == upper(many)
        assert counts == (len(many), sum(len(line.split()) for line in upper(many)))


def upper(sentences):
    return [line.upper() for line in sentences]


@given(LINES, LINES)
def test_pairs_are_lines_of_equal_number_or_an_error(one, other):
    with tempfile.TemporaryDirectory() as name:
        files = written(Path(name), "a.en", one), written(Path(name), "a.de", other)
        if len(one) == len(other):
            assert list(lines.pairs(files)) == list(zip(one, other, strict=True))
        else:
            with pytest.raises(StageError, match=f"a.en has {len(one)} lines and .*a.de has {len(other)}:"):
                list(lines.pairs(files))


@given(st.lists(LINE.filter(lambda line: "<" not in line and "&" not in line), min_size=1, max_size=9))
def test_segments_keep_their_order(sentences):
    content = "".join(f"<doc>\n<seg id='1'> {line} \n</seg></doc>\r\n" for line in sentences)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "set.sgm"
        path.write_bytes(content.encode())
        assert corpora.segments(path) == [("1 of ?", line.strip()) for line in sentences]


def test_segments_resolve_entities_and_are_one_line_each(tmp_path):
    path = tmp_path / "set.sgm"
    path.write_text(
        '<SEG id="1">A &amp; B&#10;C &quot;D&quot;</SEG>\n<doc sysid="x" docid="a b"><seg id="2"></seg>'
        "<Doc docid=c><seg\nid='3' x=y></seg><seg>E\r\n F</seg>"
    )
    assert corpora.segments(path) == [
        ("1 of ?", 'A & B C "D"'),
        ("2 of a b", ""),
        ("3 of c", ""),
        ("? of c", "E F"),
    ]
    path.write_text("<doc></doc>")
    with pytest.raises(StageError, match=r"set.sgm has no segments"):
        corpora.segments(path)


@pytest.mark.parametrize(
    ("source", "target", "kept"),
    [
        (3, 3, True),
        (2, 3, False),
        (3, 2, False),
        (4, 6, True),
        (4, 7, False),
        (7, 4, False),
        (150, 100, True),
        (151, 150, False),
        (120, 151, False),
        (0, 0, False),
    ],
)
def test_pairs_worth_training(source, target, kept):
    assert cleaning.worth_training("a " * source, "b " * target) is kept


def test_bytes_that_are_no_utf8_are_named(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"good\r\nfine\nb\xe4d\n")
    with pytest.raises(StageError, match=r"text, line 3 is not UTF-8 \(.* at byte 1\)"):
        list(lines.read(path))


def test_text_as_moses_cuts_it():
    assert cleaning.normalise("en", ["A\u2028B \u201cquote\u201d 1\xa0000 x\u00ady"]) == [
        'A B "quote" 1.000 xy'
    ]
    assert cleaning.normalise("de", ["\ufeffa\x85b\rc\x0b d\x00e\t\xa0 "]) == ["a b c de"]
    assert cleaning.tokenise("de", ["Ein Ost-West-Haus & 3,5 „x“."]) == [
        "Ein Ost @-@ West @-@ Haus &amp; 3,5 &quot; x &quot; ."
    ]

"""Outputs of fairseq-generate are read back whole and in order, or refused."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mega_fairseq.evaluation.generated import (
    GeneratedError,
    is_generated,
    read_generated,
    read_text,
    split_lines,
)

ODD = [
    "\r",
    "\t",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\0",
    " ",
    "H-1\t-0.5\t",
    "@@ ",
    "\u2581",
    "é",
]
LINE = st.lists(
    st.one_of(st.sampled_from(ODD), st.text(st.characters(blacklist_characters="\n", codec="utf-8")))
)
LINES = st.lists(LINE.map("".join), min_size=1, max_size=8)
LOG = "2024-05-06 07:08:09 | INFO | fairseq_cli.generate | H-0\t-0.1\tno hypothesis\n"
END = "Generate test with beam=5: BLEU4 = 0.77, 4.9/1.3/0.4/0.1 (BP=1.000, ratio=3.531)\n"


def block(number, source, texts):
    """What fairseq prints for a sentence: texts are its hypotheses, the best one first."""
    lines = [f"S-{number}\t{source}", f"T-{number}\treference of {source}"]
    for rank, text in enumerate(texts):
        score = -0.125 - rank
        lines += [
            f"H-{number}\t{score}\t{text}",
            f"D-{number}\t{score}\tplain {text}",
            f"P-{number}\t-0.5 -0.1",
        ]
    return "".join(f"{line}\n" for line in lines)


def write(path, text):
    path.write_bytes(text.encode())
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("generated") / "generate.txt"


@given(texts=LINES, nbest=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_every_sentence_comes_back_in_order(path, texts, nbest, seed):
    blocks = [block(i, f"source {t}", [t, *["worse"] * (nbest - 1)]) for i, t in enumerate(texts)]
    random.Random(seed).shuffle(blocks)
    write(path, LOG + "".join(blocks) + LOG + END)
    found = read_generated(path, len(texts))
    assert found.hypotheses == texts
    assert found.detokenized == [f"plain {text}" for text in texts]
    assert found.sources == [f"source {text}" for text in texts]
    assert found.references == [f"reference of source {text}" for text in texts]
    assert is_generated(read_text(path))


@given(texts=LINES, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_hypotheses_alone_in_any_order_are_enough(path, texts, seed):
    draw = random.Random(seed)
    lines = []
    for i, text in enumerate(texts):
        hypotheses = [f"H-{i}\t-9.5\tbad\n", f"H-{i}\t-1.5\t{text}\n"]
        draw.shuffle(hypotheses)
        lines.append("".join(hypotheses))
    draw.shuffle(lines)
    write(path, "".join(lines))
    found = read_generated(path)
    assert found.hypotheses == texts and found.sources == found.references == found.detokenized == []


def test_the_first_of_equal_hypotheses_is_the_best(path):
    assert read_generated(write(path, "H-0\t-inf\ta\nH-0\t-inf\tb\nH-1\tnan\tc\nH-1\t-1\td\n")) == (
        [],
        [],
        ["a", "c"],
        [],
    )


def test_an_output_cut_anywhere_is_refused_or_complete(path):
    texts = ["zwölf", "", "drei \u2028 vier"]
    order = [1, 2, 0]
    content = "".join(block(i, f"source {i}", [texts[i]]) for i in order).encode()
    last = content.index(b"P-0")  # from here on nothing that is read is missing
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        if cut >= last and content[cut - 1 : cut] == b"\n":
            assert read_generated(path, 3).hypotheses == texts
        else:
            with pytest.raises(GeneratedError, match=r"generate\.txt"):
                read_generated(path, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no hypotheses"),
        (LOG, "no hypotheses"),
        ("S-0\ta\n", "no hypotheses"),
        ("H-0\t-0.5\ta", "cut short: its last line has no end"),
        ("H-0\t-0.5\ta\nH-1\t-0.5\n", "line 2 is no whole hypothesis"),
        ("H-0\tword\ta\n", "line 1 is no whole hypothesis"),
        ("H-0\t1.2.3\ta\n", "line 1 is no whole hypothesis"),
        ("H-0\t-0.5\ta\n", "translations of 1 sentences where 2 are .* missing is number 1"),
        (
            "H-0\t-0.5\ta\nH-1\t-0.5\tb\nH-2\t-0.5\tc\n",
            "translations of 3 sentences, the last one number 2, where 2 are",
        ),
        (
            "H-0\t-0.5\ta\nH-999999999\t-0.5\tb\n",
            "of 2 sentences, the last one number 999999999, where 2 are",
        ),
        ("S-0\ta\nH-0\t-0.5\ta\nS-1\tb\n", "translations of 1 sentences where 2"),
        ("H-0\t-0.5\ta\nD-0\t-0.5\ta\nH-1\t-0.5\tb\n", "detokenized translations of 1 sentences"),
        ("S-0\ta\nH-0\t-0.5\ta\nS-0\tb\nH-0\t-0.5\tb\n", "line 3 is a second S-0"),
        ("H-0\t-0.5\ta\nH-1\t-1\tb\nH-0\t-0.5\tb\nH-1\t-1\ta\n", "line 3 is a second H-0: .* several"),
        ("D-1\t-1\tb\nH-0\t-1\ta\nH-1\t-1\tb\nD-0\t-1\ta\nD-1\t-1\tb\n", "line 5 is a second D-1"),
    ],
)
def test_what_is_not_whole_is_refused(path, text, words):
    with pytest.raises(GeneratedError, match=words) as error:
        read_generated(write(path, text), 2)
    assert str(path) in str(error.value)


def test_a_hole_needs_no_count(path):
    write(path, "H-0\t-0.5\ta\nH-2\t-0.5\tc\n")
    with pytest.raises(
        GeneratedError, match=r"translations of 2 sentences where 3 are .* missing is number 1"
    ):
        read_generated(path)
    with pytest.raises(GeneratedError, match="cut short"):
        read_generated(write(path, "H-0\t-0.5\ta"))


def test_other_encodings_are_named(path):
    path.write_bytes(b"H-0\t-0.5\tgr\xfcn\n")
    with pytest.raises(GeneratedError, match=r"at byte 11 \(b'\\xfcn"):
        read_generated(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOG * 20 + block(0, "a", ["b"]), True),
        ("H-0\t-1.5e-05\tA\nH-1\t-3\t\n", True),
        ("", False),
        ("H-\n", False),
        ("H-1 is a visa\nH-2\tis another\nI-9\tis a form\n", False),
        ("H-0\t-0.5\tquoted\nHello\nworld\n", False),
        ("S-0\tno\nT-0\thypotheses\n", False),
    ],
)
def test_plain_text_is_told_from_output(text, expected):
    assert is_generated(text) is expected


@given(LINES)
def test_only_a_line_feed_ends_a_line(lines):
    assert split_lines("".join(f"{line}\n" for line in lines)) == lines
    assert split_lines("\n".join(lines) + "x") == [*lines[:-1], f"{lines[-1]}x"]

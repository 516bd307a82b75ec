"""Texts in odd encodings and shapes: to fairseq-interactive and fairseq-preprocess."""

from malformed import Row

LINES = {
    "NUL bytes": (b"red\0dog\nblue\n\0\n", 3),
    "empty lines": (b"\nred\n\n\n", 4),
    "white space": (b"  \t \nred\n \n\x0c\n\xc2\xa0\n\xe2\x80\xa8\n", 6),
    "carriage returns": (b"red\r\nblue\rdog\n", 2),
    "next lines": ("red\x85blue\n\x85\n\u2028 dog\u2029\n".encode(), 3),
    "byte order mark": (b"\xef\xbb\xbfred\nblue\n", 2),
    "separators": (b"red\x1cblue\x1d\x1e\x0b\n\x1b[0m\n", 2),
    "a long word": (b"a" * 100_000 + b"\nred\n", 2),
    "nothing": (b"", 0),
    "no end of line": (b"red\nblue", 2),
}
NOT_UTF8 = {
    "invalid UTF-8": (b"red\n\xff\xfe dog\nblue\n", 3, "line 2, byte 1"),
    "latin-1": ("Tür rot\nblau\n".encode("latin-1"), 2, "line 1, byte 2"),
    "UTF-16": ("red\nblue\n".encode("utf-16"), 3, "line 1, byte 1"),
    "gzip": (b"\x1f\x8b\x08\0\0\0\n", 1, "line 1, byte 2"),
    "surrogates": (b"red\n\xed\xa0\x80\n", 2, "line 2, byte 1"),
}


def texts(source, target=None):
    def write(here):
        (here / "text.en").write_bytes(source)
        (here / "text.de").write_bytes(source if target is None else target)

    return write


TRANSLATED = [Row("interactive", "", count, None, name, text) for name, (text, count) in LINES.items()]
TRANSLATED += [Row("interactive", "", count, None, name, text) for name, (text, count, _) in NOT_UTF8.items()]
CONTINUED = [
    Row("interactive-lm", "", LINES[name][1], None, name, LINES[name][0])
    for name in ("NUL bytes", "empty lines", "white space", "carriage returns", "next lines")
]
GIVEN = "--testpref {here}/text"
PREPARED = [
    Row("preprocess", GIVEN, count, texts(text), name) for name, (text, count) in LINES.items() if count
]
PREPARED += [
    Row("preprocess", GIVEN, ["--testpref", "{here}/text.en", "UTF-8", where, "iconv"], texts(text), name)
    for name, (text, _, where) in NOT_UTF8.items()
]
ROTTEN = b"red\rdog\nblue\n" * 50 + b"\n"
PREPARED += [
    Row("preprocess", f"{GIVEN} --workers 3", 101, texts(ROTTEN), "carriage returns, 3 workers"),
    Row(
        *("preprocess", GIVEN, ["--testpref", "{here}/text.en has 2", "{here}/text.de has 1", "give texts"]),
        texts(b"red\nblue\n", b"red\n"),
        "fewer targets",
    ),
]
FLAGS = [
    ("--workers 0", ["--workers", "at least 1", "got 0"]),
    ("--testpref /no/text", ["--testpref", "/no/text.en", "there is no file"]),
    ("-s fr", ["{here}/text.fr", "check the prefix, --source-lang"]),
    ("--srcdict /no/dict", ["/no/dict", "there is no dictionary", "--srcdict"]),
    ("--srcdict {here}/text.en", ["{here}/text.en", "a word, a space and its count"]),
    ("--destdir {here}/text.en", ["--destdir", "{here}/text.en", "choose another"]),
    ("--dataset-impl foo", ["--dataset-impl", "'foo'", "'mmap'"]),
]
PREPARED += [Row("preprocess", f"{GIVEN} {flag}", says, texts(b"red\n")) for flag, says in FLAGS]
ROWS = TRANSLATED + CONTINUED + PREPARED

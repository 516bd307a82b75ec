"""Data folders, dictionaries, indexed data and checkpoints that are absent, damaged or of another kind."""

import shutil
import struct

from malformed import Row, edit, remove

AGAIN = "run fairseq-preprocess again"
FORM = "a word, a space and its count"


def no_folder(here):
    shutil.rmtree(here / "data")


def empty_folder(here):
    no_folder(here)
    (here / "data").mkdir()


def file_for_a_folder(here):
    no_folder(here)
    (here / "data").write_text("hello\n")


def folder_for_a_dictionary(here):
    (here / "data" / "dict.en.txt").unlink()
    (here / "data" / "dict.en.txt").mkdir()


def fewer_sources(here):
    for split in ("train", "valid", "test"):
        file = here / "data" / f"{split}.en-de.en.idx"
        header, rest = file.read_bytes()[:26], file.read_bytes()[26:]
        count = struct.unpack("<Q", header[18:])[0]
        sizes, starts = rest[: 4 * count], rest[4 * count :]
        file.write_bytes(header[:18] + struct.pack("<Q", count - 1) + sizes[:-4] + starts[:-8])


def checkpoint(change):
    def apply(here):
        path = here / "given.pt"
        path.write_bytes(change(path.read_bytes()))

    return apply


def folder_for_a_checkpoint(here):
    (here / "given.pt").unlink()
    (here / "given.pt").mkdir()


def damaged(extension, change, *words):
    says = [f"{{data}}/valid.en-de.en.{extension}", *words]
    return Row("train", "", says, edit(f"valid.en-de.en.{extension}", change), f"{extension} {words[0]}")


def dictionary(name, change, *words):
    says = ["{data}/dict.en.txt", *words]
    return Row("train", "", says, edit("dict.en.txt", change), f"dictionary with {name}")


DATA = [
    damaged("idx", lambda b: b"XXXX" + b[4:], "is no index", "begins with b'XXXX", AGAIN),
    damaged("idx", lambda b: b[:40], "40 bytes", "is damaged", AGAIN),
    damaged("idx", lambda b: b[:12], "12 bytes", "is damaged", AGAIN),
    damaged("idx", lambda b: b"", "b''", "is no index", AGAIN),
    damaged("idx", lambda b: b[:9] + b"\7" + b[10:], "version 7", "is damaged", AGAIN),
    damaged("idx", lambda b: b[:17] + b"\x63" + b[18:], "type 99", "is damaged", AGAIN),
    damaged("idx", lambda b: b[:18] + struct.pack("<Q", 1 << 60) + b[26:], "is damaged", "386", AGAIN),
    damaged("bin", lambda b: b[:20], "20 bytes", "is damaged", "tells of 270", AGAIN),
    damaged("bin", lambda b: b[:-1], "269 bytes", "is damaged", "tells of 270", AGAIN),
    damaged("bin", lambda b: b"", "has no sentences", "--trainpref"),
    damaged("bin", lambda b: b"\xff\x7f" + b[2:], "word number 32767", "16 words", "dict.*.txt", AGAIN),
    Row(
        "generate", "", ["{data}/test.en-de.de.bin", "20 bytes", AGAIN], edit("test*de.bin", lambda b: b[:20])
    ),
    Row(
        "validate",
        "",
        ["{data}/valid.en-de.en.idx", "40 bytes", AGAIN],
        edit("valid*en.idx", lambda b: b[:40]),
    ),
    Row("train", "", ["'valid'", "{data}", "only one of .idx and .bin"], remove("valid*.bin"), "no .bin"),
    Row("train", "", ["'valid'", "{data}", "--valid-subset", "--validpref"], remove("valid*"), "no valid"),
    Row("generate", "", ["'test'", "{data}", "--gen-subset", "--testpref"], remove("test*"), "no test"),
    Row("train", "", ["'valid'", "{data}", "no de side", "both texts"], remove("*.de.idx"), "no target"),
    Row("generate", "", 30, remove("*.de.idx"), "no target"),
    Row("train", "", ["'valid'", "{data}", "same number", AGAIN], fewer_sources, "fewer sources"),
    Row("generate", "", ["'test'", "{data}", "same number", AGAIN], fewer_sources, "fewer sources"),
    *(
        Row(command, "", ["data folder", "{data}", "pass the --destdir"], change, change.__name__)
        for command in ("train", "generate")
        for change in (no_folder, file_for_a_folder)
    ),
    Row("train", "", ["train.en-de.en.idx", "{data}", "--source-lang"], empty_folder, "empty folder"),
    Row("generate", "", ["{data}/dict.de.txt", "--target-lang"], remove("dict.de.txt"), "no dictionary"),
    Row("train", "", ["{data}/dict.en.txt", "directory"], folder_for_a_dictionary, "folder for a dictionary"),
    dictionary("a line of one word", lambda b: b"broken\n" + b, "broken", FORM),
    dictionary("a count below 0", lambda b: b"word -3\n" + b, "'word'", "below 0", FORM),
    dictionary("a word twice", lambda b: b + b"cat 1\n", "'cat'", "Duplicate", FORM),
    dictionary("no words", lambda b: b"", "has no words", FORM),
    dictionary("latin-1", lambda b: "Tür 3\n".encode("latin-1") + b, "encoding", "UTF-8", FORM),
    dictionary("NUL bytes", lambda b: bytes(20), r"\x00", FORM),
    Row("generate", "", 30, edit("dict.*.txt", lambda b: b.replace(b"\n", b"\r\n")), "dictionary with CRLF"),
    Row("train-lm", "", ["{data}/valid.bin", "20 bytes", AGAIN], edit("valid.bin", lambda b: b[:20])),
    Row("eval-lm", "", ["{data}/test.idx", "40 bytes", AGAIN], edit("test.idx", lambda b: b[:40])),
    Row(
        "eval-lm",
        "",
        ["{model}", "16 words", "has 17", "--srcdict"],
        edit("dict.txt", lambda b: b + b"x 1\n"),
    ),
    Row(
        *("train-lm", "", ["{data}/valid.bin", "word number", "7 words", AGAIN]),
        edit("dict.txt", lambda b: b"".join(b.splitlines(True)[:3])),
        "dictionary cut short",
    ),
]
CHANGES = {
    "truncated": (checkpoint(lambda b: b[: len(b) // 2]), ["truncated", "Use another checkpoint"]),
    "empty": (checkpoint(lambda b: b""), ["the file is empty", "Use another checkpoint"]),
    "text": (checkpoint(lambda b: b"hello\n"), ["cannot read", "Use another checkpoint"]),
    "missing": (lambda here: (here / "given.pt").unlink(), ["there is no checkpoint", "check --"]),
    "folder": (folder_for_a_checkpoint, ["is a folder", "checkpoint_best.pt"]),
}
CHECKPOINTS = [
    Row(command, options, ["{here}/given.pt", *words], change, f"checkpoint {name}")
    for command, options in (
        ("generate", "--path {here}/given.pt"),
        ("train", "--restore-file {here}/given.pt"),
    )
    for name, (change, words) in CHANGES.items()
    if command == "generate" or name not in ("missing", "folder")  # training begins anew, with a warning
]
ROWS = DATA + CHECKPOINTS

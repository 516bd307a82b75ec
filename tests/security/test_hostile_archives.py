"""Archives that the examples unpack: nothing is written but the members asked for, as long as they may be."""

import io
import json
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES / "common"), str(EXAMPLES / "quickstart")]

import corpus  # noqa: E402
import fetch  # noqa: E402
from stage import StageError  # noqa: E402

LIMIT = 1000
ZEROS = bytes(30 << 20)
LINKS = {
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
}


def tar(path, *members, mode="w:gz"):
    """A tar archive of (name, content, attributes)."""
    with tarfile.open(path, mode) as opened:
        for name, content, attributes in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            opened.addfile(member, io.BytesIO(content))
    return path


def zipped(path, name="text", content=b"content", method=zipfile.ZIP_STORED, change=None):
    """A zip archive of one member, whose bytes (record, table) `change` may change."""
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr(name, content)
    if change:
        changed = bytearray(path.read_bytes())
        change(changed, changed.index(b"PK\x01\x02"))
        path.write_bytes(changed)
    return path


def refused(unpack, folder, says):
    """Nothing but the archive is left."""
    with pytest.raises(StageError, match=says) as raised:
        unpack()
    assert "\n" not in str(raised.value)
    assert [path.name for path in folder.rglob("*")] == ["archive"]


@pytest.mark.parametrize("kind", LINKS)
def test_a_member_that_is_no_file(tmp_path, kind):
    attributes = {"type": LINKS[kind], "linkname": "/etc/passwd", "devmajor": 1, "devminor": 5}
    archive = tar(tmp_path / "archive", ("text", b"", attributes))
    refused(lambda: fetch.untar(archive, {"text": tmp_path / "text"}, LIMIT), tmp_path, "is no plain file")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2"])
def test_a_tar_bomb(tmp_path, mode):
    archive = tar(tmp_path / "archive", ("text", ZEROS, {}), mode=mode)
    refused(lambda: fetch.untar(archive, {"text": tmp_path / "text"}, LIMIT), tmp_path, "more than the 1,000")


def test_a_member_of_a_terabyte_that_is_not_there(tmp_path):
    archive = tar(tmp_path / "archive", ("text", b"x", {}))
    header = tarfile.TarInfo("text")
    header.size = 1 << 40
    with tarfile.open(archive, "w") as opened:
        opened.fileobj.write(header.tobuf(tarfile.GNU_FORMAT))
    refused(lambda: fetch.untar(archive, {"text": tmp_path / "text"}, LIMIT), tmp_path, "1,099,511,627,776")
    header.size = LIMIT
    archive.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"short")
    refused(lambda: fetch.untar(archive, {"text": tmp_path / "text"}, LIMIT), tmp_path, "is damaged")


def test_a_sparse_member(tmp_path):
    """1 GB of which the archive holds a byte."""
    header = tarfile.TarInfo("text")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" + b"00000001000\0"
    block[483:495] = b"10000000000\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "archive").write_bytes(bytes(block) + b"x".ljust(512, b"\0") + bytes(1024))
    archive = tmp_path / "archive"
    refused(lambda: fetch.untar(archive, {"text": tmp_path / "text"}, LIMIT), tmp_path, "1,073,741,824")


def test_what_comes_from_a_tar_stays_where_it_is_told(tmp_path):
    """A link of another name, then a member below it."""
    out = tmp_path / "out"
    out.mkdir()
    link = ("out", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc"})
    archive = tar(tmp_path / "archive", link, ("out/../../evil", b"x", {}), ("out/text", b"good", {}))
    assert fetch.untar(archive, {"out/text": out / "text"}, LIMIT) == {"out/text"}
    assert (out / "text").read_bytes() == b"good" and not out.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "out", "text"]


def crc(content, table):
    content[table + 16] ^= 1


def encrypted(content, table):
    content[6] |= 1
    content[table + 8] |= 1


def method(content, table):
    content[8:10] = content[table + 10 : table + 12] = struct.pack("<H", 77)


def smaller(content, table):
    """It says that it has 3 bytes."""
    content[table + 24 : table + 28] = struct.pack("<L", 3)


def noise(content, table):
    content[34 : table - 4] = b"\xff" * (table - 38)


@pytest.mark.parametrize("change", [crc, smaller, encrypted, method, noise])
def test_a_damaged_zip(tmp_path, change):
    kind = zipfile.ZIP_DEFLATED if change is noise else zipfile.ZIP_STORED
    archive = zipped(tmp_path / "archive", content=b"content" * 9, method=kind, change=change)
    refused(
        lambda: fetch.unpack(archive, "text", tmp_path / "text", LIMIT), tmp_path, "damaged or lacks text"
    )


def test_a_zip_bomb(tmp_path):
    archive = zipped(tmp_path / "archive", content=ZEROS, method=zipfile.ZIP_DEFLATED)
    refused(lambda: fetch.unpack(archive, "text", tmp_path / "text", LIMIT), tmp_path, "more than the 1,000")

    archive = zipped(archive, content=ZEROS, method=zipfile.ZIP_DEFLATED, change=smaller)
    refused(
        lambda: fetch.unpack(archive, "text", tmp_path / "text", LIMIT), tmp_path, "damaged or lacks text"
    )


def test_what_comes_from_a_zip_stays_where_it_is_told(tmp_path):
    """A name that leads out, and a link, whose text is content."""
    archive = tmp_path / "archive"
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../evil", b"evil")
        opened.writestr(link, "/etc/passwd")
    for member, content in {"../../evil": b"evil", "link": b"/etc/passwd"}.items():
        target = fetch.unpack(archive, member, tmp_path / "text", LIMIT)
        assert target.read_bytes() == content and not target.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "text"]


def test_a_wheel_is_read_by_the_names_of_its_translations(tmp_path):
    wheel, folder = tmp_path / "wheel", "homeassistant/components"
    names = ["../x/translations/de.json", "x/../../translations/de.json", "x/translations/../de.json"]
    with zipfile.ZipFile(wheel, "w") as opened:
        for lang in ("en", "de"):
            opened.writestr(f"{folder}/lamp/translations/{lang}.json", json.dumps({"title": f"Lamp {lang}"}))
        for name in names:
            opened.writestr(f"{folder}/{name}", json.dumps({"title": "evil"}))
    with zipfile.ZipFile(wheel) as opened:
        found = corpus.translation_files(opened, "de")
    assert found == [tuple(f"{folder}/lamp/translations/{lang}.json" for lang in ("en", "de"))]
    assert corpus.extract(wheel, "de") == [("Lamp en", "Lamp de")]
    assert [path.name for path in tmp_path.rglob("*")] == ["wheel"]

"""What the WMT'16 recipe takes out of archives, and that nothing in one decides where a file is written."""

import os
import sys
import tarfile
from pathlib import Path

import pytest
import wmt16_mirror as mirrors

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "examples" / "common"), str(ROOT / "examples" / "wmt16")]

import corpora  # noqa: E402
import fetch  # noqa: E402
from stage import StageError  # noqa: E402


def test_only_plain_members_of_known_names_and_sizes_are_taken(tmp_path):
    archive, target = tmp_path / "archive.tgz", tmp_path / "in" / "text"
    target.parent.mkdir()
    evil = {"../evil": b"x", "/tmp/evil": b"x", "in/../../evil": b"x", "./text": b"first", "text": b"second"}
    mirrors.tgz(archive, evil)
    assert fetch.untar(archive, {"text": target, "other": tmp_path / "other"}, 9) == {"text"}
    assert target.read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.tgz", "in", "text"]
    with pytest.raises(StageError, match=r"text in .* has 5 bytes, more than the 4 expected"):
        fetch.untar(archive, {"text": target}, 4)
    with tarfile.open(archive, "w:gz") as opened:
        link = tarfile.TarInfo("text")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    with pytest.raises(StageError, match="no plain file"):
        fetch.untar(archive, {"text": target}, 9)
    assert target.read_bytes() == b"first" and not list(tmp_path.rglob("*.part"))


def test_of_two_copies_the_first_is_taken(tmp_path):
    """In one archive, as dev/ and test/, and in both."""
    name, other = "newstest2013-ref.de.sgm", mirrors.sgm(["anders"]).encode()
    mirrors.tgz(tmp_path / "archive.tgz", {f"dev/{name}": b"first", f"test/{name}": b"second"})
    both = dict.fromkeys((f"test/{name}", f"dev/{name}"), tmp_path / name)
    assert fetch.untar(tmp_path / "archive.tgz", both, 9) == {f"dev/{name}"}
    assert (tmp_path / name).read_bytes() == b"first" and not list(tmp_path.glob("*.part"))
    archives = mirrors.members(mirrors.built_in(40))
    raw, folder = tmp_path / "raw", tmp_path / "mirror"
    raw.mkdir()
    archives["test.tgz"][f"test/{name}"] = other
    mirrors.write(folder, archives)
    corpora.write_raw(folder, raw)
    assert (raw / name).read_bytes() == archives["dev.tgz"][f"dev/{name}"] != other


@pytest.mark.parametrize("damage", ["cut", "noise", "no archive"])
def test_a_damaged_tar_is_told(damage, tmp_path):
    archive = tmp_path / "archive.tgz"
    mirrors.tgz(archive, {"text": os.urandom(50_000)})
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[:30_000]
    elif damage == "noise":
        content[20_000:20_400] = bytes(400)
    archive.write_bytes(b"no archive" if damage == "no archive" else content)
    with pytest.raises(StageError, match=r"archive.tgz is damaged .*delete it"):
        found = fetch.untar(archive, {"text": tmp_path / "text", "more": tmp_path / "more"}, 1 << 20)
        pytest.fail(f"found {found}")
    assert not list(tmp_path.glob("text*"))

"""Downloads that resume, are checked, and leave nothing half-written; unpacking that stays in its place."""

import gzip
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from stage import StageError, digest, writing
from tqdm import tqdm

BLOCK = 1 << 20
SUMS = "SHA256SUMS"  # of a mirror that holds other files than the original


def fetch(name: str, urls: list[str], checksum: str, directory: Path, mirror: str | None = None) -> Path:
    """The file `name` in `directory`, downloaded unless it is there and whole.

    urls: where it is, the first one that answers is taken; checksum: its SHA-256, or `md5:` and its MD5;
    mirror: a folder or URL that holds it instead, with a SHA256SUMS beside it if its content differs.
    A download cut short goes on where it was.
    Raises StageError, naming file and remedy, where it cannot be had or has another checksum.
    """
    target, part = directory / name, directory / f"{name}.part"
    directory.mkdir(parents=True, exist_ok=True)
    if mirror is not None:
        urls = [_inside(mirror, name)]
        checksum = _sums(mirror).get(name, checksum)
    if target.exists() and _checksum(target, checksum) == checksum:
        return target
    errors = []
    for url in urls:
        try:
            _download(url, part)
            break
        except (OSError, urllib.error.URLError) as error:
            errors.append(f"{url}: {error}")
    else:
        raise StageError(
            f"cannot download {name} ({'; '.join(errors)}); check the network, or pass --mirror URL_OR_DIR"
        )
    found = _checksum(part, checksum)
    if found != checksum:
        part.unlink()
        name = "" if ":" in checksum else "SHA-256 "
        raise StageError(
            f"{url} has the {name}{found}, not {checksum}: it is damaged or another file. It was deleted; "
            f"try again, or pass another --mirror (one of other files needs a {SUMS})"
        )
    os.replace(part, target)
    return target


def _checksum(path: Path, like: str) -> str:
    """The checksum of a file, of the kind that `like` is."""
    kind = like.rpartition(":")[0]
    return f"{kind}:{digest(path, kind)}" if kind else digest(path)


def _inside(mirror: str, name: str) -> str:
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{name}"
    return (Path(mirror).resolve() / name).as_uri()


def _sums(mirror: str) -> dict[str, str]:
    """Name -> SHA-256 of a mirror's SHA256SUMS, {} where it has none."""
    try:
        with urllib.request.urlopen(_inside(mirror, SUMS), timeout=60) as response:
            lines = response.read().decode().splitlines()
    except (OSError, urllib.error.URLError):
        return {}
    return {line.split()[1].lstrip("*"): line.split()[0] for line in lines if len(line.split()) == 2}


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    if url.startswith("file:"):
        have = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with response:
        resumed = have and response.status == 206
        total = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total or None,
                initial=have if resumed else 0,
                unit="B",
                unit_scale=True,
                desc=part.name.removesuffix(".part"),
            ) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total and part.stat().st_size < total:
        raise OSError(
            f"the connection broke after {part.stat().st_size:,} of {total:,} bytes; the same command goes on"
        )


def unpack(archive: Path, member: str, target: Path, limit: int) -> Path:
    """Write one member of a zip archive to `target`; it may have `limit` bytes.

    Raises StageError where the archive is damaged, lacks the member, or holds more than it says.
    """
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as source:
            if opened.getinfo(member).file_size > limit:
                raise StageError(f"{member} in {archive} has more than the {limit:,} bytes expected")
            with writing(target) as file:
                shutil.copyfileobj(source, file, BLOCK)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        raise StageError(
            f"{archive} is damaged or lacks {member} ({error}); delete it to download again"
        ) from None
    return target


def untar(archive: Path, members: Mapping[str, Path], limit: int) -> set[str]:
    """Write those of `members` that a tar archive holds, each to its path; the names of those written.

    Other members are passed over, so that nothing in the archive decides where a file is written. Of members
    with one name, or for one path, the first is taken. Raises StageError, and writes none, where the archive
    is damaged or a member is no plain file or has more than `limit` bytes.
    """
    parts: dict[Path, Path] = {}
    taken = set()
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = member.name.removeprefix("./")
                if name in members and (target := members[name]) not in parts:
                    parts[target] = target.with_name(target.name + ".part")
                    _write_member(archive, opened, member, parts[target], limit)
                    taken.add(name)
            while opened.fileobj and opened.fileobj.read(BLOCK):
                pass  # gzip's checksum comes last
        for target, part in parts.items():
            os.replace(part, target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = str(error).split(":\n")[0]  # not what tarfile says of each compression
        raise StageError(
            f"{archive} is damaged ({reason}); delete it to download again, or pass another --mirror"
        ) from None
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return taken


def _write_member(
    archive: Path, opened: tarfile.TarFile, member: tarfile.TarInfo, target: Path, limit: int
) -> None:
    source = opened.extractfile(member) if member.isfile() else None
    if source is None:
        raise StageError(f"{member.name} in {archive} is no plain file; pass another --mirror")
    if member.size > limit:
        raise StageError(
            f"{member.name} in {archive} has {member.size:,} bytes, more than the {limit:,} expected; "
            "pass another --mirror"
        )
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, BLOCK)

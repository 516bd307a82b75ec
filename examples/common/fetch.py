"""Downloads that resume, are checked, and leave nothing half-written; unpacking that stays in its place."""

import os
import shutil
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from stage import StageError, digest
from tqdm import tqdm

BLOCK = 1 << 20
SUMS = "SHA256SUMS"  # of a mirror that holds other files than the original


def fetch(name: str, urls: list[str], sha256: str, directory: Path, mirror: str | None = None) -> Path:
    """The file `name` in `directory`, downloaded unless it is there and whole.

    urls: where it is, the first one that answers is taken; mirror: a folder or URL that holds it instead,
    with a SHA256SUMS beside it if its content differs. A download cut short goes on where it was.
    Raises StageError, naming file and remedy, where it cannot be had or has another SHA-256.
    """
    target, part = directory / name, directory / f"{name}.part"
    directory.mkdir(parents=True, exist_ok=True)
    if mirror is not None:
        urls = [_inside(mirror, name)]
        sha256 = _sums(mirror).get(name, sha256)
    if target.exists() and digest(target) == sha256:
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
    found = digest(part)
    if found != sha256:
        part.unlink()
        raise StageError(
            f"{url} has the SHA-256 {found}, not {sha256}: it is damaged or another file. It was deleted; "
            "try again, or pass another --mirror"
        )
    os.replace(part, target)
    return target


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
    part = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as source:
            if opened.getinfo(member).file_size > limit:
                raise StageError(f"{member} in {archive} has more than the {limit:,} bytes expected")
            with part.open("wb") as file:
                shutil.copyfileobj(source, file, BLOCK)
        os.replace(part, target)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise StageError(
            f"{archive} is damaged or lacks {member} ({error}); delete it to download again"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return target

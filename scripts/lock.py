"""Write requirements.lock: every package that requirements.txt leads to, with the hashes of its files.

    .venv/bin/python scripts/lock.py

pip resolves requirements.txt for this Python; the hashes are those of all files of a release on PyPI, for
every platform and Python. torch is left out: it has builds for CPUs and GPUs on several indexes, and the
Makefile installs the one that pip finds before anything else. torchaudio, which fairseq asks for and only its
speech data need, is left out because its last release does not load beside this torch.
"""

import argparse
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://pypi.org/simple/{}/"
LEFT_OUT = ("torch", "torchaudio")
KIND = "application/vnd.pypi.simple.v1+json"
HEAD = "# Written by scripts/lock.py from requirements.txt; what `make setup` installs beside torch.\n"


def resolved(requirements: Path) -> list[tuple[str, Version]]:
    """Each package that pip would install, but torch and torchaudio."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", "-", "-r", str(requirements)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = []
    for one in json.loads(done.stdout)["install"]:
        name, version = one["metadata"]["name"], Version(one["metadata"]["version"])
        if name not in LEFT_OUT:
            found.append((canonicalize_name(name), version))
    return sorted(found)


def release(name: str, version: Version) -> list[str]:
    """SHA-256 of all files of a release on PyPI. Raises LookupError where there is none."""
    request = urllib.request.Request(INDEX.format(name), headers={"Accept": KIND})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    hashes = {file["hashes"]["sha256"] for file in files if _version(file["filename"]) == version}
    if not hashes:
        raise LookupError(f"PyPI has no {name} {version}; pin another in requirements.txt")
    return sorted(hashes)


def _version(filename: str) -> Version | None:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        return parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def main() -> None:
    """Write the file."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=formatter).parse_args()
    lines = []
    for name, version in resolved(ROOT / "requirements.txt"):
        hashes = release(name, version)
        lines.append(" \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in hashes)]))
        print(f"{name}=={version}: {len(hashes)} files")
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

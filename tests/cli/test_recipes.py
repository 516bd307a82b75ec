"""examples/wikitext103 and enwik8, end to end and offline, from a small mirror with the originals' layout."""

import hashlib
import http.server
import random
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "common"))

import fetch  # noqa: E402
from stage import StageError  # noqa: E402

SMALL = ["--decoder-embed-dim", "16", "--decoder-hidden-dim", "16", "--decoder-ffn-embed-dim", "16"]
SMALL += [
    "--decoder-z-dim",
    "8",
    "--decoder-n-dim",
    "2",
    "--decoder-layers",
    "1",
    "--decoder-chunk-size",
    "32",
]
SMALL += ["--max-tokens", "256", "--max-update", "6", "--warmup-updates", "2", "--lr", "0.01"]
SMALL += ["--num-workers", "0", "--update-freq", "1", "--no-epoch-checkpoints"]
WORDS = [f"w{i}" for i in range(90)]


def lines(count, seed):
    draw = random.Random(seed)
    return [" " + " ".join(draw.choices(WORDS, k=draw.randint(0, 12))) + " \n" for _ in range(count)]


def wikitext(mirror):
    with zipfile.ZipFile(mirror / "wikitext-103-v1.zip", "w") as archive:
        for split, count in (("train", 200), ("valid", 30), ("test", 40)):
            archive.writestr(f"wikitext-103/wiki.{split}.tokens", "".join(lines(count, split)))


def enwik8(mirror):
    text = "".join(lines(300, "enwik8")) + "ünïcode\n"
    with zipfile.ZipFile(mirror / "enwik8.zip", "w") as archive:
        archive.writestr("enwik8", text.encode())


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def call(*command):
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "mirror"
    folder.mkdir()
    wikitext(folder)
    enwik8(folder)
    sums = [f"{sha256(file.read_bytes())}  {file.name}\n" for file in folder.iterdir()]
    (folder / fetch.SUMS).write_text("".join(sums))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "extra"), [("wikitext103", ["--adaptive-softmax-cutoff", "20,60"]), ("enwik8", [])]
)
def test_recipe(recipe, extra, mirror, tmp_path):
    out, save = tmp_path / "out", tmp_path / "save"
    prepare = [
        sys.executable,
        f"examples/{recipe}/prepare.py",
        "--out",
        out,
        "--mirror",
        mirror,
        "--workers",
        1,
    ]
    first, again = call(*prepare), call(*prepare)
    assert first.returncode == again.returncode == 0, first.stderr
    assert "data-bin: already in" in again.stdout
    text = out / "text" / "test.txt"
    where = [out / "data-bin", save]
    trained = call(f"examples/{recipe}/train.sh", *where, *SMALL, *extra)
    assert trained.returncode == 0, trained.stderr[-3000:]
    checkpoint = save / "checkpoint_last.pt"
    scored = call(
        f"examples/{recipe}/evaluate.sh", out / "data-bin", checkpoint, text, "--model-overrides", "{}"
    )
    assert scored.returncode == 0, scored.stderr[-3000:]
    found = dict(re.findall(r"^(\S[a-z ]+?)  +(\S+)$", scored.stdout, re.M))
    assert found["blocks"] == "10"
    content = text.read_bytes()
    if recipe == "wikitext103":
        words = len(content.split()) + content.count(b"\n")
        assert int(found["tokens"]) == int(found["words"]) == words
        assert 1 < float(found["perplexity per word"].replace(",", "")) < 9999
    else:
        assert abs(int(found["tokens"]) - len(content)) <= 1  # a split cut in a line gets a line end
        assert int(found["characters"]) == len(content)
        assert 1 < float(found["bits per character"]) < 9


@pytest.mark.parametrize(("damage", "message"), [("gone", "cannot download"), ("cut", "SHA-256")])
def test_a_bad_mirror_leaves_nothing_half_written(damage, message, mirror, tmp_path):
    archive = mirror / "enwik8.zip"
    if damage == "gone":
        archive.unlink()
    else:
        archive.write_bytes(archive.read_bytes()[:-50])
    out = tmp_path / "out"
    done = call(sys.executable, "examples/enwik8/prepare.py", "--out", out, "--mirror", mirror)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("prepare: ") and message in done.stderr
    assert not list(out.glob("**/enwik8.zip")) and not (out / "data-bin").exists()


def test_an_archive_with_more_than_expected_is_refused(mirror, tmp_path):
    with pytest.raises(StageError, match="more than the 10 bytes"):
        fetch.unpack(mirror / "enwik8.zip", "enwik8", tmp_path / "enwik8", 10)
    with pytest.raises(StageError, match="lacks other"):
        fetch.unpack(mirror / "enwik8.zip", "other", tmp_path / "other", 10)
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "enwik8").exists()


class Server(http.server.BaseHTTPRequestHandler):
    content, ranges, breaks = b"", [], False

    def do_GET(self):
        begin = int(re.search(r"\d+", self.headers.get("Range", "0"))[0])
        self.ranges.append(begin)
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        self.wfile.write(self.content[begin : len(self.content) // 2 if self.breaks else None])

    def log_message(self, *_):
        pass


def test_a_broken_download_goes_on(tmp_path):
    Server.content, Server.ranges = random.Random(0).randbytes(300_000), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments = ("file", [f"http://127.0.0.1:{server.server_port}/file"], sha256(Server.content))
        Server.breaks = True
        with pytest.raises(StageError, match="cannot download file"):
            fetch.fetch(*arguments, tmp_path)
        Server.breaks = False
        assert fetch.fetch(*arguments, tmp_path).read_bytes() == Server.content
        assert Server.ranges == [0, 150_000]
        fetch.fetch(*arguments, tmp_path)  # whole: not asked for again
        assert len(Server.ranges) == 2
        server.shutdown()

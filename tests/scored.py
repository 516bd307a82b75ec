"""What the tests of scoring share: files, systems that differ, and sacreBLEU's own command."""

import json
import os
import random
import subprocess
import sys

from mega_fairseq.commands.score import main

WORDS = ["Das", "Haus", ",", "well-known", "mit", "'alten'", "Türen", ";", "kostet", "1.500", "Euro", "."]


def sentences(wrong=0.0, count=40):
    """The same lines each time, with this share of the words replaced."""
    draw, noise = random.Random(1), random.Random(wrong)
    lines = [[draw.choice(WORDS) for _ in range(4 + i % 9)] for i in range(count)]
    return [" ".join("x-ray" if noise.random() < wrong else word for word in line) for line in lines]


REFERENCE, OTHER = sentences(), sentences(0.5)
GOOD, FAIR, POOR = sentences(0.1), sentences(0.12), sentences(0.3)
FILES = {"a": GOOD, "b": FAIR, "c": POOR, "ref": REFERENCE, "other": OTHER}


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return path


def output(lines, detokenized=()):
    """The lines of fairseq-generate, not in input order."""
    found = []
    for i in reversed(range(len(lines))):
        found += [f"S-{i}\tsource", f"H-{i}\t-0.5\t{lines[i]}"]
        found += [f"D-{i}\t-0.5\t{text}" for text in detokenized[i : i + 1]]
    return found


def pieces(line):
    """What sentencepiece could make of it."""
    return " ".join(f"\u2581{w[:2]} {w[2:]}".strip() for w in line.split())


def scorer(folder, capsys):
    """What gives the metrics of --json; the files a, b, c are systems, ref and other references."""
    for name, lines in FILES.items():
        write(folder / name, lines)

    def run(hypotheses, options="", references="ref"):
        given = f"--hypotheses {hypotheses} --references {references} --json {options}".split()
        status, printed = main(given), capsys.readouterr()
        assert status == 0, printed.err
        return json.loads(printed.out)["metrics"]

    return run


def sacrebleu(folder, *arguments):
    """sacreBLEU's own command line."""
    command = [sys.executable, "-m", "sacrebleu", *arguments, "--format", "json"]
    environment = {**os.environ, "SACREBLEU_SEED": "7"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""Every command of the documentation is run, or traced to the test that runs it (documented.py says how)."""

import importlib.util
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import sentencepiece
from documented import HOW, ROOT, Covered, Impossible, Make, Pinned, Run, chosen, commands, documented
from fairseq import options
from shell import Shell

import mega_fairseq

COMMANDS = documented()
TEXT = ["Hello world.", "The king is dead.", "Long live the king.", "A small red house.", "Hello, red king."]
GERMAN = [
    "Hallo Welt.",
    "Der König ist tot.",
    "Lang lebe der König.",
    "Ein kleines rotes Haus.",
    "Hallo, König.",
]


def ways(kind):
    """The commands that are tested in this way, with their entries."""
    found = [(command, HOW[chosen(command.words)]) for command in COMMANDS if chosen(command.words)]
    return [(command, how) for command, how in found if isinstance(how, kind)]


def named(kind):
    """Arguments of parametrize for these commands."""
    return {"argvalues": ways(kind), "ids": [command.words for command, _ in ways(kind)]}


def test_no_command_is_forgotten():
    assert len(COMMANDS) > 40
    unknown = [f"{c.where}: {c.text.strip()}" for c in COMMANDS if chosen(c.words) is None]
    assert not unknown, "say in tests/cli/documented.py how they are tested"
    assert {chosen(c.words) for c in COMMANDS} == set(HOW), "an entry of HOW fits no command"


def test_commands_are_found_in_blocks():
    text = (
        "```\nls  -l \\\n  'a b' # why\n# a remark\n```\n\n```python\nx = 1\n```\n```math\nx\n```\n`rm x`\n"
    )
    shell, python = commands(text, "x.md")
    assert (shell.words, shell.python) == ("ls -l a b", False)
    assert commands("```\nA=b\nls $A\n```\n", "x.md")[0].text == "A=b\nls $A"
    assert (python.words, python.python) == ("x = 1\n", True)
    assert chosen(shell.words) is None
    with pytest.raises(ValueError, match=r"x.md: a block of perl"):
        commands("```perl\nprint\n```\n", "x.md")
    with pytest.raises(ValueError, match="left open or indented"):
        commands("- so:\n  ```\n  ls\n  ```\n", "x.md")


@pytest.fixture(scope="module")
def shell():
    made = Shell()
    yield made
    made.close()


@pytest.fixture
def workspace(shell, tmp_path):
    """A checkout, but for its examples, with the texts that a user would bring."""
    for name in ("mega_fairseq", "scripts", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "examples" / "wmt16").mkdir(parents=True)
    for file in (ROOT / "examples" / "wmt16").glob("*.yaml"):
        (tmp_path / "examples" / "wmt16" / file.name).symlink_to(file)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(shell.folder)
    (tmp_path / "test.raw.de").write_text("".join(f"{line}\n" for line in GERMAN), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT + GERMAN),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm.model"))
    for split in ("train", "valid", "test"):
        for suffix, lines in (("en", TEXT), ("de", GERMAN), ("txt", TEXT * 12)):
            content = "".join(" ".join(pieces.encode(line, out_type=str)) + "\n" for line in lines)
            (tmp_path / f"{split}.{suffix}").write_text(content, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("place", ["nmt", "lm"])
def test_commands_run_one_after_the_other(place, shell, workspace):
    for command, how in ways(Run):
        if how.place != place:
            continue
        text = command.text
        if command.python:
            (workspace / "block.py").write_text(text, encoding="utf-8")
            text = "python block.py"
        if how.first:
            done = shell.run(how.first, workspace)
            assert done.status == 0, f"{how.first}\n{done.printed[-3000:]}"
        before = {
            file: file.stat().st_mtime_ns for part in how.makes.split() for file in workspace.glob(part)
        }
        done = shell.run(text, workspace, shlex.split(how.extra))
        told = f"{command.where}: {text} (and {how.extra})\n{done.printed[-3000:]}"
        assert done.status == 0, told
        assert re.search(how.prints, done.printed), told
        for part in how.makes.split():
            made = list(workspace.glob(part))
            assert made and all(file.stat().st_mtime_ns != before.get(file) for file in made), (
                f"{part}\n{told}"
            )
        (workspace / f"{command.words.split()[0].split('/')[-1]}.out").write_text(done.printed)


@pytest.mark.parametrize(("command", "how"), **named(Covered))
def test_another_test_runs_it(command, how):
    file, _, name = how.test.partition("::")
    code = (ROOT / file).read_text(encoding="utf-8")
    assert f"\ndef {name}(" in code
    words = [word for word in command.words.split() if word != ".venv/bin/python"]
    assert (ROOT / words[0]).is_file()
    parts = [part for part in words[0].split("/") if part != "examples"]
    for needed in [*parts, *(word for word in words if word.startswith("-"))]:
        assert needed in code, f"{file} does not use {needed}"


@pytest.mark.parametrize(("command", "how"), **named(Make))
def test_make_would_run_it(command, how, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "n")  # say it, do not do it
    for name in ("MAKELEVEL", "ARGS"):  # of the `make test ARGS=...` that runs this
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(["bash", "-c", command.text], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    program, *arguments = shlex.split(done.stdout.replace("\\\n", " ").splitlines()[-1], comments=True)
    if not how.program.endswith(".py"):
        assert command.words in HOW
        assert f".venv/bin/{how.program}" in done.stdout
        assert (Path(sys.executable).parent / how.program).is_file()
        return
    assert (program, arguments[0]) == (".venv/bin/python", how.program)
    given = loaded(ROOT / how.program).parse(arguments[1:])
    train = ["data", "--user-dir", mega_fairseq.__path__[0], "--arch", given.arch, *given.train_args]
    options.parse_args_and_arch(options.get_training_parser(), train)


def loaded(path):
    """A script as a module."""
    sys.path[:0] = [str(path.parent)]
    spec = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("command", "how"), **named(Pinned))
def test_installed_versions_are_the_pinned_ones(command, how):
    pins = [part.removeprefix("pip install ") for part in command.words.split(" && ")]
    required = (ROOT / "requirements.txt").read_text().splitlines()
    for pin in pins:
        assert pin in required
        name, _, wanted = pin.partition("==")
        assert version(name).partition("+")[0] == wanted


@pytest.mark.parametrize(("command", "how"), **named(Impossible))
def test_little_is_impossible(command, how):
    assert command.words in HOW, "another command than the one that cannot be run"
    assert how.reason

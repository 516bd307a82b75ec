"""Each tool of scripts/ is an installed command: the same options, and the same words under its own name."""

import re

import pytest
from forked import ROOT, Commands

from mega_fairseq.commands import plot

TOOLS = {  # file -> command, and arguments that it refuses
    "score": ("mega-score", "--hypotheses no.txt --references no.txt"),
    "average_checkpoints": ("mega-average", "--inputs no.pt --output out.pt"),
    "perplexity": ("mega-perplexity", "no-data --path no.pt --text no.txt"),
    "convert_reference_checkpoint": ("mega-convert", "no.pt out.pt"),
    "plot_training": ("mega-plot training", "no.log --out out.png"),
    "plot_ema": ("mega-plot ema", "no.pt --out out.png"),
    "plot_attention": ("mega-plot attention", "no-data --path no.pt --source a --out out.png"),
}
OF_THE_CHECKOUT = {"list_repairs"}  # which writes documentation


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    modules = ["mega_fairseq.evaluation.pictures.figures", "mega_fairseq.evaluation.perplexity"]
    commands = Commands(tmp_path_factory.mktemp("io"), modules)
    yield commands.run
    commands.close()


def both(run, tool, arguments):
    """What script and command leave of the same arguments."""
    name, *picture = TOOLS[tool][0].split()
    script = run(str(ROOT / "scripts" / f"{tool}.py"), *arguments)
    return script, run(name, *picture, *arguments)


def test_every_script_is_a_few_lines_and_an_installed_command():
    files = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "scripts").glob("*.py")}
    assert files.keys() == TOOLS.keys() | OF_THE_CHECKOUT
    declared = re.search(r"TOOLS = \[(.*)\]", (ROOT / "setup.py").read_text())[1]
    commands = {f"mega-{name}" for name in re.findall(r'"([^"]+)"', declared)}
    assert commands == {command.split()[0] for command, _ in TOOLS.values()}
    assert all(len(files[tool].splitlines()) <= 12 for tool in TOOLS)


@pytest.mark.parametrize("tool", TOOLS)
def test_the_help_is_the_same(run, tool):
    command = TOOLS[tool][0]
    script, installed = both(run, tool, ["--help"])
    assert (script.status, installed.status) == (0, 0)
    called = script.out.replace(f"python scripts/{tool}.py", command).replace(f"{tool}.py", command)
    assert called.split() == installed.out.split()  # lines break elsewhere
    assert f"python scripts/{tool}.py " in script.out and script.out.startswith(f"usage: {tool}.py ")
    assert len(re.findall(r"^  (?:-\w, )?--[a-z-]+", installed.out, re.MULTILINE)) >= 2


@pytest.mark.parametrize("tool", TOOLS)
def test_an_error_is_told_in_the_commands_own_name(run, tool):
    command, arguments = TOOLS[tool]
    script, installed = both(run, tool, arguments.split())
    assert (script.status, installed.status) == (1, 1)
    told, again = (done.err.splitlines()[-1].partition(": ") for done in (script, installed))
    assert (told[0], again[0]) == (f"{tool}.py", command)
    assert told[2] == again[2] and "no" in told[2]


@pytest.mark.parametrize("given", [[], ["emma"], ["--out", "x.png"]])
def test_plot_says_what_pictures_there_are(capsys, given):
    with pytest.raises(SystemExit) as stopped:
        plot.main(given)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("usage: mega-plot [-h] {training,ema,attention} ...\nmega-plot: error: ")
    assert "invalid choice: 'emma'" in said or given != ["emma"]

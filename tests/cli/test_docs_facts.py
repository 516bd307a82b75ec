"""What the documentation says beside its commands: links, flags, tables of names, sizes of states."""

import dataclasses
import itertools
import json
import re
from argparse import Namespace

import pytest
import torch
from documented import DOCUMENTS, ROOT
from fairseq import options
from torch.distributed.run import get_args_parser

import mega_fairseq
from mega_fairseq.checkpoints.conversion import ARCHITECTURES
from mega_fairseq.checkpoints.names import _TABLE
from mega_fairseq.models import mega_lm, mega_nmt
from mega_fairseq.models.from_options import stack_config
from mega_fairseq.models.options import MegaLMOptions, MegaNMTOptions, fill
from mega_fairseq.modules.stack import MegaStack
from mega_fairseq.state import LayerState

GUIDE = (ROOT / "docs" / "from-the-reference.md").read_text(encoding="utf-8")
HOW = (ROOT / "docs" / "how-mega-works.md").read_text(encoding="utf-8")


def rows(text, heading):
    """The cells of the tables after a heading, without the first two rows."""
    section = text.partition(f"# {heading}\n")[2].partition("\n#")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in table[2:]]


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            path, _, anchor = target.partition("#")
            linked = document.parent / path if path else document
            assert linked.is_file(), target
            assert not anchor or anchor in anchors(linked), target


def test_files_that_are_named_exist():
    for name in re.findall(r"`((?:mega_fairseq|tests|scripts)/[\w/.]+)", HOW + GUIDE):
        assert (ROOT / name).exists(), name


@pytest.fixture(scope="module")
def flags():
    """Every flag of fairseq's commands with the plugin, of hydra, torchrun and our own commands."""
    found = {"--config-dir", "--config-name", *(f"--num-{kind}-checkpoints" for kind in ("epoch", "update"))}
    makers = ("generation", "interactive_generation", "eval_lm", "preprocessing")
    parsers = [getattr(options, f"get_{make}_parser")() for make in makers]
    user = ["data", "--user-dir", mega_fairseq.__path__[0], "--criterion", "label_smoothed_cross_entropy"]
    user += ["--optimizer", "adam", "--lr-scheduler", "polynomial_decay"]
    tasks = {"mega_nmt": "translation", "mega_lm": "mega_language_modeling", "transformer": "translation"}
    for arch, task in tasks.items():
        parsers.append(options.get_training_parser())
        options.parse_args_and_arch(parsers[-1], [*user, "--task", task, "--arch", arch])
    parsers.append(get_args_parser())
    found |= {"--nodes", "--ntasks-per-node", "--gpus-per-node"}  # of Slurm's srun
    found |= {"--random-order", "--cov"}  # of pytest's plugins
    found |= {name for parser in parsers for action in parser._actions for name in action.option_strings}
    for path in ROOT.glob("*/**/*.py"):
        room, *inner = path.relative_to(ROOT).parts
        ours = room in ("examples", "benchmarks") or (room, inner[0]) == ("mega_fairseq", "commands")
        if ours or path.name == "__main__.py":
            found |= set(re.findall(r"\"(--[a-z-]+)\"", path.read_text(encoding="utf-8")))
    return found


def expanded(word):
    """--{a,b}-c -> --a-c, --b-c."""
    parts = [part.split(",") for part in re.split(r"[{}]", word)]
    return ["".join(choice) for choice in itertools.product(*parts)]


# docs/fairseq.md has the flags of every task, as tests/contract wrote them.
WRITTEN = [path for path in DOCUMENTS if path != ROOT / "docs" / "fairseq.md"]


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_exist(document, flags):
    text = document.read_text(encoding="utf-8")
    words = [word.rstrip(",") for word in re.findall(r"(?<![\w-])--(?=[a-z{])[a-z0-9{},-]+", text)]
    unknown = {flag for word in words if word[-1] != "-" for flag in expanded(word)} - flags
    assert unknown == set()


def test_names_are_those_of_the_converter():
    assert dict(rows(GUIDE, "Architectures")) == ARCHITECTURES
    names = [[cell.split("`")[1] for cell in row] for row in rows(GUIDE, "Names of parameters")]
    assert names == _TABLE


def presets(name):
    """The decoder of a preset with the chunk of its recipe, and how many tokens fill its state."""
    if name.startswith("mega_nmt"):
        args = Namespace()
        fill(args, MegaNMTOptions, **mega_nmt.PRESETS[name])
        return stack_config(args, "decoder"), 30
    chunk = {"mega_lm_wikitext103": 1024, "mega_lm_enwik8": 2048}[name]
    args = Namespace(decoder_chunk_size=chunk, rel_pos_bias="rotary", max_target_positions=chunk)
    fill(args, MegaLMOptions, **mega_lm.PRESETS[name])
    return stack_config(args, "decoder"), chunk - 1


STATES = [row for row in rows(HOW, "7. What a decoder remembers between two steps") if "mega_" in row[0]]


@pytest.mark.parametrize("row", STATES, ids=[row[0] for row in STATES])
def test_a_decoder_remembers_what_the_table_says(row):
    config, tokens = presets(row[0].partition(",")[0])
    layers, ema, attention, cross, total = (int(cell.replace(",", "") or 0) for cell in row[1:])
    width = config.embed_dim if cross else None
    stack = MegaStack(dataclasses.replace(config, layers=1), causal=True, source_dim=width).eval()
    x, source = torch.randn(1, tokens, config.embed_dim), torch.randn(1, 30, config.embed_dim)
    with torch.no_grad():
        (state,) = stack(x, None, [LayerState()], source if cross else None).states
    held = [part.key.numel() + part.value.numel() if part else 0 for part in (state.attention, state.cross)]
    sizes = [state.ema.memory.numel(), *held]
    assert sizes == [ema, attention, cross]
    assert (config.layers, config.layers * sum(sizes)) == (layers, total)


def test_the_benchmarks_show_their_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import bench

    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert bench.table(rows) in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")

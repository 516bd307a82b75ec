"""The table `malformed`: each row is told by flag or file, value and remedy, or loses no line."""

import re
import shlex
import shutil
import struct

import pytest
from forked import ROOT, Commands
from malformed import configurations, files, flags, texts

TABLE = flags.ROWS + files.ROWS + texts.ROWS + configurations.ROWS
MODULES = ["mega_fairseq.commands.fairseq", "hydra.core", "torch._dynamo"]
MODULES += [f"fairseq_cli.{name}" for name in ("train", "generate", "interactive", "validate", "eval_lm")]
WORDS = ["red", "blue", "green", "big", "small", "dog", "cat", "bird", "house", "tree", "runs", "sees"]
TEXT = [" ".join(WORDS[(i * k) % 12] for k in range(1, 2 + i % 6)) for i in range(30)]
SIZES = "--encoder-embed-dim 16 --encoder-hidden-dim 16 --encoder-ffn-embed-dim 16 --encoder-z-dim 8 "
SIZES += "--encoder-n-dim 2 --encoder-layers 1"
LIMITS = "--optimizer adam --max-tokens 200 --max-update 2 --num-workers 0 --no-epoch-checkpoints"
NMT = f"--arch mega_nmt {SIZES} {LIMITS}"
LM = f"--task mega_language_modeling --arch mega_lm {SIZES.replace('encoder', 'decoder')} {LIMITS}"
SHORT = "--max-len-a 0 --max-len-b 4 --beam 2 --num-workers 0"
COMMANDS = {
    "train": f"mega-train {{data}} {NMT} --save-dir {{here}}/model",
    "train-lm": f"mega-train {{data}} {LM} --tokens-per-sample 32 --save-dir {{here}}/model",
    "generate": f"mega-generate {{data}} --path {{model}} {SHORT}",
    "interactive": f"mega-interactive {{data}} --path {{model}} -s en -t de {SHORT}",
    "interactive-lm": f"mega-interactive {{data}} --path {{model}} --task language_modeling {SHORT}",
    "eval-lm": "mega-eval-lm {data} --path {model} --num-workers 0",
    "validate": "mega-validate {data} --task translation --path {model} --max-tokens 200 --num-workers 0",
    "preprocess": "mega-preprocess -s en -t de --srcdict {data}/dict.en.txt --tgtdict {data}/dict.de.txt "
    "--destdir {here}/bin",
    "hydra": "mega-hydra-train --config-dir {here} --config-name c task.data={data} "
    "hydra.run.dir={here}/run checkpoint.save_dir={here}/model dataset.num_workers=0 "
    "optimization.max_update=1",
    "average": f"{ROOT}/scripts/average_checkpoints.py --output {{here}}/average.pt",
    "perplexity": f"{ROOT}/scripts/perplexity.py {{data}} --path {{model}}",
}
OF_LM = ("train-lm", "interactive-lm", "eval-lm", "perplexity")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What runs commands, and a folder with the data and a model of each kind."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "io").mkdir()
    commands = Commands(folder / "io", MODULES)
    for split in ("train", "valid", "test"):
        for language in ("en", "de"):
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in TEXT))
    pair, one = "-s en -t de --joined-dictionary", "--only-source"
    kinds = {"nmt": (pair, "", "train"), "lm": (one, ".en", "train-lm")}
    for kind, (how, end, training) in kinds.items():
        prefixes = " ".join(f"--{split}pref {folder}/{split}{end}" for split in ("train", "valid", "test"))
        steps = [
            f"mega-preprocess {how} {prefixes} --destdir {folder}/{kind}",
            COMMANDS[training].format(data=folder / kind, here=folder / f"{kind}-trained"),
        ]
        for step in steps:
            done = commands.run(*step.split())
            assert done.status == 0, done.err
    yield commands.run, folder
    commands.close()


def prepare(row, folder, here):
    """The places of the row's command; its own copy of what the row changes."""
    kind = "lm" if row.command in OF_LM else "nmt"
    model = folder / f"{kind}-trained" / "model" / "checkpoint_last.pt"
    data = folder / kind
    if row.change or row.command == "hydra":
        shutil.copytree(data, here / "data")
        shutil.copy(model, here / "given.pt")
        shutil.copy(ROOT / "mega_fairseq" / "configs" / "mega_nmt_tiny.yaml", here / "c.yaml")
        data = here / "data"
    if row.change:
        row.change(here)
    return {"here": here, "data": data, "model": model}


def lines_out(row, here, done):
    """How many lines came out: the translated ones, or those of the indexed data."""
    if row.command != "preprocess":
        return sorted({int(number) for number in re.findall(r"^H-(\d+)\t", done.out, re.M)})
    counts = {
        struct.unpack("<Q", (here / "bin" / f"test.en-de.{language}.idx").read_bytes()[18:26])[0]
        for language in ("en", "de")
    }
    assert len(counts) == 1
    return list(range(counts.pop()))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.command} {row.name or row.options}")
def test_bad_input(made, tmp_path, row):
    run, folder = made
    places = prepare(row, folder, tmp_path)
    command = f"{COMMANDS[row.command]} {row.options}".format(**places)
    done = run(*shlex.split(command), stdin=row.stdin, memory=4 << 30, seconds=30, place=str(tmp_path))
    if isinstance(row.says, int):
        assert done.status == 0, done.err
        assert lines_out(row, tmp_path, done) == list(range(row.says))
        return
    last = done.err.strip().splitlines()[-1]
    assert done.status > 0, done.err
    assert [word for word in row.says if word.format(**places) not in last] == [], last
    assert len(last) < 500 + 3 * len(str(tmp_path))
    assert not (tmp_path / "model" / "checkpoint_last.pt").exists()


def test_the_table_is_long_enough():
    assert len({(row.command, row.options, row.name, str(row.says)) for row in TABLE}) == len(TABLE) >= 80

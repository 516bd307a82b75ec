"""examples/wmt16, end to end and offline, from a small mirror with the originals' layout."""

import importlib.util
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import wmt16_mirror as mirrors
from fairseq import options as fairseq_options
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from outside import needs

import mega_fairseq  # noqa: F401  (registers the models)

ROOT = Path(__file__).resolve().parents[2]
WMT16 = ROOT / "examples" / "wmt16"
sys.path += [str(ROOT / "examples" / "common"), str(WMT16)]

import fetch  # noqa: E402
from stage import StageError  # noqa: E402

SPEC = importlib.util.spec_from_file_location("wmt16_prepare", WMT16 / "prepare.py")
prepare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(prepare)

SMALL = ["--encoder-embed-dim", "16", "--encoder-hidden-dim", "16", "--encoder-ffn-embed-dim", "16"]
SMALL += ["--encoder-z-dim", "8", "--encoder-n-dim", "2", "--encoder-layers", "1", "--max-tokens", "2048"]
SMALL += ["--warmup-updates", "2", "--num-workers", "0", "--update-freq", "1", "--max-epoch", "3"]
SPLITS = ("valid", "test", "test1", "test2")
PAIRS = 120


def call(*command, **environment):
    return subprocess.run(
        [*map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )


def lines(path):
    return path.read_bytes().decode().removesuffix("\n").split("\n")


@pytest.fixture
def mirror(tmp_path):
    archives = mirrors.members(mirrors.built_in(PAIRS))
    mirrors.write(tmp_path / "mirror", archives)
    return tmp_path / "mirror", archives


@pytest.mark.parametrize("data", ["built-in", pytest.param("shared", marks=needs("data/wmt16-sample"))])
def test_prepare_train_evaluate(data, tmp_path):
    pairs = (mirrors.built_in if data == "built-in" else mirrors.shared)(PAIRS)
    mirrors.write(tmp_path / "mirror", mirrors.members(pairs))
    direction, kind, size = (
        ("en-de", "sentencepiece", 150) if data == "built-in" else ("de-en", "subword-nmt", 99)
    )
    out, save = tmp_path / "out", tmp_path / "save"
    command = [sys.executable, "examples/wmt16/prepare.py", "--out", out, "--mirror", tmp_path / "mirror"]
    command += ["--direction", direction, "--bpe", kind, "--bpe-size", size, "--workers", 2]
    first, again = call(*command), call(*command)
    assert first.returncode == again.returncode == 0, first.stderr[-3000:]
    assert len(re.findall("^.*: already in .*$", again.stdout, re.M)) == 5
    assert (out / "counts.txt").read_text() in first.stdout and (
        out / "counts.txt"
    ).read_text() in again.stdout
    check_texts(out, pairs, direction, f"{kind}-{size}")

    binary = out / "data-bin" / f"{direction}.{kind}-{size}"
    trained = call("examples/wmt16/train.sh", binary, save, *SMALL)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert (save / "checkpoint3.pt").exists()
    scored = call(
        "examples/wmt16/evaluate.sh", binary, save, "--max-len-b", 20, CHECKPOINTS="2", SPLITS="test1"
    )
    assert scored.returncode == 0, scored.stdout + scored.stderr[-3000:]
    assert "average of 2 checkpoints" in scored.stdout and "9 sentences" in scored.stdout
    assert "nrefs:1|" in scored.stdout and "compound-split BLEU" in scored.stdout
    generated = (save / "generate-test1.txt").read_text()
    assert len(re.findall("^H-", generated, re.M)) == 9
    assert "'lenpen': 0.5" in scored.stderr and "'beam': 5" in scored.stderr


def check_texts(out, pairs, direction, cut):
    """Texts belong together, sets are whole, and the counts are those of the files."""
    source, target = direction.split("-")
    binary, side = out / "data-bin" / f"{direction}.{cut}", ["en", "de"].index(target)
    for number, split in enumerate(SPLITS):
        wanted = [pair[side] for pair in pairs[9 * number : 9 * number + 9]]
        assert lines(out / "text" / f"{split}.{direction}.{target}") == wanted
        assert len(lines(out / cut / f"{split}.{direction}.{source}")) == 9
        if split != "valid":
            assert lines(binary / f"reference.{split}") == wanted
        assert (binary / f"{split}.{direction}.{source}.idx").exists()
    assert len(lines(out / "text" / "train.en")) == len(pairs) - 36 + 1  # two pairs have a blank side
    sides = [lines(out / cut / f"train.{lang}") for lang in ("en", "de")]
    for pair in zip(*sides, strict=True):
        shorter, longer = sorted(len(line.split()) for line in pair)
        assert shorter >= 3 and longer <= min(150, 1.5 * shorter)
    table = (out / "counts.txt").read_text()
    tokens = [sum(len(line.split()) for line in side) for side in sides]
    assert re.search(rf"subwords +train +{len(sides[0]):,} +{tokens[0]:,} +{tokens[1]:,}\n", table)
    assert re.search(rf"text +europarl-v7, all +{-(-(len(pairs) - 33) // 3)} ", table)
    assert (binary / "dict.en.txt").read_bytes() == (binary / "dict.de.txt").read_bytes()
    assert not list(out.glob("**/*.part"))


def europarl(archives, content):
    archives["training-parallel-europarl-v7.tgz"]["training/europarl-v7.de-en.de"] = content


EUROPARL = "training/europarl-v7.de-en.de"
REFERENCE = "dev/newstest2013-ref.de.sgm"
DAMAGES = {
    "missing side": (lambda a: a["training-parallel-europarl-v7.tgz"].pop(EUROPARL), f"lacks {EUROPARL}"),
    "missing set": (lambda a: a["dev.tgz"].pop(REFERENCE), "lack newstest2013-ref.de.sgm"),
    "encoding": (lambda a: europarl(a, b"gut\nf\xfcr\n"), "europarl-v7.de-en.de, line 2 is not UTF-8"),
    "length": (lambda a: europarl(a, b"eins\n"), "europarl-v7.de-en.de has 1: they are no pairs"),
    "segments": (
        lambda a: a["dev.tgz"].update({REFERENCE: mirrors.sgm(["eins"]).encode()}),
        "newstest2013-ref.de.sgm is 1 of two: they are no pairs",
    ),
    "other order": (
        lambda a: a["dev.tgz"].update({REFERENCE: a["dev.tgz"][REFERENCE].replace(b'"two"', b'"2"')}),
        "newstest2013-src.en.sgm is 1 of two and of ",
    ),
    "nothing left": (
        lambda a: [a[name].update({f"{stem}.de": b"x\n" * a[name][f"{stem}.de"].count(b"\n")})
                   for name, stem in mirrors.CORPORA.items()],
        "no training pair has 3 to 150 subwords",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_input_is_told_and_a_good_mirror_helps(damage, mirror, tmp_path, monkeypatch, capfd):
    folder, archives = mirror
    monkeypatch.setattr(prepare, "preprocess", lambda *_: None)
    spoil, message = DAMAGES[damage]
    bad = {name: dict(content) for name, content in archives.items()}
    spoil(bad)
    mirrors.write(folder, bad)
    out = tmp_path / "out"
    command = ["--out", str(out), "--mirror", str(folder), "--bpe-size", "80", "--workers", "1"]
    assert prepare.main(command) == 1
    told = capfd.readouterr().err.strip().split("\n")[-1]
    assert told.startswith("prepare: ") and message in told
    assert not (out / "data-bin").exists() and not list(out.glob("**/*.part"))
    mirrors.write(folder, archives)
    assert prepare.main(command) == 0
    assert (out / "counts.txt").exists()


def test_a_damaged_archive_is_deleted_and_told(mirror, tmp_path, capfd):
    folder, _ = mirror
    archive = folder / "dev.tgz"
    archive.write_bytes(archive.read_bytes()[:-50])
    command = ["--out", str(tmp_path / "out"), "--mirror", str(folder)]
    assert prepare.main(command) == 1
    assert re.search("prepare: .*dev.tgz has the SHA-256 .* damaged or another file", capfd.readouterr().err)
    assert not list(tmp_path.glob("out/**/dev.tgz*"))
    (folder / fetch.SUMS).unlink()
    assert prepare.main(command) == 1
    assert "europarl-v7.tgz has the SHA-256" in capfd.readouterr().err  # not the original, and no sums


def test_originals_are_known_by_md5_too(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    found = tmp_path / "found"
    arguments = ["file", [(tmp_path / "file").as_uri()]]
    fetch.fetch(*arguments, "md5:9a0364b9e99bb480dd25e1f0284c8555", found)
    with pytest.raises(StageError, match=r"file has the md5:9a0364b9e99bb480dd25e1f0284c8555, not md5:00"):
        fetch.fetch(*arguments, "md5:00", found)


def test_subword_nmt_is_named_where_it_is_missing(tmp_path, monkeypatch, capsys):
    for name in ("subword_nmt", "subword_nmt.apply_bpe", "subword_nmt.learn_bpe"):
        monkeypatch.setitem(sys.modules, name, None)
    assert prepare.main(["--out", str(tmp_path / "out"), "--bpe", "subword-nmt"]) == 1
    assert "pip install subword-nmt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--bpe-size", "0"], "invalid positive value"), (["--out", "a,b"], "--out a,b has a comma")],
)
def test_nonsense_ends_with_the_usage(options, message, capsys):
    with pytest.raises(SystemExit):
        prepare.main(options)
    assert message in capsys.readouterr().err


def test_evaluate_tells_a_folder_that_is_no_data(tmp_path):
    done = call("examples/wmt16/evaluate.sh", tmp_path, tmp_path)
    assert done.returncode == 1 and f"{tmp_path} is no folder that prepare.py made" in done.stderr


RECIPE = {
    "optimization": "lr max_update clip_norm update_freq",
    "criterion": "label_smoothing",
    "optimizer": "adam_betas adam_eps weight_decay",
    "lr_scheduler": "warmup_updates total_num_update end_learning_rate power",
    "dataset": "max_tokens",
    "checkpoint": "keep_last_epochs",
    "common": "seed fp16 bf16",
    "task": "left_pad_source",
    "model": "dropout attention_dropout hidden_dropout activation_dropout share_all_embeddings",
}


@pytest.mark.parametrize(
    ("arch", "name"), [("mega_nmt_wmt_en_de", "base"), ("mega_nmt_wmt_en_de_big", "big")]
)
def test_shell_and_yaml_configure_the_same_training(arch, name, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    said = call("examples/wmt16/train.sh", "DATA", "SAVE", ARCH=arch, GPUS="8", PYTHON=python)
    arguments = json.loads(said.stdout)
    arguments = arguments[arguments.index("fairseq_cli.train") + 1 :]
    parser = fairseq_options.get_training_parser()
    shell = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, arguments))
    GlobalHydra.instance().clear()
    hydra_init(f"mega_{name}")
    with initialize_config_dir(str(WMT16), version_base="1.1"):
        yaml = compose(f"mega_{name}", overrides=["task.data=DATA"])
    add_defaults(yaml)
    for group, fields in RECIPE.items():
        ours, theirs = (
            OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)[group] for cfg in (shell, yaml)
        )
        assert set(fields.split()) <= ours.keys() & theirs.keys()
        assert differences(ours, theirs) == {}, group
    assert shell.checkpoint.keep_last_epochs == 5
    assert shell.model.dropout == yaml.model.dropout == (0.3 if name == "big" else 0.15)


def differences(ours, theirs):
    """Key -> both values, where they differ; numbers are equal to what is written like them."""
    keys = (ours.keys() & theirs.keys()) - {"_name", "save_dir", "user_dir"}
    same = {key for key in keys if ours[key] == theirs[key] or str(ours[key]) == str(theirs[key])}
    return {key: (ours[key], theirs[key]) for key in keys - same}

"""Honest tensors with options that would run, look up, open or fetch something."""

import argparse
import os
from pathlib import Path
from typing import Any

from hostile import BUILT, HARMLESS, LOADED, Kind, State, expression, written
from omegaconf import OmegaConf

STEP = "the model is built from the command line, or not at all"
CODE = "looks like code"


def put(state: State, folder: Path, section: str, options: dict[str, Any]) -> State:
    """Options in a section of ours, or in the arguments of the reference's. Functions get the folder."""
    found = {name: value(folder) if callable(value) else value for name, value in options.items()}
    if state.get("args") is not None:
        return {**state, "args": argparse.Namespace(**{**vars(state["args"]), **found})}
    return {**state, "cfg": {**state["cfg"], section: {**(state["cfg"].get(section) or {}), **found}}}


def option(section: str, refused: str, says: str = "", why: str = "", **options: Any) -> Kind:
    """A file with these options."""
    return Kind(lambda state, folder: written(put(state, folder, section, options)), refused, says, why)


def fconv(layers: str) -> Kind:
    """A model that fairseq configures by Python expressions."""
    named = {"_name": "fconv", "arch": "fconv", "encoder_layers": layers, "decoder_layers": "[]"}
    sizes = {"encoder_embed_dim": 16, "max_source_positions": 9, "encoder_embed_path": None}
    rest = {"decoder_attention": layers, "share_input_output_embed": False, "decoder_embed_path": None}
    return option("model", BUILT, "expected a literal", STEP, **named, **sizes, **rest)


def module(folder: Path) -> str:
    """A package that leaves the marker when it is imported."""
    package = folder / "evil_module"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text(f"open({str(folder / 'owned')!r}, 'w').close()\n")
    return str(package)


def fifo(folder: Path) -> str:
    """A pipe that nobody writes to."""
    path = folder / "fifo"
    if not path.exists():
        os.mkfifo(path)
    return str(path)


def owned(folder: Path) -> str:
    return f"{folder}/owned"


def inside_omegaconf(state: State, folder: Path) -> bytes:
    """An interpolation in OmegaConf's own object."""
    found = OmegaConf.create({"x": {"y": "${oc.env:HOME}"}})
    return written({**state, "task_state": {"x": found}})


STRINGS = {
    "adaptive_softmax_cutoff": option("model", LOADED, CODE, adaptive_softmax_cutoff=expression),
    "adaptive_input_cutoff": option(
        "model", LOADED, CODE, adaptive_input=True, adaptive_input_cutoff=expression
    ),
    "adam_betas": option("optimizer", LOADED, CODE, _name="adam", adam_betas=expression),
    "lr": option("optimization", LOADED, CODE, lr=expression),
    "model_overrides": option("common_eval", LOADED, CODE, model_overrides=expression),
    "eval_bleu_args": option("task", LOADED, CODE, eval_bleu=True, eval_bleu_args=expression),
    "diverse_beam_groups": option("generation", LOADED, CODE, diverse_beam_groups=expression),
    "criterion ctc": option("criterion", LOADED, CODE, _name="ctc", wer_args=expression),
    "fconv: a call": fconv("print('owned')"),
    "fconv: a long list": fconv("[(512, 3)] * 1000000000"),
    "fconv: brackets": fconv("(" * 100_000),
    "${oc.env}": option("model", LOADED, "from the outside", encoder_embed_path="${oc.env:HOME}"),
    "${oc.decode}": option("model", LOADED, "from the outside", decoder_embed_dim="${oc.decode:'1'}"),
    "a resolver of its own": option("common", LOADED, "from the outside", log_format="x${evil:1}"),
    "an interpolation in OmegaConf": Kind(inside_omegaconf, LOADED, "from the outside"),
}
REACHING = {
    "paths": option(
        *("checkpoint", HARMLESS),
        why="the command line says where files are",
        save_dir="../../outside",
        restore_file="/etc/passwd",
        finetune_from_model="/etc/passwd",
    ),
    "data": option("task", HARMLESS, why="the command line names the data folder", data="../../../../etc"),
    "user_dir": option("common", HARMLESS, why="nothing imports a stored --user-dir", user_dir=module),
    "log files": option(
        *("common", HARMLESS),
        why="the command line says what is logged, and where",
        log_file=owned,
        tensorboard_logdir=owned,
        wandb_project="owned",
        azureml_logging=True,
        aim_repo="aim://127.0.0.1:9",
    ),
    "embeddings from a device": option("model", LOADED, "which is no file", encoder_embed_path="/dev/zero"),
    "embeddings from a file": option(
        *("model", BUILT, "cannot use /etc/passwd of --encoder-embed-path"),
        why="a training reads what its command line names, a conversion nothing",
        encoder_embed_path="/etc/passwd",
        decoder_embed_path="/etc/passwd",
    ),
    "sentencepiece from a URL": option(
        *("bpe", LOADED, "download that yourself"),
        _name="sentencepiece",
        sentencepiece_model="http://127.0.0.1:9/spm.model",
    ),
    "codes from a pipe": option("bpe", LOADED, "which is no file", _name="subword_nmt", bpe_codes=fifo),
}

"""Checkpoints of the reference implementation as fairseq 0.12 checkpoints of ours, and back."""

import re
from argparse import Namespace
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import torch
from fairseq import options
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from mega_fairseq.checkpoints.names import DEAD, from_reference_names, to_reference_names
from mega_fairseq.models.from_options import value
from mega_fairseq.models.mega_lm import MegaLM
from mega_fairseq.models.mega_nmt import MegaNMT
from mega_fairseq.models.options import MegaLMOptions, MegaNMTOptions
from mega_fairseq.models.presets import dictionary_of

ARCHITECTURES = {  # the reference's names, ours
    "mega": "mega_nmt",
    "mega_wmt_en_de": "mega_nmt_wmt_en_de",
    "mega_wmt_en_de_big": "mega_nmt_wmt_en_de_big",
    "mega_lm": "mega_lm",
    "mega_lm_big": "mega_lm_big",
    "mega_lm_adaptive_base": "mega_lm_adaptive_base",
    "mega_lm_adaptive_big": "mega_lm_wikitext103",
    "mega_lm_enwik8_base": "mega_lm_enwik8",
    "mega_lm_enwik8_large": "mega_lm_enwik8_large",
}
SIZES = ("embed_dim", "hidden_dim", "ffn_embed_dim", "z_dim", "n_dim", "layers", "chunk_size")
CHOICES = ("truncation_length", "rel_pos_bias", "normalization_type", "normalize_before")
# Options of training and data that mean the same in both.
TRAINING = (
    *("data", "source_lang", "target_lang", "left_pad_source", "left_pad_target"),
    *("tokens_per_sample", "sample_break_mode", "add_bos_token"),
    *("criterion", "label_smoothing", "sentence_avg", "optimizer", "adam_betas", "adam_eps"),
    *("weight_decay", "clip_norm", "lr", "warmup_updates", "total_num_update"),
    *("max_update", "max_tokens", "update_freq", "seed"),
)
OURS = {"mega_cross_entropy": "label_smoothed_cross_entropy"}  # criteria that only the plugin has
BEGINNING = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
KEPT = "reference"  # where a converted checkpoint keeps what only the reference needs


def from_reference(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A reference checkpoint {args, model, ...} as one of ours; the optimizer's state is left out.

    Its `reference` entry keeps the arguments and dead buffers, so that `to_reference` is exact.
    Raises ValueError for another kind of checkpoint, and where its arguments and tensors do not fit.
    """
    args = checkpoint.get("args")
    if not isinstance(args, Namespace) or not isinstance(checkpoint.get("model"), dict):
        raise ValueError("it has no args and model, as checkpoints of the reference implementation have")
    arch = getattr(args, "arch", None)
    if arch not in ARCHITECTURES:
        raise ValueError(f"its architecture is {arch!r}, none of {', '.join(ARCHITECTURES)}")
    cfg = _configuration(args, ARCHITECTURES[arch])
    model = from_reference_names(checkpoint["model"])
    check_fit(cfg.model, model)
    history = (checkpoint.get("optimizer_history") or [{}])[-1]
    return {
        "args": None,
        "cfg": OmegaConf.to_container(cfg),
        "model": model,
        "optimizer_history": [{**BEGINNING, "num_updates": history.get("num_updates", 0)}],
        "last_optimizer_state": None,
        "task_state": {},
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": None},
        KEPT: {
            "args": args,
            "buffers": {name: t for name, t in checkpoint["model"].items() if DEAD.search(name)},
        },
    }


def to_reference(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """One of our checkpoints as {args, model} of the reference implementation.

    Raises ValueError for another model, and for options that the reference does not have.
    """
    cfg = checkpoint.get("cfg") or {}
    chosen = cfg.get("model") or {}
    chosen = vars(chosen) if isinstance(chosen, Namespace) else chosen  # of fairseq's older architectures
    name = str(chosen.get("_name") or chosen.get("arch") or "")
    if not name.startswith(("mega_nmt", "mega_lm")):
        raise ValueError(f"it holds the model {name or 'of no name'!r}, no mega_nmt or mega_lm")
    kept = checkpoint.get(KEPT)
    model = to_reference_names(checkpoint["model"])
    if kept:
        return {"args": kept["args"], "model": {**model, **kept["buffers"]}}
    return {"args": _arguments(OmegaConf.create(cfg), name), "model": model}


def _configuration(args: Namespace, arch: str) -> Any:
    """The reference's arguments as a configuration of fairseq 0.12."""
    nmt = arch.startswith("mega_nmt")
    sides = ("encoder", "decoder") if nmt else ("decoder",)
    wanted = [f"{side}_{size}" for side in sides for size in SIZES] + list(CHOICES)
    absent = [name for name in wanted if not hasattr(args, name)]
    if absent:
        raise ValueError(f"its args lack {', '.join(absent)}")
    task = "translation" if nmt else "mega_language_modeling"
    argv = ["data", "--task", task, "--arch", arch]
    decay = "polynomial_decay" if getattr(args, "total_num_update", None) else "fixed"
    criterion = getattr(args, "criterion", "")
    criterion = criterion if criterion in CRITERION_REGISTRY else "cross_entropy"
    argv += ["--optimizer", "adam", "--lr-scheduler", decay, "--criterion", criterion]
    parsed = options.parse_args_and_arch(options.get_training_parser(), argv)
    model = [option.name for option in fields(MegaNMTOptions if nmt else MegaLMOptions)]
    for name in [*model, *(name for name in TRAINING if hasattr(parsed, name))]:
        if hasattr(args, name):
            setattr(parsed, name, getattr(args, name))
    parsed.truncation_length = args.truncation_length or 0
    parsed.encoder_embed_path = parsed.decoder_embed_path = None  # the vectors are in the checkpoint
    parsed.user_dir = None
    if not nmt:
        _blocks(args, parsed)
    try:
        return convert_namespace_to_omegaconf(parsed)
    except (HydraException, OmegaConfBaseException) as error:
        reason = str(error.__cause__ or error).split("\n")[0]
        raise ValueError(f"its args do not fit fairseq's options: {reason}") from error


def _blocks(args: Namespace, parsed: Namespace) -> None:
    """How the reference's language models cut their text."""
    multiples = [getattr(args, f"variant_block_multiple_{end}", None) for end in ("min", "max")]
    parts = str(getattr(args, "valid_block", None)).partition("splits:")[2]
    if all(multiples):
        parsed.chunk_multiples = ",".join(map(str, multiples))
    if parts:
        parsed.valid_blocks = int(parts)
    if all(multiples) or parts:
        parsed.sample_break_mode = "none"


def _arguments(cfg: Any, name: str) -> Namespace:
    """A configuration of fairseq 0.12 as the reference's arguments."""
    nmt = name.startswith("mega_nmt")
    sides = ("encoder", "decoder") if nmt else ("decoder",)
    model = cfg.model
    before = {bool(model.normalize_before or model.get(f"{s}_normalize_before", False)) for s in sides}
    if len(before) > 1:
        raise ValueError("the reference has one --normalize-before for encoder and decoder, this model two")
    known = [option.name for option in fields(MegaNMTOptions if nmt else MegaLMOptions)]
    arguments = {option: model.get(option) for option in known if option in model}
    arguments |= {f"{side}_{size}": value(model, side, size) for side in sides for size in SIZES}
    arguments["decoder_input_dim"] = model.decoder_input_dim or arguments["decoder_embed_dim"]
    arguments["normalize_before"] = before.pop()
    for group in (cfg.task, cfg.criterion, cfg.optimizer, cfg.lr_scheduler, cfg.optimization, cfg.common):
        arguments |= {k: v for k, v in OmegaConf.to_container(group).items() if k in TRAINING}
    back = {ours: theirs for theirs, ours in ARCHITECTURES.items()}
    arguments["arch"] = back.get(name, "mega" if nmt else "mega_lm")
    arguments["task"] = "translation" if nmt else "language_modeling"
    arguments["criterion"] = OURS.get(cfg.criterion._name, str(cfg.criterion._name))
    return Namespace(**arguments)


def check_fit(cfg: Any, state: dict[str, Tensor]) -> None:
    """Raises ValueError where the tensors are not those of the model that cfg describes."""
    shapes, wanted = (
        {name: tuple(t.shape) for name, t in tensors.items()} for tensors in (state, described(cfg, state))
    )
    for name in [*wanted, *shapes]:
        here, there = (f"of shape {known[name]}" if name in known else "absent" for known in (shapes, wanted))
        if here != there:
            raise ValueError(f"its tensors and its args differ: {name} is {here}, by its args {there}")


def described(cfg: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, without memory, of the model that cfg describes, with the vocabulary of `state`."""
    family = MegaNMT if str(cfg._name).startswith("mega_nmt") else MegaLM
    target = _vocabulary(state, "decoder")
    source = target if family is MegaLM or cfg.share_all_embeddings else _vocabulary(state, "encoder")
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    with torch.device("meta"):
        return family.build_model(cfg, task).state_dict()


def _vocabulary(state: dict[str, Tensor], side: str) -> Dictionary:
    """A dictionary as long as the embeddings of one side."""
    table = re.compile(rf"{side}\.embed_tokens\.(embeddings\.\d+\.0\.)?weight")  # the second kind is adaptive
    return dictionary_of(sum(len(t) for name, t in state.items() if table.fullmatch(name)))

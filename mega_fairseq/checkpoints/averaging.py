"""The average of several checkpoints of one training: which ones, and their means."""

import re
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from omegaconf import OmegaConf
from torch import Tensor

from mega_fairseq.checkpoints.errors import CheckpointError

KINDS = {  # what --num-KIND-checkpoints looks for; the last group is the number to sort by
    "epoch": (re.compile(r"checkpoint()(\d+)\.pt"), "checkpoint3.pt"),
    "update": (re.compile(r"checkpoint_(\d+)_(\d+)\.pt"), "checkpoint_3_1000.pt"),
    "best": (re.compile(r"checkpoint\.best_(.+)_(-?\d+(?:\.\d+)?)\.pt"), "checkpoint.best_loss_4.321.pt"),
}


def chosen(
    inputs: list[Path], kind: str | None = None, count: int = 0, bound: int | None = None
) -> list[Path]:
    """The checkpoints to average: the inputs, or the last `count` of a kind (of KINDS) in folders.

    The newest or best one comes last; bound: the last epoch or update that counts.
    Raises CheckpointError or OSError.
    """
    absent = next((path for path in inputs if not path.exists()), None)
    if absent is not None:
        raise FileNotFoundError(f"there is no {absent}; check --inputs")
    if bound is not None and kind not in ("epoch", "update"):
        raise CheckpointError(
            f"--checkpoint-upper-bound {bound} needs --num-epoch-checkpoints or --num-update-checkpoints"
        )
    if kind is not None:
        return numbered(inputs, kind, count, bound)
    folder = next((path for path in inputs if path.is_dir()), None)
    if folder is not None:
        raise CheckpointError(
            f"--inputs {folder} is a folder; name files in it, or give --num-epoch-checkpoints N, "
            "--num-update-checkpoints N or --num-best-checkpoints N"
        )
    return inputs


def numbered(inputs: list[Path], kind: str, count: int, bound: int | None) -> list[Path]:
    """The last `count` files of a kind, by number. Raises CheckpointError where there are fewer."""
    pattern, example = KINDS[kind]
    files = [file for path in inputs for file in (path.iterdir() if path.is_dir() else [path])]
    matches = {file: match for file in files if (match := pattern.fullmatch(file.name))}
    numbers = {file: float(match[2]) for file, match in matches.items()}
    within = [file for file, number in numbers.items() if bound is None or number <= bound]
    found = sorted(within, key=lambda file: (numbers[file], file))
    if len(found) < count:
        upto = "" if bound is None else f" up to {bound}"
        names = ", ".join(file.name for file in found[-10:]) or "none"
        raise CheckpointError(
            f"--num-{kind}-checkpoints {count} finds {len(found)} files named like {example}{upto} in "
            f"{', '.join(map(str, inputs))} ({names}); ask for fewer, or name other --inputs"
        )
    if kind == "best":
        metrics = sorted({match[1] for match in matches.values()})
        if len(metrics) > 1:
            raise CheckpointError(
                f"--num-best-checkpoints finds the best by several metrics, {' and '.join(metrics)}, in "
                f"{', '.join(map(str, inputs))}; name the files of one of them as --inputs"
            )
        cfg = read(found[0]).get("cfg") or OmegaConf.create()
        if not OmegaConf.select(cfg, "checkpoint.maximize_best_checkpoint_metric"):
            found.reverse()  # the lower the better
    return found[-count:]


def check_output(output: Path, inputs: list[Path]) -> None:
    """Raises CheckpointError where the output cannot be written, or would replace an input."""
    if output.is_dir():
        raise CheckpointError(f"--output {output} is a folder; name a file in it, like {output}/average.pt")
    if not output.parent.is_dir():
        raise CheckpointError(f"--output {output}: there is no folder {output.parent}; make it first")
    if output.exists() and any(output.samefile(path) for path in inputs):
        raise CheckpointError(f"--output {output} is one of the inputs; give the average another name")


def read(path: Path) -> dict[str, Any]:
    """A checkpoint with its tensors as `model`. Raises CheckpointError."""
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        model = state["model"]
    except CheckpointError:
        raise
    except Exception as error:  # what a damaged file leads to has no end
        raise CheckpointError(
            f"cannot read {path} as a fairseq checkpoint ({type(error).__name__}: {error}); use another one"
        ) from error
    if not isinstance(model, dict) or not model or not all(isinstance(t, Tensor) for t in model.values()):
        raise CheckpointError(f"{path} holds no tensors of a model; use a checkpoint that fairseq wrote")
    return state


def average(paths: list[Path]) -> dict[str, Any]:
    """The last checkpoint with the means of all for its tensors, and without the optimizer's state.

    Sums are in float64; numbers keep their type, tied tensors stay tied, whole numbers are the last one's.
    Raises CheckpointError for unlike ones.
    """
    sums: dict[str, Tensor] = {}
    ties: dict[str, tuple[str, ...]] = {}  # tensors that are one in every input have equal ties
    for path in paths:
        state = read(path)
        model = state["model"]
        if sums:
            check_alike(paths[0], sums, path, model)
        for name, tensor in model.items():
            if not tensor.is_floating_point():
                sums[name] = tensor
            elif name in sums:
                sums[name] += tensor
            else:
                sums[name] = tensor.to(torch.float64, copy=True)
        for name, owner in owners(model).items():
            ties[name] = (*ties.get(name, ()), owner)
    means: dict[tuple[str, ...], Tensor] = {}
    for name, tensor in model.items():
        if tensor.is_floating_point():
            if ties[name] not in means:
                means[ties[name]] = (sums[name] / len(paths)).to(tensor.dtype)
            model[name] = means[ties[name]]
    state["last_optimizer_state"] = None
    if OmegaConf.is_config(state.get("cfg")):  # as fairseq's trainer writes it
        state["cfg"] = OmegaConf.to_container(state["cfg"], resolve=True, enum_to_str=True)
    return state


def owners(model: dict[str, Tensor]) -> dict[str, str]:
    """For each tensor the first one that is the same memory."""
    first: dict[Any, str] = {}
    found = {}
    for name, tensor in model.items():
        memory = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        found[name] = first.setdefault(memory, name) if tensor.numel() else name
    return found


def check_alike(first: Path, sums: dict[str, Tensor], path: Path, model: dict[str, Tensor]) -> None:
    """Raises CheckpointError unless both hold the same names and shapes."""
    for owner, names, others in ((first, sums, model), (path, model, sums)):
        alone = next((name for name in names if name not in others), None)
        if alone is not None:
            raise CheckpointError(
                f"{path} holds another model than {first}: {alone} is in {owner} only; average checkpoints "
                "of one training"
            )
    for name, tensor in model.items():
        kinds = [
            f"{tuple(t.shape)}{'' if t.is_floating_point() else ' integer'}" for t in (tensor, sums[name])
        ]
        if kinds[0] != kinds[1]:
            raise CheckpointError(
                f"{path} holds another model than {first}: {name} is {kinds[0]} and was {kinds[1]}; average "
                "checkpoints of one training"
            )

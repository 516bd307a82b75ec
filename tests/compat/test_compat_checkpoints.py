"""What a checkpoint may hold, and what is said about one that cannot be used."""

import argparse
import collections
import os
import pickle

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from omegaconf import OmegaConf

from mega_fairseq.checkpoints import safe_types
from mega_fairseq.checkpoints.errors import CheckpointError


def checkpoint(**extra):
    return {
        "args": None,
        "cfg": {"model": {"_name": "mega_nmt"}},
        "model": {"weight": torch.ones(2)},
        "optimizer_history": [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        **extra,
    }


PASSIVE = {
    "namespace": argparse.Namespace(lr=[0.1]),
    "numpy": [np.float64(1.5), np.float32(2), np.int64(3), np.arange(3), np.array([True])],
    "defaultdict": collections.defaultdict(dict),
    "omegaconf": OmegaConf.create({"model": {"dim": 1, "betas": [0.9, "x", None, True]}}),
    "placeholder": distributed_utils._TensorPlaceholder(index=3),
}


@pytest.mark.parametrize("kind", PASSIVE)
def test_passive_data_load(tmp_path, kind):
    path = str(tmp_path / "checkpoint.pt")
    torch.save(checkpoint(task_state=PASSIVE[kind]), path)
    loaded = checkpoint_utils.load_checkpoint_to_cpu(path)["task_state"]
    assert str(loaded) == str(PASSIVE[kind])
    allowed = torch.serialization.get_safe_globals()
    try:
        torch.serialization.clear_safe_globals()
        with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
            checkpoint_utils.load_checkpoint_to_cpu.mega_original(path)
    finally:
        torch.serialization.add_safe_globals(allowed)


def test_numbers_written_under_numpy_1_load(tmp_path):
    path = tmp_path / "checkpoint.pt"
    written = pickle.dumps(np.float64(1.5), protocol=2).replace(
        b"numpy._core.multiarray", b"numpy.core.multiarray"
    )
    archive = pickle.loads(written)
    torch.save({"value": archive}, path)
    allowed = {item[1] for item in safe_types._numpy_types() if isinstance(item, tuple)}
    assert {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"} <= allowed
    assert torch.load(path)["value"] == 1.5


class Hostile:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_code_in_a_checkpoint_is_refused(tmp_path):
    path = str(tmp_path / "checkpoint.pt")
    torch.save(checkpoint(task_state=Hostile(f"touch {tmp_path}/owned")), path)
    with pytest.raises(CheckpointError, match=r"refused to load .*checkpoint.pt.* (posix|nt)\.system"):
        checkpoint_utils.load_checkpoint_to_cpu(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "list", "tensor", "weights"])
def test_bad_checkpoints_are_told_in_one_sentence(tmp_path, kind):
    path = tmp_path / "checkpoint_last.pt"
    other = {"list": [1, 2], "tensor": torch.ones(3), "weights": {"weight": torch.ones(3)}}
    torch.save(other.get(kind, checkpoint()), path)
    whole = path.read_bytes()
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello\n"}.get(kind, whole)
    )
    with pytest.raises(CheckpointError) as raised:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert "weights_only" not in str(raised.value)
    assert raised.value.__cause__ is not None


def test_an_absent_checkpoint_is_named():
    with pytest.raises(FileNotFoundError, match=r"no checkpoint nowhere/checkpoint.pt; check --path"):
        checkpoint_utils.load_checkpoint_to_cpu("nowhere/checkpoint.pt")


def test_a_killed_copy_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    new, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    new.write_bytes(b"n" * 100)
    last.write_bytes(b"old")

    def die(source, target):
        with open(target, "wb") as f:
            f.write(b"n" * 50)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", die)
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy(str(new), str(last), overwrite=True)
        assert last.read_bytes() == b"old"
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy.mega_original(str(new), str(last), overwrite=True)
        assert last.read_bytes() != b"old"
    assert PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == new.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint1.pt", "checkpoint_last.pt"]

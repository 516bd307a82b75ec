"""Repairs of saving and resuming, and of commands on several processes; tests/cli has whole trainings."""

import errno
import os
import time
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.tasks import FairseqTask
from fairseq.tasks.translation import TranslationTask

from mega_fairseq.checkpoints.errors import CheckpointError

STATE = {"model": {"weight": torch.arange(5.0)}}


@pytest.fixture
def faults(monkeypatch):
    """Faults that the next calls of torch.save end in, behind some bytes of the file."""
    coming, save = [], torch.save

    def faulty(obj, file, *args, **kwargs):
        if not coming:
            return save(obj, file, *args, **kwargs)
        file.write(b"half of it")
        number = coming.pop(0)
        torchs = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
        torchs.__context__ = OSError(number, os.strerror(number))  # all that it keeps of it
        raise torchs

    monkeypatch.setattr(torch, "save", faulty)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return coming


def test_a_write_that_failed_for_a_moment_begins_again(tmp_path, faults):
    path = tmp_path / "checkpoint_last.pt"
    faults += [errno.EIO, errno.EIO]
    checkpoint_utils.torch_persistent_save(STATE, str(path))
    whole = path.read_bytes()
    assert torch.equal(torch.load(path)["model"]["weight"], STATE["model"]["weight"])
    faults += [errno.EIO]
    checkpoint_utils.torch_persistent_save.mega_original(STATE, str(path))
    assert path.read_bytes().startswith(b"half of it") and path.read_bytes() != whole


@pytest.mark.parametrize(
    ("number", "times", "words"),
    [
        (
            errno.ENOSPC,
            1,
            "No space left on device; make room, keep fewer checkpoints (--no-epoch-checkpoints",
        ),
        (errno.EDQUOT, 1, "make room"),
        (errno.EIO, 3, "Input/output error; check --save-dir"),
    ],
)
def test_a_write_that_fails_leaves_what_was_there(tmp_path, faults, number, times, words):
    path = tmp_path / "checkpoint_last.pt"
    path.write_bytes(b"old")
    faults += [number] * times
    with pytest.raises(CheckpointError) as raised:
        checkpoint_utils.torch_persistent_save(STATE, str(path))
    assert str(raised.value).startswith(f"cannot write {path}: ") and words in str(raised.value)
    assert faults == [] and path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]


def test_what_cannot_be_pickled_is_no_matter_of_room(tmp_path):
    with pytest.raises(Exception, match=r"(?i)pickle"):
        checkpoint_utils.torch_persistent_save({"model": lambda: 0}, str(tmp_path / "checkpoint_last.pt"))
    assert os.listdir(tmp_path) == []


def test_a_copy_without_room_leaves_what_was_there(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    new, last = tmp_path / "checkpoint1.pt", tmp_path / "checkpoint_last.pt"
    new.write_bytes(b"new")
    last.write_bytes(b"old")
    with monkeypatch.context() as patched:
        patched.setattr("shutil.copyfile", full)
        with pytest.raises(CheckpointError, match=f"cannot write {last}: No space left on device; make"):
            PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_bytes() == b"old"
    (tmp_path / "checkpoint_last.pt.tmp").write_bytes(b"ne")  # of a copy that was killed
    assert PathManager.copy(str(new), str(last), overwrite=True)
    assert sorted(os.listdir(tmp_path)) == [new.name, last.name] and last.read_bytes() == b"new"


def batches(processes, rank, state=None, unrepaired=False):
    """What a process reads of 20 batches in their order: all, or what is left from a state on."""
    data = torch.utils.data.TensorDataset(torch.arange(20))
    itr = iterators.EpochBatchIterator(
        data, lambda items: items[0][0].item(), [[i] for i in range(20)], num_shards=processes, shard_id=rank
    )
    if state is not None:
        load = iterators.EpochBatchIterator.load_state_dict
        (load.mega_original if unrepaired else load)(itr, state)
    return itr


def state_after(processes, steps):
    itr = batches(processes, 0)
    epoch = itr.next_epoch_itr(shuffle=False)
    for _ in range(steps):
        next(epoch)
    return itr.state_dict()


@pytest.mark.parametrize(("before", "steps"), [(1, 8), (1, 16), (2, 6), (4, 3), (1, 7), (2, 0)])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_other_processes_read_what_is_left_of_the_epoch(before, steps, after):
    state = state_after(before, steps)
    left = [list(batches(after, n, state).next_epoch_itr(shuffle=False)) for n in range(after)]
    begin = before * steps // after * after  # a batch is read again rather than left out
    assert sorted(batch for shard in left for batch in shard) == list(range(begin, 20))


def test_upstream_leaves_out_or_stops():
    (batch, *_) = batches(2, 0, state_after(1, 6), unrepaired=True).next_epoch_itr(shuffle=False)
    assert batch == 12
    with pytest.raises(RuntimeError, match="dataloader mismatch"):
        batches(2, 0, state_after(1, 12), unrepaired=True)


def test_a_checkpoint_of_upstream_is_read_as_by_upstream():
    state = state_after(2, 6)
    del state["num_shards"]
    assert next(batches(1, 0, state).next_epoch_itr(shuffle=False)) == 6


def test_generate_obeys_its_shard():
    shard = ["data", "--path", "x.pt", "--num-shards", "3", "--shard-id", "2"]
    given = options.parse_args_and_arch(options.get_generation_parser(), shard)
    assert (given.distributed_world_size, given.distributed_rank) == (3, 2)
    given = options.parse_args_and_arch(options.get_generation_parser(), shard[:3])
    assert (given.distributed_world_size, given.distributed_rank) == (1, 0)
    given = options.parse_args_and_arch(options.get_eval_lm_parser(), shard)
    assert (given.num_shards, given.shard_id, given.distributed_world_size) == (3, 2, 1)


def test_nothing_is_validated_as_nothing():
    for task in (FairseqTask, TranslationTask):
        made = task.__new__(task)
        assert made.valid_step({}, None, None) == (0.0, 0, {})
        with pytest.raises((AttributeError, TypeError, KeyError)):
            task.valid_step.mega_original(made, {}, None, None)


def test_a_list_is_gathered_on_a_cpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU gathers")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/x", rank=0, world_size=1)
    try:
        group = torch.distributed.group.WORLD
        for data in ({"loss": 1.5}, [{"loss": 2.5}] * 3):
            assert distributed_utils.all_gather_list(data, group=group, max_size=1000) == [data]
    finally:
        torch.distributed.destroy_process_group()


def test_only_eval_lm_refuses_several_processes(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    configuration = SimpleNamespace(distributed_training=SimpleNamespace(distributed_world_size=1))
    names = {}
    exec("def eval_lm(): pass\ndef main(cfg): pass", names)
    with pytest.raises(ValueError, match=r"one of 2 parts .* --num-shards 2 --shard-id 0"):
        distributed_utils.call_main(configuration, names["main"])

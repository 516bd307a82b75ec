"""Repairs take what callers of fairseq's functions build: configurations with some groups only, and mocks.

fairseq's own tests (tests/test_train.py) call checkpoint_utils.load_checkpoint in this manner.
"""

import gc
import logging
import weakref
from argparse import Namespace
from unittest.mock import MagicMock

import pytest
import torch
from fairseq import checkpoint_utils, trainer
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)
from fairseq.data import ListDataset, iterators
from fairseq.distributed import utils as distributed_utils
from fairseq.tasks import FairseqTask
from omegaconf import OmegaConf

import mega_fairseq  # noqa: F401  (the repairs)

BATCHES = 150


def checkpoint_group(**given):
    fields = {
        "save_dir": "no-such-folder",
        "restore_file": "checkpoint_last.pt",
        "reset_optimizer": False,
        "reset_lr_scheduler": False,
        "reset_meters": False,
        "reset_dataloader": False,
        "finetune_from_model": None,
        "optimizer_overrides": "{}",
        "checkpoint_suffix": "",
    }
    return OmegaConf.create({**fields, **given})


def mocked_trainer(epoch=2, read=50, end=False):
    tokens = ListDataset([torch.tensor([n]) for n in range(BATCHES)])
    batches = iterators.EpochBatchIterator(
        dataset=tokens, collate_fn=lambda x: x, batch_sampler=[[n] for n in range(BATCHES)]
    )
    made = MagicMock()
    made.get_train_iterator.return_value = batches
    state = {"train_iterator": {"epoch": epoch, "iterations_in_epoch": read, "shuffle": False}}
    made.load_checkpoint.return_value = None if end else state
    made.checkpoint_suffix = ""
    made.data_parallel_world_size = 1
    return made, batches


def test_a_checkpoint_group_alone_is_enough():
    made, batches = mocked_trainer()
    extra_state, found = checkpoint_utils.load_checkpoint(checkpoint_group(), made)
    assert found is batches and extra_state["train_iterator"]["epoch"] == 2
    assert next(batches.next_epoch_itr(shuffle=False))[0].item() == 50


def test_a_namespace_is_enough():
    made, batches = mocked_trainer()
    given = Namespace(**OmegaConf.to_container(checkpoint_group()))
    assert checkpoint_utils.load_checkpoint(given, made)[1] is batches


def test_nothing_to_resume_from():
    made, batches = mocked_trainer(end=True)
    assert checkpoint_utils.load_checkpoint(checkpoint_group(), made) == (None, batches)


def test_an_absent_restore_file_begins_anew_with_a_warning(tmp_path, caplog):
    made = MagicMock()
    made.cfg = OmegaConf.create({"checkpoint": {"save_dir": str(tmp_path)}, "ema": {"store_ema": False}})
    made.data_parallel_world_size = 1
    with caplog.at_level(logging.WARNING):
        assert trainer.Trainer.load_checkpoint(made, str(tmp_path / "other" / "x.pt")) is None
    assert "there is no checkpoint" in caplog.text and "--restore-file" in caplog.text


@pytest.mark.parametrize("cfg", [OmegaConf.create({}), Namespace(), OmegaConf.create({"common": {}})])
def test_main_is_called_with_any_configuration(cfg, monkeypatch):
    monkeypatch.setattr(distributed_utils, "infer_init_method", lambda *_: None)
    called = []
    with pytest.raises(Exception) as found:
        distributed_utils.call_main(cfg, called.append)
    # as without the plugin: it looks for its own group, and nothing else
    with pytest.raises(type(found.value)) as expected:
        distributed_utils.call_main.mega_original(cfg, called.append)
    assert str(found.value) == str(expected.value)


def test_a_generator_is_built_of_few_options():
    task = MagicMock()
    made = FairseqTask.build_generator(task, [MagicMock()], Namespace(beam=2), seq_gen_cls=MagicMock())
    assert made is not None


@pytest.mark.parametrize("weights", ["relu2", "laplace"])
def test_alignments_need_weights_above_zero(weights):
    criterion = LabelSmoothedCrossEntropyCriterionWithAlignment(MagicMock(), False, 0.1, 0.05)
    cfg = OmegaConf.create({"model": {"attention_activation_fn": weights}})
    with pytest.raises(ValueError, match=f"--attention-activation-fn {weights} .*train with softmax"):
        trainer.Trainer(cfg, MagicMock(), MagicMock(), criterion)


@pytest.mark.parametrize("given", [False, True])
def test_process_groups_end_with_the_work_and_those_of_the_caller_stay(given, monkeypatch):
    def begin(cfg=None):
        torch.distributed.init_process_group(
            "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
        )
        return 0

    monkeypatch.setattr(distributed_utils, "distributed_init", (lambda cfg: 0) if given else begin)
    cfg = OmegaConf.create({"common": {"cpu": True, "tpu": False}, "distributed_training": {}})
    cfg.distributed_training.update(device_id=0, distributed_rank=0)
    if given:
        begin()
    seen, left, destroy = [], [], torch.distributed.destroy_process_group

    def work(cfg):
        seen.append(distributed_utils.get_global_group())
        training = torch.nn.Module()  # as DDP, which refers to the group, in a cycle
        training.__dict__["itself"] = training
        left.append(weakref.ref(training))

    def destroyed():
        assert all(reference() is None for reference in left)
        destroy()

    gc.disable()
    monkeypatch.setattr(torch.distributed, "destroy_process_group", destroyed)
    try:
        for _ in range(2):
            distributed_utils.distributed_main(0, work, cfg, {})
            assert torch.distributed.is_initialized() == given
    finally:
        gc.enable()
        if torch.distributed.is_initialized():
            destroy()
        vars(distributed_utils.get_global_group).pop("_global_group", None)
    assert len(seen) == 2 and None not in seen

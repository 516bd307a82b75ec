"""Every repair of fairseq, and where fairseq still has the fault, a look at the original failing."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq import options, utils
from fairseq.data import data_utils, token_block_dataset
from fairseq.distributed import utils as distributed_utils
from fairseq.models.transformer import TransformerConfig
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.optim.fp16_optimizer import FP16Optimizer

from mega_fairseq.compat import install


def test_apply_is_idempotent():
    before = data_utils.batch_by_size
    install.apply()
    assert data_utils.batch_by_size is before
    assert not hasattr(before.mega_original, "mega_original")


def test_old_torch_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu121")
    with pytest.raises(ImportError, match=r"torch 2\.6 or newer"):
        install.apply()


def test_dropped_numpy_names():
    sizes = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    assert data_utils.get_buckets(sizes, 2).tolist() == [3, 9]
    blocks = token_block_dataset.TokenBlockDataset(
        [torch.ones(3).long()] * 2, [3, 3], block_size=None, pad=1, eos=2, break_mode="eos"
    )
    assert len(blocks) == 2 and len(blocks[1]) == 3
    assert not hasattr(np, "compat") or np.__version__ < "2"


def test_configuration_strings_are_literals():
    from fairseq.optim import adam

    assert utils.eval_str_list("10,20", type=int) == [10, 20]
    assert utils.eval_str_list("[1e-3]") == [1e-3]
    assert utils.eval_bool("True") is True and utils.eval_bool(None) is False
    assert adam.eval("(0.9, 0.98)") == (0.9, 0.98)
    for read in (utils.eval_str_list, options.eval_str_list, adam.eval):
        with pytest.raises(ValueError, match="expected a literal"):
            read("__import__('os').getpid()")


def training_arguments(*flags):
    parser = options.get_training_parser()
    return options.parse_args_and_arch(parser, ["data", "--arch", "transformer", *flags])


def test_bf16_is_not_tpu(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fairseq-train"])
    assert (training_arguments("--bf16").bf16, training_arguments("--bf16").tpu) == (True, False)
    assert training_arguments("--memory-efficient-bf16").tpu is False
    assert training_arguments("--bf16", "--tpu").tpu is True
    assert training_arguments().tpu is False


def fp16_configuration():
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(
        parser, ["data", "--arch", "transformer", "--fp16", "--optimizer", "adam", "--cpu", "--lr", "0.1"]
    )
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    return convert_namespace_to_omegaconf(args)


def test_fp16_on_cpu(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fairseq-train"])
    cfg = fp16_configuration()
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.half))
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            FP16Optimizer.build_optimizer.__func__.mega_original(FP16Optimizer, cfg, [parameter])
    optimizer = FP16Optimizer.build_optimizer(cfg, [parameter])
    assert [p.dtype for p in optimizer.fp32_params] == [torch.float32]


WORKER = """
import torch
import mega_fairseq
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils
from fairseq.models.distributed_fairseq_model import DistributedFairseqModel
from omegaconf import OmegaConf
cfg = OmegaConf.structured(FairseqConfig).distributed_training
utils.infer_init_method(cfg)
print(cfg.distributed_world_size, cfg.distributed_rank, cfg.device_id, cfg.distributed_backend)
torch.distributed.init_process_group("gloo")
args = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
model = DistributedFairseqModel(args, torch.nn.Linear(2, 1), None, torch.device("cpu"))
model(torch.ones(1, 2)).sum().backward()
state = utils.broadcast_object({"cfg": OmegaConf.create({"a": [1]}), "w": torch.ones(2)}, 0, None)
print("ok", state)
"""


def test_torchrun_on_cpu():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launched = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "x",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env={
                **os.environ,
                **launched,
                "RANK": str(rank),
                "CUDA_VISIBLE_DEVICES": "",
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, worker in enumerate(workers):
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        assert out.startswith(f"2 {rank} 0 gloo\nok {{'cfg': {{'a': [1]}}, 'w': tensor([1., 1.])}}"), out


def test_upstream_divides_by_the_number_of_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    monkeypatch.setitem(os.environ, "RANK", "1")
    with pytest.raises(ZeroDivisionError):
        distributed_utils._infer_torch_distributed_launch_init.mega_original(SimpleNamespace())


def test_the_encoder_fast_path_is_off_where_it_exists(monkeypatch):
    cfg = TransformerConfig()
    assert not hasattr(TransformerEncoderLayerBase(cfg), "can_use_fastpath")  # gone since 0.12.2
    monkeypatch.setattr(TransformerEncoderLayerBase, "can_use_fastpath", True, raising=False)
    assert TransformerEncoderLayerBase(cfg).can_use_fastpath is False

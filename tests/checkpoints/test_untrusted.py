"""What is refused in a checkpoint though torch loads it; that honest files pass is told in tests/security."""

import io
import re
import resource
import sys
from pathlib import Path

import fairseq
import pytest
import torch
from fairseq import checkpoint_utils

from mega_fairseq.checkpoints import safe_types, untrusted
from mega_fairseq.checkpoints.errors import CheckpointError
from mega_fairseq.checkpoints.untrusted import Untrusted
from mega_fairseq.compat import install


def loaded(state, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return untrusted.load(buffer)


@pytest.mark.parametrize("new", [True, False])
def test_what_trainings_write_is_loaded(new):
    one = torch.randn(3, 4)
    model = {
        "a": one,
        "tied": one,
        "view": one[1],
        "turned": one.t(),
        "none": torch.empty(0, 2),
        "number": one[0, 0],
    }
    state = {"model": model, "cfg": {"bpe": {"gpt2_vocab_bpe": f"{untrusted.FAIRSEQS}vocab.bpe"}}}
    options = {"max_target_positions": 10**6, "decoder_layers": 48, "lr": [1e-3], "adam_betas": "(0.9, 0.98)"}
    state["cfg"]["model"] = {**options, "encoder_embed_path": __file__, "data": "runs/exp(2)/evaluation__1"}
    state["shared"] = [[options] * 100] * 50
    found = loaded(state, _use_new_zipfile_serialization=new)
    assert found["cfg"] == state["cfg"] and all(
        torch.equal(found["model"][name], model[name]) for name in model
    )


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"cfg": {"x": "${oc.env:HOME}"}}, r"cfg.x is '\$\{oc.env:HOME\}', to be filled in"),
        ({"cfg": {"x": ["a", "__import__('os')"]}}, "cfg.x.1 is .* looks like code"),
        ({"cfg": {"bpe": {"bpe_codes": "http://x/y"}}}, "cfg.bpe.bpe_codes .* download that yourself"),
        ({"cfg": {"model": {"decoder_embed_path": "/dev/zero"}}}, "which is no file; --model-overrides"),
        ({"cfg": {"model": {"encoder_layers": 2000}}}, "cfg.model.encoder_layers is 2,000, more"),
        ({"args": {"decoder_hidden_dim": 1e8}}, "args.decoder_hidden_dim"),
        ({"cfg": {"generation": {"beam": 10**7}}}, "cfg.generation.beam"),
        ({"model": {"x": torch.zeros(1).expand(9, 9)}}, r"model.x has the shape \(9, 9\) and 1 numbers"),
        ({"model": {"x": torch.zeros(10**6, 0)}}, r"model.x has the shape \(1000000, 0\) and 0 numbers"),
        ({"reference": {"args": {"max_len_b": 10**7}}}, "reference.args.max_len_b"),
        ({"model": {"\a": 1}}, "unprintable"),
    ],
)
def test_what_no_training_writes_is_refused(tmp_path, state, says):
    with pytest.raises(Untrusted, match=says):
        loaded(state)
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=f"refused to load {path}: its? .*{says}"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_memory_is_limited_only_while_a_file_is_read():
    before = resource.getrlimit(resource.RLIMIT_AS)
    with untrusted._bounded_memory(1 << 30):
        assert resource.getrlimit(resource.RLIMIT_AS)[0] > 1 << 30
        with pytest.raises(MemoryError):
            bytearray(1 << 32)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_only_reading_is_changed_in_fairseqs_torch():
    assert checkpoint_utils.torch.load is not torch.load
    assert checkpoint_utils.torch.save is torch.save and torch.load is torch.serialization.load
    install.apply()
    assert checkpoint_utils.torch.device is torch.device


def test_every_eval_of_fairseq_is_ours():
    """But those of the command line's --model-overrides, of data and of the examples."""
    root = Path(fairseq.__file__).parent
    files = [file for file in root.rglob("*.py") if "examples" not in file.relative_to(root).parts]
    users = [
        file for file in files if re.search(r"(?<![.\w])eval\(", re.sub(r"def eval\(", "", file.read_text()))
    ]
    names = {".".join(file.relative_to(root).with_suffix("").parts) for file in users}
    assert names - {"data.codedataset"} <= set(safe_types.EVALUATING.split())
    for name in names - {"data.codedataset"}:
        assert sys.modules[f"fairseq.{name}"].eval is safe_types._literal


def test_lists_may_be_multiplied_and_added():
    read = safe_types._literal
    assert read("[(512, 10, 5)] + [(512, 3, 2)] * 2") == [(512, 10, 5), (512, 3, 2), (512, 3, 2)]
    assert [read(text) for text in ("True", "1e-3", " (0.9, 0.98)", "[-1]")] == [
        True,
        1e-3,
        (0.9, 0.98),
        [-1],
    ]
    for text in (
        "[1] * 10**9",
        "[1] * 100000",
        "[[1] * 9999] * 9999 * 9",
        "'a' * 9",
        "print(1)",
        "x",
        "(" * 10**5,
    ):
        with pytest.raises(ValueError, match="expected a literal"):
            read(text)

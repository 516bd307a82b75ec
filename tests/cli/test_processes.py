"""Many processes do what one does: torchrun, shards, another number when resumed; and one that is killed."""

import math
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed import MODELS, ROOT, Training, lasting, make_data
from shell import IN_TWO, Shell

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAUNCHED = IN_TWO.split()
UPDATES = 50
pytestmark = pytest.mark.slow
COMMON = ["--user-dir", "mega_fairseq", "--optimizer", "adam", "--lr", "3e-3", "--clip-norm", "1.0"]
COMMON += [
    "--dropout",
    "0",
    "--seed",
    "7",
    "--num-workers",
    "0",
    "--log-format",
    "json",
    "--log-interval",
    "1",
]
COMMON += ["--no-epoch-checkpoints", "--disable-validation"]


@pytest.fixture(scope="module")
def shell():
    made = Shell()
    yield made
    made.close()


@pytest.fixture(scope="module")
def run(shell):
    """Run a program in a fork of a process that has imported fairseq; what it prints."""

    def call(*command, status=0):
        done = shell.run(shlex.join(map(str, command)), ROOT)
        assert done.status == status, done.printed[-3000:]
        return done.printed

    return call


def train(run, data, model, save_dir, *options, processes=1, updates=UPDATES):
    start = [*LAUNCHED] if processes > 1 else []
    sharing = [] if processes > 1 else ["--update-freq", "2"]
    limits = ["--max-update", updates, "--save-dir", save_dir]
    return run(*start, "fairseq-train", data, *MODELS[model], *COMMON, *sharing, *limits, *options)


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """{model: folder} with data, and a training of one process that sums the gradients of two batches."""
    folders = {}
    for model in MODELS:
        folders[model] = tmp_path_factory.mktemp(model)
        make_data(model, folders[model], call=lambda *arguments: run("python", *arguments))
        train(run, folders[model] / "bin", model, folders[model] / "one")
    return folders


def test_two_launchers_as_on_two_machines(run, shell, trained, tmp_path):
    """As in docs/distributed.md, with both on this machine."""
    port = free_port()
    join = f"torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint localhost:{port}"
    join += " --rdzv-id mega --local-addr localhost --no-python"
    parts = ["fairseq-train", trained["mega_nmt"] / "bin", *MODELS["mega_nmt"], *COMMON]
    train = shlex.join([*map(str, parts), "--max-update", str(UPDATES), "--save-dir", str(tmp_path)])
    done = shell.run(f"{join} {train} & first=$!; {join} {train}; wait $first", ROOT)
    assert done.status == 0, done.printed[-3000:]
    same_training(trained["mega_nmt"] / "one", tmp_path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def same_training(folder, other, tolerance=1e-6):
    one, two = (lasting(place / "checkpoint_last.pt") for place in (folder, other))
    assert one["optimizer_history"]["num_updates"] == two["optimizer_history"]["num_updates"] == UPDATES
    assert one["model"].keys() == two["model"].keys()
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("backend", ["pytorch_ddp", "legacy_ddp"])
def test_two_processes_are_one_that_sums_two_batches(run, trained, tmp_path, model, backend):
    printed = train(run, trained[model] / "bin", model, tmp_path, "--ddp-backend", backend, processes=2)
    assert "training on 2 devices" in printed and "rank 1" in printed
    same_training(trained[model] / "one", tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_a_training_goes_on_with_another_number_of_processes(run, trained, tmp_path, model):
    data = trained[model] / "bin"
    steps = {"mega_nmt": ((2, 17), (1, UPDATES)), "mega_lm": ((1, 17), (2, UPDATES))}[model]
    for processes, updates in steps:
        printed = train(run, data, model, tmp_path, processes=processes, updates=updates)
    assert re.search(r"Loaded checkpoint .* @ 17 updates", printed)
    same_training(trained[model] / "one", tmp_path)


SHARDED = ["--ddp-backend", "fully_sharded", "--min-params-to-wrap", "1"]
# Another bit of the norm would show: Adam makes whole steps of a gradient that is zero but for rounding.
OPTIMIZERS = {
    "clipped": [],
    "not clipped": ["--clip-norm", "0"],
    "sgd": ["--optimizer", "sgd", "--lr", "0.1"],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_sharded_training_is_that_of_one_process(run, trained, tmp_path, model, optimizer):
    """It is saved whole and goes on, sharded or by one process."""
    data, options = trained[model] / "bin", OPTIMIZERS[optimizer]
    train(run, data, model, tmp_path / "one", *options)
    train(run, data, model, tmp_path / "two", *SHARDED, *options, processes=2, updates=17)
    shutil.copytree(tmp_path / "two", tmp_path / "back")
    printed = train(run, data, model, tmp_path / "two", *SHARDED, *options, processes=2)
    assert re.search(r"Loaded checkpoint .* @ 17 updates", printed)
    printed = train(run, data, model, tmp_path / "back", *options)
    assert re.search(r"Loaded checkpoint .* @ 17 updates", printed)
    for folder in ("two", "back"):
        same_training(tmp_path / "one", tmp_path / folder)


SHARDED_WAYS = {
    "fp16": ["--fp16"],
    "memory-efficient-fp16": ["--fp16", "--memory-efficient-fp16"],
    "fp32-reduce-scatter": ["--fp16", "--fp32-reduce-scatter"],
    "no-reshard-after-forward": ["--no-reshard-after-forward"],
    "checkpoint-activations": ["--checkpoint-activations", "--update-freq", "2"],
}


@pytest.mark.parametrize("way", SHARDED_WAYS)
def test_sharded_trainings_learn(run, trained, tmp_path, way):
    data = trained["mega_nmt"] / "bin"
    printed = train(
        run, data, "mega_nmt", tmp_path, *SHARDED, *SHARDED_WAYS[way], processes=2, updates=UPDATES
    )
    losses = [float(loss) for loss in re.findall(r'train_inner .*?"loss": "([\d.]+)"', printed)]
    assert losses[-1] < losses[0] - 0.5


def test_a_sharded_training_of_one_process_is_a_plain_one(run, trained, tmp_path):
    printed = train(run, trained["mega_lm"] / "bin", "mega_lm", tmp_path, *SHARDED)
    assert "has nothing to share out" in printed
    same_training(trained["mega_lm"] / "one", tmp_path)


SHARDED_REFUSALS = {
    "--use-sharded-state": [],
    "--cpu-offload": [],
    "--amp": [],
    "--store-ema": [],
    "--eval-bleu": ["--eval-bleu-args", "{}"],
    "--encoder-layerdrop": ["0.1"],
    "--bf16": [],
}


@pytest.mark.parametrize("flag", SHARDED_REFUSALS)
def test_what_a_sharded_training_cannot_is_refused(run, trained, tmp_path, flag):
    """On one machine's two processes, both of which end."""
    options = [*SHARDED, flag, *SHARDED_REFUSALS[flag]]
    start = [*LAUNCHED, "fairseq-train", trained["mega_nmt"] / "bin", *MODELS["mega_nmt"], *COMMON]
    printed = run(*start, "--max-update", "1", "--save-dir", tmp_path, *options, status=1)
    assert re.search(rf"ValueError: .*{flag} .*", printed)
    assert not list(tmp_path.glob("*.pt"))


def test_shards_translate_every_sentence_once(run, trained):
    folder = trained["mega_nmt"]
    options = [
        "--user-dir",
        "mega_fairseq",
        "--path",
        folder / "one" / "checkpoint_last.pt",
        "--max-len-b",
        "12",
    ]

    def hypotheses(*shard):
        printed = run("fairseq-generate", folder / "bin", *options, "--batch-size", "4", *shard)
        return re.findall(r"^(H-\d+)\t[^\t]*\t(.*)$", printed, re.M)

    whole = hypotheses()
    shards = [hypotheses("--num-shards", "2", "--shard-id", n) for n in range(2)]
    assert len(whole) == 31 and all(len(shard) < 20 for shard in shards)
    assert sorted(line for shard in shards for line in shard) == sorted(whole)


def evaluated(printed):
    """(tokens, loss in bits a token) that fairseq-eval-lm tells."""
    (tokens,) = re.findall(r"Evaluated ([\d,]+) tokens", printed)
    (loss,) = re.findall(r"Loss \(base 2\): ([\d.]+)", printed)
    return int(tokens.replace(",", "")), float(loss)


def test_shards_of_a_text_add_up(run, trained):
    folder = trained["mega_lm"]
    command = ["fairseq-eval-lm", folder / "bin", "--user-dir", "mega_fairseq", "--gen-subset", "test"]
    command += [
        "--path",
        folder / "one" / "checkpoint_last.pt",
        "--tokens-per-sample",
        "30",
        "--batch-size",
        "1",
    ]
    tokens, loss = evaluated(run(*command))
    parts = [evaluated(run(*command, "--num-shards", "2", "--shard-id", n)) for n in range(2)]
    assert sum(count for count, _ in parts) == tokens and min(parts)[0] > 0
    assert math.isclose(sum(count * part for count, part in parts) / tokens, loss, abs_tol=1e-4)
    refused = run(*LAUNCHED, *command, status=1)
    assert "ValueError: fairseq-eval-lm would print the perplexity of one of 2 parts" in refused


def test_two_processes_validate_what_one_does(run, trained):
    folder = trained["mega_nmt"]
    command = ["fairseq-validate", folder / "bin", "--user-dir", "mega_fairseq", "--task", "translation"]
    command += ["--path", folder / "one" / "checkpoint_last.pt", "--max-tokens", "100"]
    losses = [
        re.findall(r"\| valid on 'valid' subset \| loss ([\d.]+)", run(*start, *command))
        for start in ([], LAUNCHED)
    ]
    assert len(losses[0]) == 1 and losses[0] == losses[1][:1]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank(pid):
    return dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in v)[
        "RANK"
    ]


def wait(process, seconds=60):
    """Its exit status, or a failed test where it hangs."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still waiting after {seconds} s") from None


def endless(data, save_dir, *options):
    parts = ["-m", "fairseq_cli.train", data, *MODELS["mega_nmt"], *COMMON, "--save-dir", save_dir, *options]
    return [*map(str, parts)]


def test_a_killed_process_ends_the_others_or_starts_all_again(trained, tmp_path):
    command = endless(trained["mega_nmt"] / "bin", tmp_path / "made", "--save-interval-updates", "5")
    own_store = {
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"
    }  # or the new processes meet the dead ones' addresses
    command = [sys.executable, *TORCHRUN, "--max-restarts", "1", *command]
    launched = Training(command, tmp_path / "log", own_store)
    for begin in ("@ 5 updates", "Loaded checkpoint"):
        assert launched.wait_until(lambda begin=begin: begin in launched.printed(), 0.05)
        workers = {rank(child): child for child in children(launched.process.pid)}
        os.kill(workers["1"], signal.SIGKILL)
    assert wait(launched.process) == 1
    assert f"exitcode  : -9 (pid: {workers['1']})" in launched.printed()
    assert not Path(f"/proc/{workers['0']}").exists()


def test_without_torchrun_the_other_process_ends_with_an_error(trained, tmp_path):
    shared = ["--distributed-world-size", "2", "--distributed-backend", "gloo"]
    command = endless(trained["mega_nmt"] / "bin", tmp_path / "checkpoints", *shared)
    launched = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    both = [
        Training([sys.executable, *command], tmp_path / f"{n}.log", {**launched, "RANK": str(n)})
        for n in range(2)
    ]
    assert both[0].wait_until(lambda: '"num_updates": "20"' in both[0].printed(), 0.05)
    assert both[0].kill()
    assert wait(both[1].process) == 1
    assert re.search(r"RuntimeError|DistBackendError", both[1].printed())

"""mega_lm through fairseq's commands: train, resume, evaluate, generate, the hub and the stated protocol."""

import json
import math
import random
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from mega_fairseq.models import MegaLM

ROOT = Path(__file__).resolve().parents[2]
SIZES = ["--decoder-embed-dim", "16", "--decoder-hidden-dim", "16", "--decoder-ffn-embed-dim", "16"]
SIZES += [
    "--decoder-z-dim",
    "8",
    "--decoder-n-dim",
    "2",
    "--decoder-layers",
    "1",
    "--decoder-chunk-size",
    "16",
]
LETTERS = "abcdefghij"


def call(*command, stdin=None):
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, input=stdin, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def run(module, *arguments, **options):
    done = call("-m", f"fairseq_cli.{module}", *arguments, **options)
    return done.stdout + done.stderr


def train(folder, name, *extra):
    common = [
        "--user-dir",
        "mega_fairseq",
        "--arch",
        "mega_lm",
        *SIZES,
        "--optimizer",
        "adam",
        "--lr",
        "0.02",
    ]
    quiet = ["--no-progress-bar", "--num-workers", "0", "--no-epoch-checkpoints", "--log-interval", "1"]
    return run("train", folder / "bin", *common, *quiet, "--save-dir", folder / name, *extra)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    draw = random.Random(0)
    for split, lines in (("train", 150), ("valid", 20), ("test", 60)):
        words = [[draw.choice(LETTERS) * 3 for _ in range(draw.randint(1, 20))] for _ in range(lines)]
        (folder / split).write_text("".join(" ".join("".join(line)) + "\n" for line in words))
    splits = [f"--{split}pref={folder / split}" for split in ("train", "valid", "test")]
    run("preprocess", "--only-source", *splits, "--destdir", folder / "bin")
    task = ["--task", "mega_language_modeling", "--rel-pos-bias", "rotary", "--chunk-multiples", "1,4"]
    task += ["--valid-blocks", "2", "--max-tokens", "256", "--share-decoder-input-output-embed"]
    train(folder, "rotary", *task, "--max-update", "20")
    resumed = train(folder, "rotary", *task, "--max-update", "40")
    assert re.search(r"@ 20 updates", resumed)
    stock = ["--task", "language_modeling", "--tokens-per-sample", "64", "--max-tokens", "256"]
    adaptive = ["--adaptive-input", "--adaptive-softmax-cutoff", "5,9", "--tie-adaptive-weights"]
    factors = ["--adaptive-input-factor", "2", "--adaptive-softmax-factor", "2"]
    loss = ["--criterion", "adaptive_loss", "--ddp-backend", "legacy_ddp", "--max-update", "30"]
    train(folder, "adaptive", *stock, *adaptive, *factors, *loss)
    return folder


def evaluate(trained, *options, name="rotary", split="test"):
    path = ":".join(str(trained / one / "checkpoint_last.pt") for one in name.split(":"))
    where = ["--user-dir", "mega_fairseq", "--path", path]
    output = run("eval_lm", trained / "bin", *where, "--gen-subset", split, *options)
    tokens = int(re.search(r"Evaluated ([\d,]+) tokens", output)[1].replace(",", ""))
    return tokens, float(re.search(r"Loss \(base 2\): ([\d.]+)", output)[1]), output


@pytest.mark.parametrize(("name", "block"), [("rotary", 16), ("adaptive", 100000)])
def test_evaluation_in_float16(trained, name, block):
    options = ["--tokens-per-sample", block]
    tokens, loss, _ = evaluate(trained, *options, name=name)
    again, half, _ = evaluate(trained, *options, "--fp16", name=name)
    assert again == tokens
    assert half == pytest.approx(loss, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rotary", "adaptive"])
def test_the_whole_text_as_one_block_and_in_parts(trained, name):
    letters = (trained / "test").read_text()
    total = len(letters.split()) + letters.count("\n")
    tokens, whole, _ = evaluate(trained, "--tokens-per-sample", "100000", name=name)
    assert tokens == total
    assert 0.5 < whole < math.log2(len(LETTERS)) + 0.5  # it has learnt something
    window = ["--tokens-per-sample", "96", "--context-window", "32", "--batch-size", "3"]
    for options in (["--softmax-batch", "50", "--tokens-per-sample", "100000"], window):
        tokens, loss, _ = evaluate(trained, *options, name=name)
        assert tokens == total
        assert loss == pytest.approx(whole, abs=0.03)
    task = ["--task", "mega_language_modeling", "--valid-blocks", "10", "--batch-size", "4"]
    shards = [evaluate(trained, *task, "--num-shards", "2", "--shard-id", i, name=name)[:2] for i in range(2)]
    tokens, loss, _ = evaluate(trained, *task, name=name)
    assert tokens == total == sum(n for n, _ in shards)
    assert sum(n * part for n, part in shards) / total == pytest.approx(loss, abs=1e-3)


def test_word_probabilities_are_the_loss(trained):
    tokens, loss, output = evaluate(trained, "--tokens-per-sample", "100000", "--output-word-probs")
    found = [float(p) for p in re.findall(r"\S \[(-[\d.]+)\]", output)]
    assert len(found) == tokens
    assert -sum(found) / tokens / math.log(2) == pytest.approx(loss, abs=1e-3)


def test_a_larger_chunk_at_test(trained):
    override = ["--tokens-per-sample", "100000", "--model-overrides", "{'decoder_chunk_size': 64}"]
    assert evaluate(trained, *override)[1] < 5
    with pytest.raises(AssertionError, match="--decoder-chunk-size as it was in training"):
        evaluate(trained, *override, name="adaptive")  # with a simple bias


def test_the_protocol_is_stated(trained):
    text = trained / "test.txt"
    text.write_text((trained / "test").read_text().replace(" ", ""))
    arguments = [
        "scripts/perplexity.py",
        trained / "bin",
        "--path",
        trained / "rotary" / "checkpoint_last.pt",
    ]
    arguments += ["--gen-subset", "test", "--tokens-per-sample", "100", "--batch-size", "2"]
    report = json.loads(call(*arguments, "--json", "--text", text).stdout)
    tokens, bits, _ = evaluate(trained, "--tokens-per-sample", "100", "--batch-size", "2")
    assert report["tokens"] == tokens == report["characters"]
    assert report["bits_per_token"] == pytest.approx(bits, abs=1e-4)
    assert report["bits_per_character"] == pytest.approx(bits, abs=1e-4)
    assert report["perplexity_per_token"] == pytest.approx(2**bits, rel=1e-3)
    lines = text.read_text().count("\n")
    assert report["words"] == 2 * lines  # a line is one word and its end
    assert math.log(report["perplexity_per_word"]) * 2 * lines == pytest.approx(report["nats"], rel=1e-6)
    assert (report["blocks"], report["chunk"]) == (-(-tokens // 100), 16)
    seen = sorted([*range(1, 101)] * (tokens // 100) + [*range(1, 1 + tokens % 100)])
    assert (report["context_min"], report["context_median"]) == (1, int(statistics.median(seen)))
    shown = call(*arguments, "--words", "7").stdout
    assert re.search(r"^perplexity per word +[\d,.]+$", shown, re.M)


def interactive(trained, lines, *options):
    where = ["--user-dir", "mega_fairseq", "--path", trained / "rotary" / "checkpoint_last.pt"]
    output = run("interactive", trained / "bin", "--task", "language_modeling", *where, *options, stdin=lines)
    return [
        text for _, text in sorted(re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M), key=lambda h: int(h[0]))
    ]


def test_generation_from_prompts(trained):
    prompts = ["a a a b", "c " * 37 + "d d", "", "a unknown ß"]
    lines = "".join(f"{prompt}\n" for prompt in prompts)
    limits = ["--max-len-a", "1", "--max-len-b", "100"]
    for options in (["--beam", "3"], ["--beam", "1", "--sampling", "--sampling-topp", "0.9", "--seed", "5"]):
        texts = interactive(trained, lines, *limits, *options)
        assert len(texts) == 4
        for prompt, text in zip(prompts[:2], texts, strict=False):
            assert text.startswith(prompt)
        assert texts == interactive(trained, lines, *limits, *options)
    limits, beam = ["--max-len-b", "120"], ["--beam", "3"]  # in all, whatever the longest prompt of the batch
    alone = interactive(trained, lines, *limits, *beam)
    together = interactive(trained, lines, *limits, *beam, "--buffer-size", "4", "--batch-size", "4")
    assert alone == together


def test_more_tokens_than_the_training_length(trained):
    options = ["--max-len-a", "1", "--max-len-b", "300", "--min-len", "300", "--beam", "1"]
    (text,) = interactive(trained, "a a a\n", *options)
    assert len(text.split()) >= 300


def test_hub(trained):
    hub = MegaLM.from_pretrained(str(trained / "rotary"), "checkpoint_last.pt", str(trained / "bin"))
    prompts = ["a a a b", "c c"]
    texts = hub.sample(prompts, beam=2, max_len_a=1, max_len_b=20)
    assert all(text.startswith(prompt) for text, prompt in zip(texts, prompts, strict=True))
    line = (trained / "test").read_text().splitlines()[0]
    (scored,) = hub.score([line])
    assert len(scored["positional_scores"]) == len(line.split()) == len(scored["tokens"])
    assert scored["score"] < 0


def test_an_ensemble_is_evaluated(trained):
    options = ["--task", "language_modeling", "--tokens-per-sample", "64", "--max-tokens", "256"]
    names = ("rotary", "adaptive", "rotary:rotary", "rotary:adaptive")
    one, other, twice, both = (evaluate(trained, *options, name=name)[1] for name in names)
    assert one == twice and one != other
    assert both < (one + other) / 2  # the logarithm of a mean of probabilities

"""Training and decoding speed of run.py's Mega beside its transformer, on the same batches in turn.

    python benchmarks/multi30k/speed.py

Training: 40 steps of the training text's first batches (at most 1,024 tokens), forward, backward and Adam.
Decoding: test 2016 with beam 5 in batches of 64. A ratio is that of the medians (training) or of the sums
(decoding); speed.json has both models' numbers. Nothing else should run meanwhile.
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import torch
from fairseq import checkpoint_utils, utils

import mega_fairseq  # noqa: F401  (registers the models)

HERE = Path(__file__).parent
STEPS, WARM_UP = 40, 3


def load(folder: Path):
    """The model of a run's best checkpoint, and its task and configuration."""
    (model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([str(folder / "checkpoint_best.pt")])
    return model, cfg, task


def training_step(model, cfg, task):
    """A function that trains on a batch."""
    criterion = task.build_criterion(cfg.criterion)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, betas=(0.9, 0.98), fused=True)

    def step(sample):
        model.train()
        criterion(model, sample)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def decoding(model, cfg, task):
    """A function that translates a batch."""
    generator = task.build_generator([model], argparse.Namespace(beam=5))
    model.prepare_for_inference_(cfg)
    return lambda sample: generator.generate([model.eval()], sample)


def timed(functions, samples):
    """Seconds of each function for each sample, in turn, after some that do not count."""
    times = {name: [] for name in functions}
    for i, sample in enumerate(samples):
        for name, function in functions.items():
            began = time.perf_counter()
            function(sample)
            if i >= WARM_UP:
                times[name].append(time.perf_counter() - began)
    return times


def batches(task, split, **limits):
    """Batches of a split, in order of length where `limits` say so."""
    task.load_dataset(split)
    iterator = task.get_batch_iterator(task.dataset(split), seed=1, **limits)
    return [sample for sample in iterator.next_epoch_itr(shuffle=True) if sample]


def main() -> None:
    """Write speed.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--transformer", type=Path, default=HERE / "work" / "transformer-lr4e-3-seed1-2000")
    parser.add_argument("--mega", type=Path, default=HERE / "work" / "mega-lr8e-3-seed1-2000")
    options = parser.parse_args()
    utils.set_torch_seed(1)
    loaded = {"mega": load(options.mega), "transformer": load(options.transformer)}
    task = loaded["mega"][2]
    train = list(itertools.islice(batches(task, "train", max_tokens=1024), STEPS + WARM_UP))
    training = timed({name: training_step(*one) for name, one in loaded.items()}, train)
    test = batches(task, "test", max_sentences=64)
    translating = timed({name: decoding(*one) for name, one in loaded.items()}, test[:WARM_UP] + test)
    tokens = sum(sample["ntokens"] for sample in train[WARM_UP:])
    sentences = sum(sample["nsentences"] for sample in test)
    medians = {name: statistics.median(seconds) for name, seconds in training.items()}
    result = {
        "training tokens per second": {name: round(tokens / sum(s)) for name, s in training.items()},
        "training, mega to transformer": round(medians["transformer"] / medians["mega"], 3),
        "sentences per second": {name: round(sentences / sum(s), 2) for name, s in translating.items()},
        "decoding, mega to transformer": round(sum(translating["transformer"]) / sum(translating["mega"]), 3),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    (HERE / "speed.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

"""mega_language_modeling: blocks, carried state that is exact at the borders, resumption, refusals."""

import pytest
import torch
from builders import build_lm, spread
from fairseq import options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer

from mega_fairseq.state import CarriedEMA
from mega_fairseq.tasks.language_modeling import parse_multiples

SIZES = {
    "decoder_embed_dim": 8,
    "decoder_hidden_dim": 8,
    "decoder_ffn_embed_dim": 8,
    "decoder_z_dim": 4,
    "decoder_n_dim": 2,
    "decoder_layers": 1,
}
MODEL = ["--decoder-chunk-size", "8", "--dropout", "0"]
MODEL += [part for name, size in SIZES.items() for part in ("--" + name.replace("_", "-"), str(size))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    generator = torch.Generator().manual_seed(0)
    for split, lines in (("train", 40), ("valid", 9)):
        numbers = torch.randint(0, 20, (lines, 17), generator=generator).tolist()
        (folder / split).write_text("".join(" ".join(f"w{n}" for n in line) + "\n" for line in numbers))
    dictionary = Dictionary()
    for i in range(20):
        dictionary.add_symbol(f"w{i}")
    dictionary.save(str(folder / "dict.txt"))
    return folder


def start(data, *extra, epoch=1):
    """(trainer, its batches) of a training run that has not begun."""
    argv = [str(data), "--task", "mega_language_modeling", "--arch", "mega_lm", *MODEL]
    argv += ["--dataset-impl", "raw", "--optimizer", "adam", "--lr", "0.01", "--cpu", "--num-workers", "0"]
    argv += extra
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), argv))
    torch.manual_seed(1)
    task = tasks.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    task.load_dataset("valid")
    trainer = Trainer(cfg, task, model, criterion)
    return trainer, trainer.get_train_iterator(epoch=epoch)


def read(trainer, batches, steps):
    """Train on so many batches of an epoch; their ids and losses."""
    trainer.begin_epoch(batches.next_epoch_idx)
    iterator, seen = batches.next_epoch_itr(), []
    for _ in range(steps):
        sample = next(iterator)
        seen.append((sample["id"].tolist(), trainer.train_step([sample])["loss"]))
    return seen


def test_blocks_are_drawn_anew_from_seed_and_epoch(data):
    lengths = []
    for epoch in (1, 2, 1):
        settings = ["--chunk-multiples", "1,3", "--max-tokens", "24", "--valid-blocks", "3"]
        trainer, batches = start(data, *settings, epoch=epoch)
        dataset = trainer.task.datasets["train"]
        lengths.append(dataset.sizes.tolist())
        assert set(lengths[-1][:-1]) == {8, 16, 24}
        assert sum(lengths[-1]) == sum(dataset.line_sizes) == 40 * 18
        assert sum(len(batch) for batch in batches.frozen_batches) == len(dataset)
    assert lengths[0] == lengths[2] != lengths[1]


def test_validation_in_equal_blocks(data):
    trainer, _ = start(data, "--valid-blocks", "3", "--batch-size", "2")
    assert trainer.task.datasets["valid"].sizes.tolist() == [54, 54, 54]


@pytest.mark.parametrize("variant", [{"decoder_chunk_size": 8}, {"truncation_length": 5}])
def test_carried_blocks_equal_the_whole(variant):
    model = spread(
        build_lm({**SIZES, "max_target_positions": 99, "dropout": 0.0, "rel_pos_bias": "rotary", **variant})
    )
    if "decoder_chunk_size" not in variant:
        for layer in model.decoder.stack.layers:  # attention sees one token: only the EMA crosses borders
            layer.attention.chunk_size = 1
    model.train()
    tokens = torch.randint(4, 99, (2, 40))
    whole = model(tokens)[0]
    carried, parts = CarriedEMA(), []
    for part in tokens.split([8, 16, 16], 1):
        parts.append(model(part, carried=carried)[0])
        assert not any(ema.memory.requires_grad for ema in carried.layers)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    assert (model(tokens[:, 8:])[0] - whole[:, 8:]).abs().max() > 1e-2  # what is carried matters


def test_a_stateful_run_resumes_where_it_was(data, tmp_path):
    settings = ["--carry-state", "--batch-size", "3", "--chunk-multiples", "1,2"]
    trainer, batches = start(data, *settings)
    whole = read(trainer, batches, 9)
    assert [ids for ids, _ in whole] == [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(9)]
    trainer, batches = start(data, *settings)
    first = read(trainer, batches, 4)
    checkpoint = str(tmp_path / "checkpoint.pt")
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(checkpoint, {"train_iterator": batches.state_dict()})
    resumed, _ = start(data, *settings)
    extra = resumed.load_checkpoint(checkpoint)
    batches = resumed.get_train_iterator(epoch=extra["train_iterator"]["epoch"])
    batches.load_state_dict(extra["train_iterator"])
    second = read(resumed, batches, 5)
    assert [ids for ids, _ in first + second] == [ids for ids, _ in whole]
    assert [loss for _, loss in first + second] == [loss for _, loss in whole]


def test_a_state_of_another_place_is_not_taken(data):
    settings = ["--carry-state", "--batch-size", "3", "--chunk-multiples", "1,2"]
    trainer, batches = start(data, *settings)
    read(trainer, batches, 4)
    state = trainer.task.state.state_dict
    assert state["carried_ema"]["batches"] == 4
    other, batches = start(data, *settings)
    other.task.load_state_dict(state)  # with --reset-dataloader the text begins anew
    other.begin_epoch(1)
    assert other.task.carried.layers is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--chunk-multiples 3,2 --batch-size 2", "--chunk-multiples.*'3,2'"),
        ("--chunk-multiples some --batch-size 2", "--chunk-multiples.*'some'"),
        ("--chunk-multiples 2 --decoder-chunk-size -1 --batch-size 2", "--decoder-chunk-size above 0"),
        ("--chunk-multiples 2,6 --max-tokens 40", "48 tokens.*--max-tokens allows 40"),
        ("--carry-state --max-tokens 40", "--batch-size"),
        ("--carry-state --batch-size 2 --tokens-per-sample 20", "8 does not divide --tokens-per-sample 20"),
        ("--carry-state --batch-size 2 --decoder-layerdrop 0.1", "--decoder-layerdrop"),
        ("--carry-state --batch-size 900", "720 tokens.*900"),
        ("--valid-blocks -1 --batch-size 2", "--valid-blocks.*-1"),
        ("--valid-blocks 3 --batch-size 2 --add-bos-token", "--add-bos-token"),
        ("--chunk-multiples 2 --batch-size 2 --sample-break-mode eos", "--sample-break-mode"),
    ],
)
def test_what_cannot_be_is_refused(data, flags, message):
    with pytest.raises(ValueError, match=message):
        start(data, *flags.split())


def test_multiples():
    assert parse_multiples("2,6") == (2, 6)
    assert parse_multiples("4") == (4, 4)

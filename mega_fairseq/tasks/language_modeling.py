"""mega_language_modeling: fairseq's language modelling with blocks that suit chunks and carried state."""

import os
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Optional

import numpy as np
from fairseq import utils
from fairseq.data import data_utils
from fairseq.tasks import register_task
from fairseq.tasks.language_modeling import LanguageModelingConfig, LanguageModelingTask

from mega_fairseq.data.text_blocks import TextBlocks, equal_blocks, random_blocks, stream_blocks
from mega_fairseq.state import CarriedEMA, EMAState


@dataclass
class MegaLanguageModelingConfig(LanguageModelingConfig):
    """Options of language_modeling, and how the text is cut into blocks."""

    chunk_multiples: Optional[str] = field(
        default=None,
        metadata={
            "help": "train on blocks of so many chunks: a number, or LOWEST,HIGHEST to draw one a block"
        },
    )
    valid_blocks: int = field(
        default=0,
        metadata={"help": "validate and evaluate on so many equal blocks; 0 = blocks as in training"},
    )
    carry_state: bool = field(
        default=False,
        metadata={"help": "train with the EMA's state carried from each block to the one that continues it"},
    )


def parse_multiples(text: str) -> tuple[int, int]:
    """ "2,6" -> (2, 6), "4" -> (4, 4). Raises ValueError for anything else."""
    try:
        numbers = [int(part) for part in str(text).split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not 1 <= numbers[0] <= numbers[-1]:
        raise ValueError(f"--chunk-multiples must be a number or two that rise, like 2,6; got {text!r}")
    return numbers[0], numbers[-1]


@register_task("mega_language_modeling", dataclass=MegaLanguageModelingConfig)
class MegaLanguageModelingTask(LanguageModelingTask):
    """Language modelling; the text's blocks are whole numbers of chunks, and may continue each other."""

    def __init__(self, args: Any, *rest: Any, **kwargs: Any):
        super().__init__(args, *rest, **kwargs)
        if args.valid_blocks < 0:
            raise ValueError(f"--valid-blocks must be positive, or 0 for none; got {args.valid_blocks}")
        self.multiples = parse_multiples(args.chunk_multiples) if args.chunk_multiples else None
        self.carried = CarriedEMA() if args.carry_state else None
        self.chunk_size, self.streams = -1, 1
        if not (self.multiples or self.carried or args.valid_blocks):
            return
        for flag in ("add_bos_token", "pad_to_fixed_length", "pad_to_fixed_bsz"):
            if getattr(args, flag):
                raise ValueError(f"--{flag.replace('_', '-')} does not go with blocks of chunks; drop it")
        if str(args.sample_break_mode or "none") != "none" or str(args.shorten_method) != "none":
            raise ValueError(
                "--chunk-multiples, --carry-state and --valid-blocks cut the text by number of tokens: leave "
                "out --sample-break-mode and --shorten-method"
            )

    def build_model(self, args: Any, from_checkpoint: bool = False) -> Any:
        """The model, whose chunk the blocks follow."""
        model = super().build_model(args, from_checkpoint)
        self.chunk_size = getattr(args, "decoder_chunk_size", -1)
        if self.carried and not hasattr(model, "score_text"):
            raise ValueError("--carry-state needs a mega_lm; other models have no state to carry")
        if self.carried and getattr(args, "decoder_layerdrop", 0):
            raise ValueError("--carry-state does not go with --decoder-layerdrop; drop one of them")
        return model

    def load_dataset(self, split: str, epoch: int = 1, combine: bool = False, **kwargs: Any) -> Any:
        """Load a split: "train" in blocks of chunks, another in --valid-blocks, where asked for."""
        training = split == "train"
        if not ((self.multiples or self.carried) if training else self.args.valid_blocks):
            return super().load_dataset(split, epoch, combine, **kwargs)
        paths = utils.split_paths(self.args.data)
        path = os.path.join(paths[(epoch - 1) % len(paths)], split)
        lines = data_utils.load_indexed_dataset(
            path, self.dictionary, self.args.dataset_impl, combine=combine
        )
        if lines is None:
            raise FileNotFoundError(f"there is no split {split!r} in {os.path.dirname(path)}")
        borders = self._training_borders if training else self._equal_borders
        shuffle = training and not self.carried
        self.datasets[split] = TextBlocks(
            lines, self.dictionary, borders, tgt_vocab=self.output_dictionary, shuffle=shuffle
        )
        return self.datasets[split]

    def _equal_borders(self, total: int, epoch: int) -> np.ndarray:
        return equal_blocks(total, self.args.valid_blocks)

    def _training_borders(self, total: int, epoch: int) -> np.ndarray:
        unit, multiples = self.args.tokens_per_sample, (1, 1)
        if self.multiples:
            unit, multiples = self.chunk_size, self.multiples
            if unit < 1:
                raise ValueError("--chunk-multiples needs a model with --decoder-chunk-size above 0")
        elif self.chunk_size > 0 and unit % self.chunk_size:
            raise ValueError(
                f"--decoder-chunk-size {self.chunk_size} does not divide --tokens-per-sample {unit}; "
                "choose a multiple, or --chunk-multiples"
            )
        cut = partial(random_blocks, chunk=unit, multiples=multiples, seed=self.args.seed + epoch)
        return stream_blocks(total, self.streams, cut) if self.carried else cut(total)

    def get_batch_iterator(
        self,
        dataset: Any,
        max_tokens: int | None = None,
        max_sentences: int | None = None,
        num_shards: int = 1,
        **kwargs: Any,
    ) -> Any:
        """fairseq's batches; in order, and continuing each other, where training carries state."""
        if isinstance(dataset, TextBlocks):
            training = dataset is self.datasets.get("train")
            rows = max_sentences if training and self.carried else None
            if training and self.carried:
                if not rows:
                    raise ValueError("--carry-state needs --batch-size: how many texts are read side by side")
                self.streams = rows * num_shards
            dataset.rows = rows
            dataset.set_epoch(kwargs.get("epoch", 1))
            longest = int(max(dataset.sizes)) * (rows or 1)
            if max_tokens is not None and longest > max_tokens:
                if training:
                    raise ValueError(
                        f"a batch has up to {longest} tokens and --max-tokens allows {max_tokens}; raise it "
                        "or lower --chunk-multiples or --batch-size"
                    )
                max_tokens = longest
        batches = super().get_batch_iterator(
            dataset, max_tokens=max_tokens, max_sentences=max_sentences, num_shards=num_shards, **kwargs
        )
        if getattr(dataset, "rows", None):
            batches.disable_shuffling, batches.shuffle = True, False
            self.batches = batches
        return batches

    def begin_epoch(self, epoch: int, model: Any) -> None:
        """Forget what was carried, unless this epoch is resumed."""
        super().begin_epoch(epoch, model)
        if self.carried is None:
            return
        self.epoch = epoch
        saved = self.state.state_dict.get("carried_ema", {})
        offset, rows = self.batches.iterations_in_epoch, self.datasets["train"].rows
        place = {"epoch": epoch, "batches": offset, "streams": self.streams, "rows": rows}
        # a checkpoint holds the state of one process
        resumed = self.streams == rows and all(saved.get(key) == place[key] for key in place)
        device = next(model.parameters()).device
        self.carried.layers = [EMAState(m.to(device)) for m in saved["memory"]] if resumed else None

    def train_step(
        self, sample: Any, model: Any, criterion: Any, optimizer: Any, update_num: int, ignore_grad=False
    ) -> Any:
        """fairseq's step, with the state that the last batch left and the next one needs."""
        carries = self.carried is not None and not ignore_grad
        if carries:
            sample["net_input"]["carried"] = self.carried
        result = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        if carries:
            memory = [state.memory for state in self.carried.layers]
            place = {"epoch": self.epoch, "streams": self.streams, "rows": len(memory[0])}
            saved = {**place, "batches": self.batches.iterations_in_epoch, "memory": memory}
            self.state.merge_state_dict({"carried_ema": saved})
        return result

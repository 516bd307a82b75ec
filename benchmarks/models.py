"""The models and training steps that the benchmarks time, without data or a command line."""

import argparse
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import mega_fairseq  # noqa: F401

TRANSFORMER = {  # fairseq's, as large as mega_nmt_tiny
    "encoder_embed_dim": 128,
    "encoder_ffn_embed_dim": 256,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}


def build(architecture: str, words: int = 1996, **options: Any) -> torch.nn.Module:
    """A translation model with shared embeddings of words + 4 symbols."""
    sizes = TRANSFORMER if architecture == "transformer" else {}
    limits = {"max_source_positions": 1024, "max_target_positions": 1024}
    return _build(architecture, words, share_all_embeddings=True, **limits, **{**sizes, **options})


def build_lm(architecture: str, words: int, **options: Any) -> torch.nn.Module:
    """A language model with shared embeddings of words + 4 symbols."""
    limits = {"share_decoder_input_output_embed": True, "max_target_positions": 1024}
    return _build(architecture, words, **{**limits, **options})


def _build(architecture: str, words: int, **options: Any) -> torch.nn.Module:
    dictionary = Dictionary()
    for i in range(words):
        dictionary.add_symbol(f"w{i}")
    cfg = argparse.Namespace(**{"dropout": 0.1, **options})
    ARCH_CONFIG_REGISTRY[architecture](cfg)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model: torch.nn.Module = ARCH_MODEL_REGISTRY[architecture].build_model(cfg, task)
    return model


def train_step(model: torch.nn.Module, *, rows: int, length: int) -> Callable[[], None]:
    """One step of Adam on random sentences, the first one padded."""
    generator = torch.Generator().manual_seed(0)
    words = len(model.decoder.dictionary)
    source, target = (torch.randint(4, words, (rows, length), generator=generator) for _ in range(2))
    source[0, -1] = 1
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        logits = model(source, None, target)[0]
        optimizer.zero_grad()
        F.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
        optimizer.step()

    return step

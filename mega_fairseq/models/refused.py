"""Flags of fairseq's transformers that ask for what Mega does not have: refused, with the reason."""

import argparse
import contextlib
from typing import Any

_HEADS = "Mega's attention has one head (section 3.2 of the paper)"
_POSITIONS = "Mega has no absolute positions: its moving average and --rel-pos-bias tell the order"
_XFORMERS = "Mega's attention is not of xFormers' kinds"
_BASE = "BASE layers are fairseq's own sub-layer for its transformer"
_NORMFORMER = "NormFormer scales the transformer's sub-layers; Mega has gates instead"

# Flag, the value with which fairseq's transformer does without as well (None: it takes no value), reason.
_BOTH = [
    ("--decoder-attention-heads", "1", _HEADS),
    ("--decoder-learned-pos", None, _POSITIONS),
    ("--decoder-xformers-att-config", "", _XFORMERS),
    ("--base-layers", "0", _BASE),
    ("--base-sublayers", "1", _BASE),
    ("--base-shuffle", "1", _BASE),
]
TRANSLATION = [
    *_BOTH,
    ("--encoder-attention-heads", "1", _HEADS),
    ("--encoder-learned-pos", None, _POSITIONS),
    ("--encoder-xformers-att-config", "", _XFORMERS),
    ("--cross-self-attention", None, "Mega attends to the source and to the target apart"),
    ("--char-inputs", None, "fairseq's transformer ignores it, and so would Mega"),
    (
        "--merge-src-tgt-embed",
        None,
        "binarised targets keep the numbers of their own dictionary; preprocess with --joined-dictionary and "
        "use --share-all-embeddings",
    ),
    ("--export", None, "it readies layer norms for TorchScript, which does not compile Mega"),
    ("--alignment-heads", "1", _HEADS),
    ("--full-context-alignment", None, "Mega's decoder cannot look ahead: its moving average is causal"),
]
LANGUAGE = [
    *_BOTH,
    *((f"--scale-{part}", None, _NORMFORMER) for part in ("fc", "attn", "heads", "resids")),
]


class Refuse(argparse.Action):
    """Leaves nothing in the parsed options. harmless: the value that is let through."""

    def __init__(
        self, option_strings: list[str], dest: str, harmless: str | None, reason: str, **kwargs: Any
    ):
        kwargs |= {"nargs": 0 if harmless is None else 1, "default": argparse.SUPPRESS}
        super().__init__(option_strings, argparse.SUPPRESS, help=f"refused: {reason}", **kwargs)
        self.harmless, self.reason = harmless, reason

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if self.harmless is None or values[0].strip() != self.harmless:
            raise argparse.ArgumentError(self, f"not for Mega: {self.reason}; leave it out")


def add_refused(parser: argparse.ArgumentParser, flags: list[tuple[str, str | None, str]]) -> None:
    """Flags that somebody else has added, a task for instance, stay as they are."""
    for flag, harmless, reason in flags:
        with contextlib.suppress(argparse.ArgumentError):
            parser.add_argument(flag, action=Refuse, harmless=harmless, reason=reason)

"""What the models share, and what their encoders and decoders do, as fairseq's commands see them."""

import argparse
from typing import Any, ClassVar

from torch import nn

from mega_fairseq.models.dropout import check_retained
from mega_fairseq.models.refused import add_refused
from mega_fairseq.modules.linear import pack_linears
from mega_fairseq.modules.stack import MegaStack


class MegaModel:
    """Stands before fairseq's base class. refused: flags of fairseq's transformers that the model has not."""

    refused: ClassVar[list[tuple[str, str | None, str]]]

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        super().add_args(parser)  # type: ignore[misc]
        add_refused(parser, cls.refused)

    def prepare_for_inference_(self, cfg: Any) -> None:
        """fairseq's preparations. Raises ValueError for unknown names in --retain-dropout-modules."""
        if getattr(cfg.generation, "retain_dropout", False):
            check_retained(self, cfg.generation.retain_dropout_modules)
        super().prepare_for_inference_(cfg)  # type: ignore[misc]


class MegaSide(nn.Module):
    """Stands before fairseq's encoder or decoder, whose layers are those of `stack`."""

    stack: MegaStack

    @property
    def layers(self) -> nn.ModuleList:
        return self.stack.layers

    @property
    def num_layers(self) -> int:
        return len(self.stack.layers)

    def make_generation_fast_(self, **unused: Any) -> None:
        pack_linears(self)

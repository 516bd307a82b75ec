"""What the models share as fairseq's commands see them."""

import argparse
from typing import Any, ClassVar

from mega_fairseq.models.dropout import check_retained
from mega_fairseq.models.refused import add_refused


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

"""What the models share, and what their encoders and decoders do, as fairseq's commands see them."""

import argparse
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf
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


def plain(cfg: Any) -> Any:
    """The options as a Namespace where they are omegaconf's, whose enums of fairseq's cannot be pickled."""
    if not isinstance(cfg, DictConfig):
        return cfg
    options = OmegaConf.to_container(cfg, enum_to_str=True)
    for name, value in options.items():
        if isinstance(value, str) and value.startswith("${"):  # an option of the task, where that has it
            options[name] = OmegaConf.select(cfg, name, throw_on_resolution_failure=False)
    return argparse.Namespace(**options)


class MegaSide(nn.Module):
    """Stands before fairseq's encoder or decoder, whose layers are those of `stack`."""

    stack: MegaStack

    @property
    def layers(self) -> nn.ModuleList:
        return self.stack.layers

    @property
    def num_layers(self) -> int:
        return len(self.stack.layers)

    def __setattr__(self, name: str, value: Any) -> None:
        """What sets `layers` sets those of the stack, and `num_layers` follows."""
        if name == "layers":
            self.stack.layers = value
        elif name != "num_layers":
            super().__setattr__(name, value)
        elif value != self.num_layers:
            raise ValueError(
                f"num_layers is {self.num_layers}, the number of layers; change `layers` instead"
            )

    def make_generation_fast_(self, **unused: Any) -> None:
        pack_linears(self)

"""fairseq's dropout as the layers of Mega have it: --retain-dropout keeps it while a model evaluates."""

from collections.abc import Iterable

from fairseq.modules import FairseqDropout
from torch import nn

from mega_fairseq.modules.dropout import Dropout


class RetainableDropout(Dropout, FairseqDropout):
    """module_name: what --retain-dropout-modules calls it, the class of the part of the model that has it."""

    def __init__(self, p: float, feature: bool = False, *, module_name: str):
        super().__init__(p, feature)
        self.module_name = module_name


def check_retained(model: nn.Module, names: Iterable[str] | None) -> None:
    """Raises ValueError for a name of --retain-dropout-modules that no dropout of the model has."""
    known = {m.module_name for m in model.modules() if isinstance(m, RetainableDropout)}
    unknown = sorted(set(names or ()) - known)
    if unknown:
        raise ValueError(
            f"--retain-dropout-modules: {', '.join(unknown)} is no part of this model that has a dropout; "
            f"choose among {', '.join(sorted(known))}, or leave the option out for all of them"
        )

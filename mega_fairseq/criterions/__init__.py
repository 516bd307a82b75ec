"""fairseq criteria. Importing the package registers them."""

from mega_fairseq.criterions.cross_entropy import MegaCrossEntropy

__all__ = ["MegaCrossEntropy"]

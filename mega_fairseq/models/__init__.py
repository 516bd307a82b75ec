"""fairseq models. Importing the package registers them."""

from mega_fairseq.models.mega_classifier import MegaClassifier
from mega_fairseq.models.mega_lm import MegaLM
from mega_fairseq.models.mega_nmt import MegaNMT

__all__ = ["MegaClassifier", "MegaLM", "MegaNMT"]

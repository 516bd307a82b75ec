"""The presets and how large they are."""

from argparse import Namespace
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from mega_fairseq.models import mega_classifier, mega_lm, mega_nmt
from mega_fairseq.models.mega_classifier import MegaClassifier
from mega_fairseq.models.mega_lm import MegaLM
from mega_fairseq.models.mega_nmt import MegaNMT

CLASSES = 10


def presets_with_sizes(vocabulary: int = 1000) -> list[tuple[str, int]]:
    """Names of the presets and their parameter counts with a vocabulary of that many words.

    Presets with cutoffs get a vocabulary that exceeds them, classifiers a head of CLASSES.
    """
    families = {
        "mega_nmt": (MegaNMT, mega_nmt.PRESETS),
        "mega_lm": (MegaLM, mega_lm.PRESETS),
        "mega_classifier": (MegaClassifier, mega_classifier.PRESETS),
    }
    sizes = []
    for family, (model_class, presets) in families.items():
        for name, preset in {family: {}, **presets}.items():
            dictionary = dictionary_of(267744 if "adaptive_softmax_cutoff" in preset else vocabulary)
            task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
            with torch.device("meta"):
                model = model_class.build_model(Namespace(**preset), task)
                if isinstance(model, MegaClassifier):
                    model.register_classification_head(mega_classifier.HEAD, CLASSES)
            sizes.append((name, sum(p.numel() for p in model.parameters())))
    return sizes


def dictionary_of(size: int) -> Dictionary:
    """So many words, the special ones included."""
    dictionary = Dictionary()
    for i in range(size - len(dictionary)):
        dictionary.add_symbol(f"w{i}")
    return dictionary

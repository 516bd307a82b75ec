"""fairseq models. Importing the package registers them."""

from argparse import Namespace
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from mega_fairseq.models.mega_nmt import PRESETS, MegaNMT


def presets_with_sizes(vocabulary: int = 1000) -> list[tuple[str, int]]:
    """Names of the presets and their parameter counts with a vocabulary of that many words."""
    dictionary = Dictionary()
    dictionary.pad_to_multiple_(1)
    for i in range(vocabulary - len(dictionary)):
        dictionary.add_symbol(f"w{i}")
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    sizes = []
    for name, preset in {"mega_nmt": {}, **PRESETS}.items():
        with torch.device("meta"):
            model = MegaNMT.build_model(Namespace(**preset), task)
        sizes.append((name, sum(p.numel() for p in model.parameters())))
    return sizes

"""Small models for tests, from flat options and, on request, a state of the reference implementation."""

from argparse import Namespace
from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from mega_fairseq.checkpoints.names import from_reference_classifier, from_reference_names
from mega_fairseq.models import MegaClassifier, MegaLM, MegaNMT
from mega_fairseq.models.mega_classifier import HEAD


def words(size):
    dictionary = Dictionary()
    for i in range(size - len(dictionary)):
        dictionary.add_symbol(f"w{i}")
    return dictionary


def _build(model_class, options, state, vocabulary):
    dictionary = words(vocabulary)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = model_class.build_model(Namespace(**options), task).eval()
    if state is not None:
        model.load_state_dict(from_reference_names(state))
    return model


def build_nmt(options, state=None, vocabulary=50):
    return _build(MegaNMT, options, state, vocabulary)


def build_lm(options, state=None, vocabulary=100):
    return _build(MegaLM, options, state, vocabulary)


def build_classifier(options, classes=5, state=None, vocabulary=30):
    task = SimpleNamespace(source_dictionary=words(vocabulary))
    model = MegaClassifier.build_model(Namespace(**options), task)
    model.register_classification_head(HEAD, classes)
    if state is not None:
        model.load_state_dict(from_reference_classifier(state))
    return model.eval()


def spread(model):
    """Parameters far enough from their initialisation that errors show."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model

"""Checkpoint files of any tensors, as fairseq writes them."""

import torch


def save(path, model, maximize=False, **more):
    """A checkpoint as fairseq writes it, with this model."""
    state = {
        "args": None,
        "cfg": {"checkpoint": {"maximize_best_checkpoint_metric": maximize}},
        "model": model,
        "optimizer_history": [{"optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 7}],
        "last_optimizer_state": {"moments": torch.ones(3)},
        "extra_state": {"train_iterator": {"epoch": 1}},
        **more,
    }
    torch.save(state, path)
    return path


def load(path):
    return torch.load(path, weights_only=True)

"""Golden models as checkpoints of the reference implementation."""

from argparse import Namespace

import torch
from goldens import cases

MODELS = {
    **{f"nmt {name}": case for name, case in cases("mt_model").items()},
    **{f"lm {name}": case for name, case in cases("lm_model").items()},
}


def reference(name):
    """A golden model as a checkpoint of the reference implementation."""
    config, state = MODELS[name]["config"], MODELS[name]["state_dict"]
    args = Namespace(**{"arch": "mega", "data": "data-bin", "lr": [0.002], **config})
    return {"args": args, "model": {k: t.clone() for k, t in state.items()}, "optimizer_history": []}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

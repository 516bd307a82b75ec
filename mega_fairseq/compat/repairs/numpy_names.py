"""Names of NumPy that fairseq's data sets use and NumPy has dropped."""

import types

import numpy as np
from fairseq.data import data_utils, language_pair_dataset, token_block_dataset

from mega_fairseq.compat.registry import setting


@setting(
    "repair",
    "np in fairseq.data.data_utils, .language_pair_dataset and .token_block_dataset",
    until="no supported NumPy lacks these names",
)
def restore_numpy_names() -> None:
    """data/*.py use names that NumPy 2 dropped: np.compat.long, np.int, np.percentile(interpolation=).

    LM generation and --num-batch-buckets stop there. Three modules get a NumPy that has them.
    """
    if isinstance(vars(data_utils)["np"], _OlderNumPy):
        return

    def percentile(*args, interpolation=None, **kwargs):
        return np.percentile(*args, **kwargs, **({"method": interpolation} if interpolation else {}))

    numpy = _OlderNumPy("numpy")
    vars(numpy).update(vars(np), compat=types.SimpleNamespace(long=np.int64), int=int, percentile=percentile)
    for module in (data_utils, language_pair_dataset, token_block_dataset):
        module.np = numpy


class _OlderNumPy(types.ModuleType):
    def __getattr__(self, name):
        return getattr(np, name)

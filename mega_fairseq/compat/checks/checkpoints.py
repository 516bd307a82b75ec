"""Checks of checkpoints: a file that is none or of another model, a folder that cannot be written."""

import os
import re

from fairseq import checkpoint_utils

from mega_fairseq.checkpoints.errors import explained
from mega_fairseq.compat.registry import checks

MISFIT = "Error(s) in loading state_dict"


@checks(checkpoint_utils, "load_checkpoint_to_cpu")
def explain_bad_checkpoints(original, path, *args, **kwargs):
    """checkpoint_utils.py lets a truncated or foreign file surface as an error from deep inside torch."""
    with explained(path):
        return original(path, *args, **kwargs)


def misfit(text: str) -> str:
    """torch's list of the tensors that do not fit, in one sentence."""
    shapes = r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)"
    for name, *pair in re.findall(shapes, text):
        (saved, *width), (ours, *our_width) = (shape.split(", ") for shape in pair)
        if name.endswith("embed_tokens.weight") and width == our_width:
            side = "source" if name.startswith("encoder") else "target"
            return (
                f"it was trained with a {side} dictionary of {saved} words and the data folder's has {ours}; "
                "use the data of the training, or give its dict.*.txt to fairseq-preprocess as --srcdict and "
                "--tgtdict"
            )
    names = re.findall(r"size mismatch for (\S+):", text) or re.findall(r'"([^"]+)"', text)
    return (
        f"it holds another model, which differs in {', '.join(names[:3])}; give --arch and sizes as in its "
        "training, or another --save-dir to begin anew"
    )


@checks(checkpoint_utils, "verify_checkpoint_directory")
def name_the_save_dir(original, save_dir):
    """checkpoint_utils.py does not say which option gave the folder that cannot be written."""
    try:
        original(save_dir)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise OSError(
            f"cannot write to the folder {save_dir} ({reason}); choose another --save-dir"
        ) from error

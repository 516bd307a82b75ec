"""What is wrong with a checkpoint file, told in one sentence with the remedy."""

import contextlib
import errno
import pickle
import re
import zipfile
from collections.abc import Iterator

from omegaconf.errors import OmegaConfBaseException

from mega_fairseq.checkpoints.untrusted import Untrusted

# What a file that is no checkpoint, or whose configuration is none, leads to.
FOREIGN = (EOFError, LookupError, RuntimeError, TypeError, AttributeError, ValueError, AssertionError)
FOREIGN += (ImportError, MemoryError, OverflowError, zipfile.BadZipFile, OmegaConfBaseException)


class CheckpointError(RuntimeError):
    """A checkpoint file that cannot be used, told in one sentence."""


@contextlib.contextmanager
def explained(path: str, flag: str = "--path or --restore-file") -> Iterator[None]:
    """What torch.load raises inside for a file that is no checkpoint, in one sentence; flag names the file.

    Raises FileNotFoundError or CheckpointError.
    """
    try:
        yield
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {path}; check {flag}") from error
    except IsADirectoryError as error:
        raise CheckpointError(is_folder(path)) from error
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise CheckpointError(_unreadable(path, error)) from error
        raise CheckpointError(
            f"refused to load {path}: it refers to {refused[1]}, which is no plain data and could run "
            "code. Use a checkpoint that fairseq wrote, or, if you trust this type, allow it with "
            "torch.serialization.add_safe_globals."
        ) from error
    except Untrusted as error:
        raise CheckpointError(
            f"refused to load {path}: {error}. Use a checkpoint that fairseq wrote."
        ) from error
    except FOREIGN as error:
        raise CheckpointError(_unreadable(path, error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # torch seeks before the beginning of a file that was cut short
            raise
        raise CheckpointError(_unreadable(path, error)) from error


def one_line(error: BaseException) -> str:
    """The first line of what an error says, with its type where that tells more."""
    text = str(error).strip().split("\n")[0] or "no more is known"
    return text if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: {text}"


def is_folder(path: str) -> str:
    """What to say of a folder where a file is expected."""
    return f"{path} is a folder and no checkpoint; name a file in it, like {path}/checkpoint_best.pt"


def _unreadable(path: str, error: Exception) -> str:
    # torch begins with advice to turn its safe loading off, which is no remedy
    text = str(error).rpartition("error: ")[2].strip() or "the file is empty"
    reason = re.split(r"\.\s|\n", text)[0].rstrip(".")
    if "weights_only" in reason:
        reason = "a format that cannot be read safely"
    return (
        f"cannot read {path} as a fairseq checkpoint ({type(error).__name__}: {reason}); it may be truncated "
        "or of another kind. Use another checkpoint of that folder, or delete this one to start again."
    )

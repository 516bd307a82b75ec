"""Checks of data: the folder and its languages, dictionaries, splits, indexed files."""

import os
import struct
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary, data_utils, indexed_dataset
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import checks

MAGIC = b"MMIDIDX\x00\x00"  # of an index that fairseq-preprocess writes
HEADER = struct.Struct("<9sQBQ")  # magic, version, code of the numbers' type, sentences
AT_ONCE = 1 << 24  # numbers
AGAIN = "run fairseq-preprocess again"


@checks(data_utils, "infer_language_pair")
def name_the_data_folder(original, path):
    """data/data_utils.py lists a folder that may be absent, and may find no languages in it."""
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no data folder {path}; pass the --destdir of fairseq-preprocess")
    source, target = original(path)
    if source is None:
        raise ValueError(
            f"there is no data like train.en-de.en.idx in {path}; pass the --destdir of fairseq-preprocess, "
            "or both --source-lang and --target-lang"
        )
    return source, target


@checks(TranslationTask, "setup_task")
def obey_one_language(original, cls, cfg, **kwargs):
    """tasks/translation.py overwrites a --source-lang that comes without --target-lang."""
    sides = ("source", "target")
    given = [option(cfg, f"{side}_lang") for side in sides]
    task = original(cls, cfg, **kwargs)
    for flag, wanted in zip(sides, given, strict=True):
        found = option(cfg, f"{flag}_lang")
        if wanted not in (None, found):
            raise ValueError(
                f"--{flag}-lang {wanted} is not the {flag} language of {cfg.data}, which is {found}; "
                "leave it out, or pass both --source-lang and --target-lang"
            )
    return task


@checks(Dictionary, "load")
def name_the_dictionary(original, cls, f, *args, **kwargs):
    """data/dictionary.py names the file only where it is absent, takes an empty one and counts below 0."""
    try:
        found = original(cls, f, *args, **kwargs)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is no dictionary {f}; check --source-lang and --target-lang, or --srcdict and --tgtdict, "
            "and that the folder is the --destdir of fairseq-preprocess"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split()).partition(". ")[0][:120]
        kind = RuntimeError if isinstance(error, RuntimeError) else ValueError  # a word that is there twice
        raise _no_dictionary(f, repr(reason)[1:-1], kind) from error
    words = range(found.nspecial, len(found)) if hasattr(found, "nspecial") else range(len(found))
    if not words:
        raise _no_dictionary(f, "it has no words")
    negative = [found[i] for i in words if found.count[i] < 0]
    if negative:
        raise _no_dictionary(f, f"the word {negative[0]!r} has a count below 0")
    return found


def _no_dictionary(file, reason, kind=ValueError) -> Exception:
    return kind(
        f"cannot use the dictionary {file}: {reason}; each line must be a word, a space and its count in "
        "UTF-8, as fairseq-preprocess writes them"
    )


@checks(data_utils, "load_indexed_dataset")
def check_indexed_data(original, path, dictionary=None, dataset_impl=None, *args, **kwargs):
    """data/indexed_dataset.py stops in the midst of training where a file was cut short, and does not say
    which; it cannot map a file of 0 bytes.
    """
    for file in (path, f"{path}.bin"):
        if os.path.isfile(file) and os.path.getsize(file) == 0:
            raise ValueError(
                f"{file} has no sentences; give text to --trainpref, --validpref and --testpref of "
                "fairseq-preprocess, and train without validation data with --disable-validation"
            )
    mapped = str(dataset_impl or "mmap") == "mmap"
    if mapped and os.path.isfile(f"{path}.idx") and os.path.isfile(f"{path}.bin"):
        _check_index(f"{path}.idx", f"{path}.bin", dictionary)
    return original(path, dictionary, dataset_impl, *args, **kwargs)


def _check_index(index: str, data: str, words) -> None:
    """Raises ValueError unless the data hold the index's sentences, and the dictionary their words."""
    with open(index, "rb") as file:
        header = file.read(HEADER.size)
    if header.startswith(b"TNTIDX"):  # of older versions
        return
    if not header.startswith(MAGIC):
        raise ValueError(f"{index} is no index of fairseq-preprocess, it begins with {header[:9]!r}; {AGAIN}")
    _, version, code, count = HEADER.unpack(header.ljust(HEADER.size, b"\0"))
    size, whole = os.path.getsize(index), HEADER.size + 12 * count
    if version != 1 or code not in indexed_dataset._code_to_dtype or size != whole:
        raise ValueError(
            f"{index} is damaged (version {version}, type {code}, {size:,} bytes where {whole:,} are due); "
            f"{AGAIN}"
        )
    kind = np.dtype(indexed_dataset._code_to_dtype[code])
    sizes = np.memmap(index, np.int32, "r", HEADER.size, count)
    starts = np.memmap(index, np.int64, "r", HEADER.size + 4 * count, count)
    end, held = int((starts + sizes * kind.itemsize).max()), os.path.getsize(data)
    if end > held or min(sizes.min(), starts.min()) < 0:
        raise ValueError(f"{data} is damaged: it has {held:,} bytes and {index} tells of {end:,}; {AGAIN}")
    tokens = np.memmap(data, kind, "r", shape=end // kind.itemsize)
    for begin in range(0, len(tokens) if words is not None else 0, AT_ONCE):
        highest = tokens[begin : begin + AT_ONCE].max()
        if highest >= len(words):
            raise ValueError(
                f"{data} has the word number {highest} and its dictionary {len(words)} words; use the "
                f"dict.*.txt that fairseq-preprocess wrote with it, or {AGAIN}"
            )


@checks(TranslationTask, "load_dataset")
@checks(LanguageModelingTask, "load_dataset")
def name_the_split(original, self, split, *args, **kwargs):
    """tasks/translation.py and language_modeling.py name neither the option nor the remedy."""
    folder = option(self, "cfg.data") or option(self, "args.data", "")
    try:
        return original(self, split, *args, **kwargs)
    except FileNotFoundError as error:
        if "Dataset not found" not in str(error):
            raise
        pairs = [Path(folder).glob(f"{split}*{end}") for end in (".idx", ".bin")]
        lonely = {file.with_suffix("") for file in pairs[0]} ^ {file.with_suffix("") for file in pairs[1]}
        half = f" ({sorted(lonely)[0].name} has only one of .idx and .bin)" if lonely else ""
        raise FileNotFoundError(
            f"there is no split {split!r} in the data folder {folder}{half}; check --train-subset, "
            f"--valid-subset or --gen-subset, or give --{split}pref to fairseq-preprocess"
        ) from error
    except AssertionError as error:
        if "same number of examples" not in str(error):
            raise
        raise ValueError(
            f"source and target of the split {split!r} in {folder} do not have the same number of sentences; "
            f"{AGAIN}, on texts of as many lines"
        ) from error

"""Checks of the texts that fairseq-preprocess reads."""

import os
from collections.abc import Callable

from fairseq import options

from mega_fairseq.compat.checks.options import faults
from mega_fairseq.compat.registry import checks


@checks(options, "add_preprocess_args")
def check_texts_first(original, parser):
    """fairseq_cli/preprocess.py writes a dictionary before it meets a text that is absent or no UTF-8, and
    takes texts of different lengths, which training then refuses.
    """
    group, parse = original(parser), parser.parse_args

    def parse_and_check(*args, **kwargs):
        given = parse(*args, **kwargs)
        _check_preprocessing(given, parser.error)
        return given

    parser.parse_args = parse_and_check
    return group


def _check_preprocessing(given, refuse: Callable[[str], None]) -> None:
    for name, fault in faults(vars(given)):
        refuse(f"argument --{name}: {fault}")
    languages = [given.source_lang] if given.only_source else [given.source_lang, given.target_lang]
    if not given.only_source and None in languages:
        refuse(
            "--source-lang and --target-lang must be given, or --only-source for one text; got "
            f"{languages[0]} and {languages[1]}"
        )
    several = (given.trainpref or "").split(",")
    if len(several) > 1:  # which fairseq-preprocess would take for one name
        texts = " ".join(f"{prefix}.{languages[0] or 'txt'}" for prefix in several)
        refuse(
            f"argument --trainpref: takes one prefix; got {given.trainpref!r}. Join the texts of each "
            f"language, for instance cat {texts} > all.{languages[0] or 'txt'}, and give --trainpref all"
        )
    for flag in ("trainpref", "validpref", "testpref"):
        for prefix in (getattr(given, flag) or "").split(","):
            files = [f"{prefix}.{language}" if language else prefix for language in languages if prefix]
            try:
                lines = [_count_lines(file) for file in files]
            except (OSError, ValueError) as error:
                refuse(f"argument --{flag}: {error}")
            if len(set(lines)) > 1:
                refuse(
                    f"argument --{flag}: {files[0]} has {lines[0]} lines and {files[1]} has {lines[1]}; give "
                    "texts whose lines translate each other"
                )
    for flag, language in zip(("srcdict", "tgtdict"), languages, strict=False):
        file = os.path.join(given.destdir, f"dict.{language}.txt" if language else "dict.txt")
        if os.path.exists(file) and not getattr(given, flag):
            refuse(f"argument --destdir: {file} exists; choose another folder, or pass it as --{flag}")
    if os.path.exists(given.destdir) and not os.path.isdir(given.destdir):
        refuse(f"argument --destdir: {given.destdir} is no folder; choose another")


def _count_lines(path: str) -> int:
    """Raises OSError or ValueError with what is wrong with a text."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {path}; check the prefix, --source-lang and --target-lang")
    number = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 text at line {number}, byte {error.start + 1}; convert it, for "
                    f"instance with iconv -f latin1 -t utf-8 {path}"
                ) from error
    return number

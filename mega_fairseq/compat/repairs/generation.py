"""Repairs of fairseq's search and of --replace-unk."""

import os

from fairseq import search, tasks, utils

from mega_fairseq.compat.partial import changed, option
from mega_fairseq.compat.registry import MAIN, repairs


@repairs(search.DiverseBeamSearch, "step", versions=MAIN)
def number_sentences_by_row(
    original, self, step, lprobs, scores, prev_output_tokens=None, original_batch_idxs=None
):
    """search.py indexes the first batch's rows with a sentence's number in the data set.

    --diverse-beam-groups stops at a batch whose numbers exceed its size, and mixes up sentences before.
    """
    if original_batch_idxs is not None:
        if step == 0:
            self.mega_batch = original_batch_idxs
        original_batch_idxs = (original_batch_idxs.unsqueeze(1) == self.mega_batch).int().argmax(1)
    return original(self, step, lprobs, scores, prev_output_tokens, original_batch_idxs)


@repairs(tasks.FairseqTask, "build_generator")
def align_for_unknown_words(original, self, models, args, *rest, **kwargs):
    """tasks/fairseq_task.py computes no alignment for --replace-unk, which then stops with an IndexError."""
    if isinstance(option(args, "replace_unk"), str) and not option(args, "print_alignment"):
        args = changed(args, "print_alignment", "hard")
    return original(self, models, args, *rest, **kwargs)


@repairs(utils, "load_align_dict")
def copy_unknown_words(original, replace_unk):
    """dataclass/configs.py turns a --replace-unk without a file into the file name "@@ "; utils.py reads the
    file in the locale's encoding and stops at an empty line.
    """
    if replace_unk == "@@ ":
        return {}
    if not replace_unk:
        return original(replace_unk)
    if not os.path.isfile(replace_unk):
        raise FileNotFoundError(f"there is no dictionary {replace_unk}; check --replace-unk")
    with open(replace_unk, encoding="utf-8") as file:
        return {line.split()[0]: line.split()[1] for line in file if len(line.split()) > 1}


@repairs(utils, "replace_unk")
def read_alignments(original, hypo_str, src_str, alignment, align_dict, unk):
    """utils.py indexes words with what --print-alignment gives: pairs (source, target) or rows of weights."""
    if alignment and isinstance(alignment[0], list):
        sources = [max(range(len(row)), key=lambda column: float(row[column])) for row in alignment]
    else:
        sources = [source for source, _ in sorted(alignment, key=lambda pair: pair[1])]
    return original(hypo_str, src_str, sources, align_dict, unk)

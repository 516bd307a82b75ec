"""Repairs of fairseq's tasks."""

from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask

from mega_fairseq.compat.registry import repairs


@repairs(TranslationFromPretrainedBARTTask, "__init__")
def keep_the_arguments(original, self, args, src_dict, tgt_dict):
    """tasks/translation_from_pretrained_bart.py reads self.args, which translation.py no longer has: the task
    stops with an AttributeError as it loads its data.
    """
    original(self, args, src_dict, tgt_dict)
    self.args = args

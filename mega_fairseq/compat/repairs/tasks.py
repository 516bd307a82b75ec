"""Repairs of fairseq's tasks."""

from argparse import Namespace

from fairseq.tasks.multilingual_translation import MultilingualTranslationTask
from fairseq.tasks.translation_from_pretrained_bart import TranslationFromPretrainedBARTTask
from omegaconf import OmegaConf

from mega_fairseq.compat.registry import repairs


@repairs(TranslationFromPretrainedBARTTask, "__init__")
def keep_the_arguments(original, self, args, src_dict, tgt_dict):
    """tasks/translation_from_pretrained_bart.py reads self.args, which translation.py no longer has: the task
    stops with an AttributeError as it loads its data.
    """
    original(self, args, src_dict, tgt_dict)
    self.args = args


@repairs(MultilingualTranslationTask, "build_model")
def look_among_all_options(original, self, args, *rest, **named):
    """tasks/multilingual_translation.py reads its own options from the model's, which hold them where an
    architecture has no dataclass. With another it stops on the first of them, and does not say that it takes
    multilingual models.
    """
    if not isinstance(args, Namespace):
        args = Namespace(**{**OmegaConf.to_container(args), **vars(self.args), "_name": args._name})
    return original(self, args, *rest, **named)

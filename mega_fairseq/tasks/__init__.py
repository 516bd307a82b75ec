"""fairseq tasks. Importing the package registers them."""

from mega_fairseq.tasks.language_modeling import MegaLanguageModelingTask

__all__ = ["MegaLanguageModelingTask"]

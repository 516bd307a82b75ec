"""Ready models in Python: fairseq's hub interface, and scoring of given translations."""

import copy
from typing import Any

import torch
from fairseq import utils
from fairseq.data import LanguagePairDataset
from fairseq.hub_utils import GeneratorHubInterface
from torch import Tensor


class TranslationHub(GeneratorHubInterface):
    """`translate`, `sample` and `score` for raw sentences, through the tokenizer and BPE given at loading."""

    def score(self, sentences: list[str], targets: list[str], **generation: Any) -> list[dict[str, Any]]:
        """Log-probabilities of target sentences given their sources, in the order given.

        Each result holds `tokens` (L,) with the end of sentence, `positional_scores` (L,) in nats, and their
        mean `score`. generation: overrides of fairseq's generation options, such as print_alignment="hard".
        Raises ValueError unless there is one target for each sentence.
        """
        if len(sentences) != len(targets) or isinstance(sentences, str) or isinstance(targets, str):
            raise ValueError(
                f"score() takes two lists of equal length; got {len(sentences)} sentences and "
                f"{len(targets)} targets"
            )
        options = copy.deepcopy(self.cfg.generation)
        for name, option in {**generation, "score_reference": True}.items():
            options[name] = option
        scorer = self.task.build_generator(self.models, options)
        results: dict[int, dict[str, Any]] = {}
        for batch in self._build_pairs(sentences, targets):
            batch = utils.apply_to_sample(lambda t: t.to(self.device), batch)
            scored = self.task.inference_step(scorer, self.models, batch)
            results.update(zip(batch["id"].tolist(), (hypotheses[0] for hypotheses in scored), strict=True))
        return [results[i] for i in range(len(sentences))]

    def _build_pairs(self, sentences: list[str], targets: list[str]) -> Any:
        sources = [self.encode(sentence) for sentence in sentences]
        encoded = [self._encode_target(target) for target in targets]
        dataset = LanguagePairDataset(
            sources,
            [len(s) for s in sources],
            self.src_dict,
            encoded,
            [len(t) for t in encoded],
            self.tgt_dict,
        )
        return self.task.get_batch_iterator(
            dataset=dataset,
            max_tokens=self.cfg.dataset.max_tokens,
            max_sentences=self.cfg.dataset.batch_size,
            max_positions=self.max_positions,
            disable_iterator_cache=True,
        ).next_epoch_itr(shuffle=False)

    def _encode_target(self, target: str) -> Tensor:
        text = self.apply_bpe(self.tokenize(target))
        tokens: Tensor = self.tgt_dict.encode_line(text, add_if_not_exist=False)
        return tokens.to(torch.long)

"""Long texts through fairseq's scorer and generator, for models whose decoder carries its state.

fairseq holds the scores of the whole vocabulary for every token of a text, and reads a prompt token by token.
"""

import logging
import math

import torch
from fairseq import utils
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer
from torch import Tensor

from mega_fairseq.compat.registry import repairs

logger = logging.getLogger(__name__)

POSITIONS = 2048  # whose scores for the whole vocabulary are held at once


def _carry_state(models) -> bool:
    return len(models) > 0 and all(hasattr(model, "score_text") for model in models)


def _average(log_probs: list[Tensor]) -> Tensor:
    """The logarithm of an ensemble's mean probability."""
    return torch.stack(log_probs).logsumexp(0) - math.log(len(log_probs))


@repairs(SequenceScorer, "generate")
@torch.no_grad()
def score_in_segments(original, self, models, sample, **kwargs):
    """sequence_scorer.py scores a text in one pass; memory grows with its length times the vocabulary."""
    if self.compute_alignment or not _carry_state(models):
        return original(self, models, sample, **kwargs)
    tokens, target = sample["net_input"]["src_tokens"], sample["target"]
    if tokens[:, 0].eq(self.pad).any():
        return original(self, models, sample, **kwargs)
    positions = min(self.softmax_batch, POSITIONS)
    for model in models:
        model.eval()
    log_probs = _average([model.score_text(tokens, target, positions) for model in models])
    hypotheses = []
    starts = sample.get("start_indices", [0] * len(target))
    for row, scores, start in zip(target, log_probs, starts, strict=True):
        reference = utils.strip_pad(row[start:], self.pad)
        scores = scores[start : start + reference.numel()]
        found = {"tokens": reference, "score": scores.mean(), "positional_scores": scores}
        hypotheses.append([{**found, "attention": None, "alignment": None}])
    return hypotheses


def _read(models, states, text: Tensor, prompt: Tensor, beams: int, temperature: float) -> Tensor:
    """Log-probabilities (B * beams, P) of the prompts' tokens; leaves each model's state after `text`."""
    log_probs = []
    for model, state in zip(models, states, strict=True):
        decoder = model.decoder
        features, _ = decoder.extract_features(text, incremental_state=state, keep_hiddens=False)
        log_probs.append(decoder.target_log_probs(features / temperature, prompt, POSITIONS))
        rows = torch.arange(len(text), device=text.device).repeat_interleave(beams)
        decoder.reorder_incremental_state(state, rows)
    return _average(log_probs).repeat_interleave(beams, 0)


@repairs(SequenceGenerator, "_generate")
def read_prompts_at_once(original, self, sample, prefix_tokens=None, constraints=None, bos_token=None):
    """sequence_generator.py runs the model once for every token of a prompt, and cuts a prompt short that is
    longer than --max-len-a and -b allow. What all prompts of a batch have in length is read in one pass here,
    and a cut is told.
    """
    models = list(getattr(self.model, "models", []))
    if prefix_tokens is None or not _carry_state(models):
        return original(self, sample, prefix_tokens, constraints, bos_token)
    longest, prompted = prefix_tokens.size(1), sample["net_input"]["src_tokens"].size(1)
    allowed = min(int(self.max_len_a * prompted + self.max_len_b), self.max_len - 1)
    if longest >= allowed and not self.match_source_len:
        logger.warning(
            f"a prompt of {longest} tokens is cut short: with --max-len-a {self.max_len_a:g} --max-len-b "
            f"{self.max_len_b} the whole text has at most {allowed}; for 100 tokens after each prompt pass "
            "--max-len-a 1 --max-len-b 100"
        )
        return original(self, sample, prefix_tokens, constraints, bos_token)
    plain = prefix_tokens.ne(self.pad) & prefix_tokens.ne(self.eos)
    common = int(plain.all(0).int().cumprod(0).sum())  # leading columns of words only
    if common < 2:
        return original(self, sample, prefix_tokens, constraints, bos_token)
    prompt, step_by_step, known = prefix_tokens[:, :common], self.model.forward_decoder, []

    def forward_decoder(tokens, encoder_outs, incremental_states, temperature=1.0):
        step = tokens.size(1) - 1
        if step >= common:
            return step_by_step(tokens, encoder_outs, incremental_states, temperature)
        beams = len(tokens) // len(prompt)
        if step == 0:
            text = torch.cat([tokens[::beams], prompt[:, :-1]], 1)
            known.append(_read(models, incremental_states, text, prompt, beams, temperature))
        column = slice(step, step + 1)
        scores = known[0].new_full((len(tokens), self.vocab_size), -math.inf)
        return scores.scatter_(1, prompt[:, column].repeat_interleave(beams, 0), known[0][:, column]), None

    self.model.forward_decoder = forward_decoder
    try:
        return original(self, sample, prefix_tokens, constraints, bos_token)
    finally:
        del self.model.forward_decoder

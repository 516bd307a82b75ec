"""fairseq's label_smoothed_cross_entropy, computed in the memory of the logits."""

from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import Tensor

from mega_fairseq.ops.cross_entropy import cross_entropy


@register_criterion("mega_cross_entropy", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class MegaCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """The loss, the options and the reports of label_smoothed_cross_entropy; no smoothing unless asked for.

    For models whose output is logits, so not with adaptive softmax. What the model has returned is not to be
    read after the backward pass (ops.cross_entropy).
    """

    def get_lprobs_and_target(self, model: Any, net_output: Any, sample: Any) -> tuple[Tensor, Tensor]:
        """Logits (B * L, V), where fairseq has their log-softmax, and the target (B * L)."""
        logits, target = net_output[0], model.get_targets(sample, net_output)
        if self.ignore_prefix_size > 0:
            logits, target = logits[:, self.ignore_prefix_size :], target[:, self.ignore_prefix_size :]
        return logits.reshape(-1, logits.size(-1)), target.reshape(-1)

    def compute_loss(
        self, model: Any, net_output: Any, sample: Any, reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Loss and negative log-likelihood: sums over the batch, or (B * L, 1)."""
        logits, target = self.get_lprobs_and_target(model, net_output, sample)
        padding = target.eq(self.padding_idx)
        loss, nll = (x.masked_fill(padding, 0.0) for x in cross_entropy(logits, target, self.eps))
        return (loss.sum(), nll.sum()) if reduce else (loss.unsqueeze(1), nll.unsqueeze(1))

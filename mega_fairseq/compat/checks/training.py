"""Checks of a model, a criterion and a metric that do not go together."""

from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.label_smoothed_cross_entropy_with_alignment import (
    LabelSmoothedCrossEntropyCriterionWithAlignment,
)
from fairseq.modules import AdaptiveSoftmax
from fairseq.tasks import FairseqTask
from fairseq.tasks.translation import TranslationTask
from fairseq.trainer import Trainer

from mega_fairseq.compat.partial import option
from mega_fairseq.compat.registry import checks

CRITERIA = ("cross_entropy", "label_smoothed_cross_entropy", "mega_cross_entropy", "adaptive_loss")


@checks(Trainer, "__init__")
def match_adaptive_softmax(original, self, cfg, task, model, criterion, *args, **kwargs):
    """criterions/adaptive_loss.py and others fail in the first backward, or with an empty assertion."""
    adaptive = isinstance(option(model, "decoder.adaptive_softmax"), AdaptiveSoftmax)
    name = option(cfg, "criterion._name")
    if adaptive and name in CRITERIA and not isinstance(criterion, AdaptiveLoss):
        raise ValueError(
            f"--adaptive-softmax-cutoff {option(cfg, 'model.adaptive_softmax_cutoff')} needs --criterion "
            f"adaptive_loss --ddp-backend legacy_ddp; got --criterion {name}"
        )
    if not adaptive and isinstance(criterion, AdaptiveLoss):
        raise ValueError(
            "--criterion adaptive_loss needs --adaptive-softmax-cutoff, for instance 20000,60000; or train "
            "with --criterion cross_entropy"
        )
    original(self, cfg, task, model, criterion, *args, **kwargs)


@checks(Trainer, "__init__")
def need_weights_above_zero(original, self, cfg, task, model, criterion, *args, **kwargs):
    """criterions/label_smoothed_cross_entropy_with_alignment.py takes logarithms of attention weights, which
    are 0 with Mega's relu2 and may be with laplace: the loss is infinite.
    """
    weights = str(option(cfg, "model.attention_activation_fn", "softmax"))
    if isinstance(criterion, LabelSmoothedCrossEntropyCriterionWithAlignment) and weights != "softmax":
        raise ValueError(
            "--criterion label_smoothed_cross_entropy_with_alignment takes the logarithm of attention "
            f"weights, which --attention-activation-fn {weights} makes 0; train with softmax"
        )
    original(self, cfg, task, model, criterion, *args, **kwargs)


@checks(Trainer, "__init__")
def know_the_best(original, self, cfg, task, model, criterion, *args, **kwargs):
    """fairseq_cli/train.py looks for --best-checkpoint-metric after the first validation, before it saves: a
    KeyError, and all updates are lost. What these criteria and tasks report is known.
    """
    metric = option(cfg, "checkpoint.best_checkpoint_metric", "loss", str)
    reports = getattr(
        type(task), "reduce_metrics", None
    )  # other tasks may report more, and so may other criteria
    plain = reports in (FairseqTask.reduce_metrics, TranslationTask.reduce_metrics)
    plain = plain and option(cfg, "criterion._name") in CRITERIA
    smoothed = isinstance(criterion, LabelSmoothedCrossEntropyCriterion)
    known = ["loss", "ppl"]
    known += ["nll_loss"] if smoothed or getattr(criterion, "sentence_avg", False) else []
    known += ["bleu"] if option(task, "cfg.eval_bleu") else []
    known += ["accuracy"] if option(cfg, "criterion.report_accuracy") else []
    if plain and metric not in known and not option(cfg, "dataset.disable_validation"):
        lacks = {"bleu": "; add --eval-bleu", "accuracy": "; add --report-accuracy"}.get(metric, "")
        raise ValueError(
            f"--best-checkpoint-metric: must be one of {', '.join(known)}; got {metric!r}{lacks}"
        )
    original(self, cfg, task, model, criterion, *args, **kwargs)

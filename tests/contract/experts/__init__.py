"""A user's plugin with a task of its own: experts that share one model (Shen et al. 2019).

Each expert begins its output with a token of its own. An update finds, without gradients, which expert
explains a sentence best, and trains that one. The encoder runs once for all, a gate reads its mean, and
rows of what it gives are chosen and written into by hand. Nothing here knows what the model is.
"""

from dataclasses import dataclass, field

import torch
from fairseq.logging import metrics
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

import mega_fairseq  # noqa: F401


@dataclass
class ExpertsConfig(TranslationConfig):
    expert: int = field(default=0, metadata={"help": "the expert that translates"})


@register_task("experts", dataclass=ExpertsConfig)
class Experts(TranslationTask):
    """Translation by three experts."""

    def __init__(self, cfg, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        for dictionary in (src_dict, tgt_dict):
            self.tokens = [dictionary.add_symbol(f"<expert_{number}>") for number in range(3)]

    def build_model(self, cfg, from_checkpoint=False):
        model = super().build_model(cfg, from_checkpoint)
        model.gate = torch.nn.Linear(16, 3)
        return model

    def scores(self, model, encoder_out, sample, expert):
        """log p(sentence | expert), (sentences,)."""
        before = sample["net_input"]["prev_output_tokens"].clone()
        before[:, 0] = self.tokens[expert]
        output = model.decoder(before, encoder_out=encoder_out)
        logs = model.get_normalized_probs(output, log_probs=True)
        target = sample["target"]
        chosen = logs.gather(2, target.unsqueeze(-1)).squeeze(-1)
        return chosen.masked_fill(target == self.target_dictionary.pad(), 0.0).sum(1)

    def gated(self, model, encoder_out):
        """log p(expert | source), (sentences, experts), from the mean over the source without its padding."""
        states = encoder_out["encoder_out"][0].transpose(0, 1)
        real = (~encoder_out["encoder_padding_mask"][0]).unsqueeze(-1).to(states)
        return model.gate((states * real).sum(1) / real.sum(1)).log_softmax(-1)

    def loss(self, model, sample):
        inputs = sample["net_input"]
        encoder_out = model.encoder(inputs["src_tokens"], src_lengths=inputs["src_lengths"])
        gates = self.gated(model, encoder_out)
        with torch.no_grad():
            each = torch.stack([self.scores(model, encoder_out, sample, expert) for expert in range(3)], 1)
            best = (each + gates).argmax(1)
        total = 0.0
        for expert in best.unique().tolist():
            rows = (best == expert).nonzero().squeeze(1)
            part = {
                name: [
                    t.index_select(1 if name in ("encoder_out", "encoder_states") else 0, rows)
                    for t in tensors
                ]
                for name, tensors in encoder_out.items()
            }
            part["encoder_out"][0][-1] += model.encoder.embed_tokens.weight[self.tokens[expert]]
            inner = {"prev_output_tokens": inputs["prev_output_tokens"][rows]}
            of_rows = {"net_input": inner, "target": sample["target"][rows]}
            total -= (self.scores(model, part, of_rows, expert) + gates[rows, expert]).sum()
        return total

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        model.train()
        loss = self.loss(model, sample)
        optimizer.backward(loss * 0.0 if ignore_grad else loss)
        return loss.detach(), sample["ntokens"], self.logged(sample, loss)

    def valid_step(self, sample, model, criterion):
        model.eval()
        with torch.no_grad():
            loss = self.loss(model, sample)
        return loss, sample["ntokens"], self.logged(sample, loss)

    def logged(self, sample, loss):
        sizes = {
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample["ntokens"],
        }
        return {"loss": loss.detach(), **sizes}

    def reduce_metrics(self, logging_outputs, criterion):
        size = sum(log["sample_size"] for log in logging_outputs)
        metrics.log_scalar("loss", sum(log["loss"] for log in logging_outputs) / size, size, round=3)

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        with torch.no_grad():
            bos = self.tokens[self.cfg.expert]
            return generator.generate(models, sample, prefix_tokens=prefix_tokens, bos_token=bos)

"""MegaDecoder: target tokens to logits, in one pass or step by step."""

from typing import Any

import torch
from fairseq.models import FairseqIncrementalDecoder
from fairseq.modules import AdaptiveSoftmax
from torch import Tensor, nn

from mega_fairseq.models.building import TokenEmbedding, build_stack
from mega_fairseq.models.options import stack_config
from mega_fairseq.ops.chunking import right_align, rotation
from mega_fairseq.state import LayerState


def parse_cutoffs(text: Any, flag: str, vocabulary: int) -> list[int]:
    """ "20000,60000" -> [20000, 60000]. Raises ValueError naming the flag for anything else."""
    try:
        cutoffs = [int(part) for part in str(text).strip("[]() ").split(",")]
    except ValueError:
        raise ValueError(f"{flag} must be whole numbers like 20000,60000; got {text!r}") from None
    if cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary:
        raise ValueError(f"{flag} must rise and stay below the {vocabulary} words; got {text!r}")
    return cutoffs


class MegaDecoder(FairseqIncrementalDecoder):
    """Causal Mega stack; source_dim: width of the encoder's output, None for a language model."""

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: nn.Module, source_dim: int | None):
        super().__init__(dictionary)
        config = stack_config(cfg, "decoder")
        self.padding_idx = embed_tokens.padding_idx
        self.max_target_positions = cfg.max_target_positions
        self.embed_tokens = embed_tokens
        self.embedding = TokenEmbedding(cfg, config, embed_tokens)
        self.stack = build_stack(
            cfg, config, layerdrop=cfg.decoder_layerdrop, causal=True, source_dim=source_dim
        )
        self.adaptive_softmax = None
        self.output_projection = None
        self._build_output(cfg, dictionary, config.embed_dim)

    def _build_output(self, cfg: Any, dictionary: Any, dim: int) -> None:
        if cfg.adaptive_softmax_cutoff:
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary),
                dim,
                parse_cutoffs(cfg.adaptive_softmax_cutoff, "--adaptive-softmax-cutoff", len(dictionary)),
                dropout=cfg.adaptive_softmax_dropout,
                factor=cfg.adaptive_softmax_factor,
            )
            return
        self.output_projection = nn.Linear(dim, len(dictionary), bias=False)
        if not cfg.share_decoder_input_output_embed:
            nn.init.normal_(self.output_projection.weight, std=dim**-0.5)
        elif self.embed_tokens.embedding_dim != dim:
            raise ValueError(
                f"--share-decoder-input-output-embed needs --decoder-input-dim "
                f"({self.embed_tokens.embedding_dim}) to equal --decoder-embed-dim ({dim})"
            )
        else:
            self.output_projection.weight = self.embed_tokens.weight

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]] | None = None,
        incremental_state: dict[str, Any] | None = None,
        features_only: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """prev_output_tokens: (B, L). Returns logits (B, L, V), or features (B, L, D), and extras.

        With an incremental_state only tokens that it has not seen are computed and returned.
        """
        x, extra = self.extract_features(prev_output_tokens, encoder_out, incremental_state, **kwargs)
        return (x if features_only else self.output_layer(x)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]] | None = None,
        incremental_state: dict[str, Any] | None = None,
        alignment_layer: int | None = None,
        return_all_hiddens: bool = False,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, L, D), and {"attn": [weights (B, L, S) or None], "inner_states": [(L, B, D)]}.

        Padding may stand on either side; weights refer to the source as it was padded.
        """
        states, left_pads = None, None
        if incremental_state is None:
            tokens, left_pads = right_align(prev_output_tokens, self.padding_idx)
            mask = tokens.eq(self.padding_idx)
            padding = mask if bool(mask.any()) else None
        else:
            states = self.get_incremental_state(incremental_state, "layers")
            states = states or [LayerState()] * len(self.stack.layers)
            tokens, padding = prev_output_tokens[:, states[0].position :], None
        source, source_padding = None, None
        if encoder_out is not None:
            source = encoder_out["encoder_out"][0].transpose(0, 1)
            source_padding = next(iter(encoder_out["encoder_padding_mask"]), None)
        x = self.embedding(self.embed_tokens(tokens), padding)
        layer = -1 if alignment_layer is None else alignment_layer
        out = self.stack(x, padding, states, source, source_padding, layer)
        if incremental_state is not None:
            self.set_incremental_state(incremental_state, "layers", out.states)
        x, weights = out.x, out.weights
        if left_pads is not None:
            back = rotation(-left_pads, x.size(1)).unsqueeze(-1)
            x = x.gather(1, back.expand_as(x))
            weights = weights if weights is None else weights.gather(1, back.expand_as(weights))
        inner = [h.transpose(0, 1) for h in out.hiddens] if return_all_hiddens else []
        return x, {"attn": [self._as_padded(weights, encoder_out)], "inner_states": inner}

    @staticmethod
    def _as_padded(weights: Tensor | None, encoder_out: dict[str, list[Tensor]] | None) -> Tensor | None:
        """Attention weights (B, L, S) with the columns where the batch had the source tokens."""
        if weights is None or encoder_out is None or not encoder_out.get("left_pads"):
            return weights
        columns = rotation(-encoder_out["left_pads"][0], weights.size(-1)).unsqueeze(1)
        return weights.gather(2, columns.expand_as(weights))

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits, or the features themselves for the adaptive softmax."""
        return features if self.output_projection is None else self.output_projection(features)

    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Rows of every layer's state in the order that beam search chose."""
        states = self.get_incremental_state(incremental_state, "layers")
        if states and not torch.equal(new_order, torch.arange(_rows(states), device=new_order.device)):
            states = [state.reorder(new_order) for state in states]
            self.set_incremental_state(incremental_state, "layers", states)

    def max_positions(self) -> int:
        return self.max_target_positions


def _rows(states: list[LayerState]) -> int:
    return states[0].ema.memory.size(0)

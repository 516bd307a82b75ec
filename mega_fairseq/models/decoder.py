"""MegaDecoder: target tokens to logits, in one pass, in segments or step by step."""

from typing import Any

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from mega_fairseq.models.adaptive import adaptive_target_log_probs, build_adaptive_softmax
from mega_fairseq.models.building import TokenEmbedding, build_stack
from mega_fairseq.models.options import stack_config
from mega_fairseq.modules.linear import Linear
from mega_fairseq.modules.stack import StackOutput
from mega_fairseq.ops.chunking import right_align, rotation
from mega_fairseq.state import CarriedEMA, EMAState, LayerState, Moves

SEGMENT = 2048  # tokens that are computed together where no gradient is needed
UNLIMITED = 2**31 - 1


class MegaDecoder(FairseqIncrementalDecoder):
    """Causal Mega stack; source_dim: width of the encoder's output, None for a language model."""

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: nn.Module, source_dim: int | None):
        super().__init__(dictionary)
        config = stack_config(cfg, "decoder")
        self.padding_idx = embed_tokens.padding_idx
        self.max_target_positions = cfg.max_target_positions
        self.chunk_size = config.chunk_size
        chunk = max(config.chunk_size, 1)
        self.segment = max(chunk, SEGMENT // chunk * chunk)
        self.unlimited = source_dim is None and (config.chunk_size > 0 or config.rel_pos_bias == "rotary")
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
            self.adaptive_softmax = build_adaptive_softmax(cfg, dictionary, dim, self.embed_tokens)
            return
        if cfg.tie_adaptive_weights or cfg.tie_adaptive_proj:
            raise ValueError("--tie-adaptive-weights and --tie-adaptive-proj need --adaptive-softmax-cutoff")
        self.output_projection = Linear(dim, len(dictionary), bias=False)
        if not cfg.share_decoder_input_output_embed:
            nn.init.normal_(self.output_projection.weight, std=dim**-0.5)
        elif len(dictionary) != getattr(self.embed_tokens, "num_embeddings", len(dictionary)):
            raise ValueError("--share-decoder-input-output-embed does not go with --output-dictionary-size")
        elif cfg.adaptive_input:
            raise ValueError("--share-decoder-input-output-embed does not go with --adaptive-input")
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
        carried: CarriedEMA | None = None,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, L, D), and {"attn": [weights (B, L, S) or None], "inner_states": [(L, B, D)]}.

        Padding may stand on either side; weights refer to the source as it was padded. A long sequence is
        walked in segments where no gradient is needed, so that memory does not grow with its square.
        carried: what the EMA remembers of an earlier block, replaced by what it remembers of this one.
        """
        states, left_pads = None, None
        if incremental_state is None:
            tokens, left_pads = right_align(prev_output_tokens, self.padding_idx)
            mask = tokens.eq(self.padding_idx)
            padding = mask if bool(mask.any()) else None
            states = carried and self._states_after(carried)
        else:
            states = self.get_incremental_state(incremental_state, "layers")
            states = states or [LayerState()] * len(self.stack.layers)
            tokens, padding = prev_output_tokens[:, states[0].position :], None
        source, source_padding = None, None
        if encoder_out is not None:
            source = encoder_out["encoder_out"][0].transpose(0, 1)
            source_padding = next(iter(encoder_out["encoder_padding_mask"]), None)
        layer = -1 if alignment_layer is None else alignment_layer
        x = self.embedding(self.embed_tokens(tokens), padding)
        out = self._walk(x, padding, states, source, source_padding, layer, return_all_hiddens)
        if incremental_state is not None:
            self.set_incremental_state(incremental_state, "layers", out.states)
            if encoder_out is not None:
                self.set_incremental_state(incremental_state, "sentences", encoder_out["sentences"][0])
        elif carried is not None:
            carried.layers = [state.ema.detach() for state in out.states]
        x, weights = out.x, out.weights
        if left_pads is not None:
            back = rotation(-left_pads, x.size(1)).unsqueeze(-1)
            x = x.gather(1, back.expand_as(x))
            weights = weights if weights is None else weights.gather(1, back.expand_as(weights))
        inner = [h.transpose(0, 1) for h in out.hiddens]
        return x, {"attn": [self._as_padded(weights, encoder_out)], "inner_states": inner}

    def _states_after(self, carried: CarriedEMA) -> list[LayerState]:
        return [LayerState(ema=ema) for ema in carried.layers or [EMAState()] * len(self.stack.layers)]

    def _walk(
        self,
        x: Tensor,
        padding: Tensor | None,
        states: list[LayerState | None] | None,
        source: Tensor | None,
        source_padding: Tensor | None,
        layer: int,
        keep_hiddens: bool,
    ) -> StackOutput:
        """The stack's output, segment by segment with carried states where no gradient is needed."""
        if x.size(1) <= self.segment or torch.is_grad_enabled() or self.training:
            return self.stack(x, padding, states, source, source_padding, layer, keep_hiddens)
        states = states or [LayerState()] * len(self.stack.layers)
        masks = [None] * x.size(1) if padding is None else padding.split(self.segment, 1)
        parts = []
        for part, mask in zip(x.split(self.segment, 1), masks, strict=False):
            out = self.stack(part, mask, states, source, source_padding, layer, keep_hiddens)
            states = out.states
            parts.append(out._replace(states=[]))
        weights = None if parts[0].weights is None else torch.cat([p.weights for p in parts], 1)
        hiddens = [torch.cat(h, 1) for h in zip(*(p.hiddens for p in parts), strict=True)]
        return StackOutput(torch.cat([p.x for p in parts], 1), states, weights, hiddens)

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

    def target_log_probs(self, features: Tensor, target: Tensor, positions: int = 2048) -> Tensor:
        """log p(target) (B, L) float32 of features (B, L, D).

        positions: how many of them have their scores for the whole vocabulary held at once.
        """
        parts = []
        for rows, words in zip(
            features.flatten(0, 1).split(positions), target.flatten().split(positions), strict=True
        ):
            if self.adaptive_softmax is not None:
                parts.append(adaptive_target_log_probs(self.adaptive_softmax, rows, words))
            else:
                scores = self.output_layer(rows).float().log_softmax(-1)
                parts.append(scores.gather(-1, words.unsqueeze(-1)).squeeze(-1))
        return torch.cat(parts).view_as(target)

    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Rows of every layer's state in the order that beam search chose; copies from before it are void.

        The beams of a sentence agree on all but their last words: keys and values move where they differ.
        """
        states = self.get_incremental_state(incremental_state, "layers")
        if not states or torch.equal(new_order, torch.arange(_rows(states), device=new_order.device)):
            return
        sentences = self.get_incremental_state(incremental_state, "sentences")
        same = sentences is not None and torch.equal(sentences[new_order], sentences)
        if sentences is not None:
            self.set_incremental_state(incremental_state, "sentences", sentences[new_order])
        moves = self._moves(incremental_state, states, new_order)
        states = [state.reorder(new_order, same, moves) for state in states]
        self.set_incremental_state(incremental_state, "layers", states)

    def _moves(
        self, incremental_state: dict[str, Any], states: list[LayerState], new_order: Tensor
    ) -> Moves | None:
        """What a reorder changes in the keys and values, None for all.

        Kept and reordered for it are the origins (B, t) of the running chunk: which row computed a position.
        """
        rows, position, cache = _rows(states), states[0].position, states[0].attention
        if cache is None:
            self.set_incremental_state(incremental_state, "origins", None)
            return None
        begun = position - cache.key.size(1)  # where the running chunk does
        first, known = self.get_incremental_state(incremental_state, "origins") or (begun, None)
        known = new_order.new_empty(rows, 0) if known is None else known[:, begun - first :]
        own = torch.arange(rows, device=new_order.device).unsqueeze(1)
        origins = torch.cat([known, own.expand(-1, position - begun - known.size(1))], 1)
        moved = origins[new_order]
        self.set_incremental_state(incremental_state, "origins", (begun, moved))
        return Moves.of(new_order, origins, moved) if len(new_order) == rows else None

    def max_positions(self) -> int:
        return UNLIMITED if self.unlimited else self.max_target_positions


def _rows(states: list[LayerState]) -> int:
    return states[0].ema.memory.size(0)

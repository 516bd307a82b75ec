"""MegaDecoder: target tokens to logits, in one pass, in segments or step by step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from mega_fairseq.models.base import MegaSide
from mega_fairseq.models.beams import number_of_rows, reordered
from mega_fairseq.models.building import TokenEmbedding, build_stack
from mega_fairseq.models.options import decoder_output_dim, stack_config
from mega_fairseq.models.output import build_output, project, target_log_probs
from mega_fairseq.models.source import Source, sentences
from mega_fairseq.modules.stack import StackOutput
from mega_fairseq.ops.padding import Turn
from mega_fairseq.state import CarriedEMA, EMAState, LayerState

SEGMENT = 2048  # tokens that are computed together where no gradient is needed
UNLIMITED = 2**31 - 1


class Tokens(NamedTuple):
    """New tokens (B, L), their padding or None, how rows were turned, and what came before in each layer."""

    tokens: Tensor
    padding: Tensor | None
    turn: Turn
    states: list[LayerState | None] | None


class MegaDecoder(MegaSide, FairseqIncrementalDecoder):
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
        self.embedding = TokenEmbedding(cfg, config, embed_tokens, "MegaDecoder")
        self.stack = build_stack(cfg, config, "decoder", causal=True, source_dim=source_dim)
        self.embed_dim, self.output_embed_dim = config.embed_dim, decoder_output_dim(cfg)
        self.project_out_dim = None
        if self.output_embed_dim != self.embed_dim:
            self.project_out_dim = nn.Linear(self.embed_dim, self.output_embed_dim, bias=False)
            nn.init.xavier_uniform_(self.project_out_dim.weight)
        outputs = build_output(cfg, dictionary, self.output_embed_dim, embed_tokens)
        self.output_projection, self.adaptive_softmax = outputs

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Mapping[str, list[Tensor]] | None = None,
        incremental_state: dict[str, Any] | None = None,
        features_only: bool = False,
        full_context_alignment: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
        src_lengths: Any = None,
        return_all_hiddens: bool = True,
        carried: CarriedEMA | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """prev_output_tokens: (B, L). Returns logits (B, L, V), or features, and extras.

        With an incremental_state only tokens that it has not seen are computed and returned. src_lengths and
        return_all_hiddens change nothing, as in fairseq's transformer.
        """
        x, extra = self.extract_features(
            prev_output_tokens,
            encoder_out,
            incremental_state,
            full_context_alignment,
            alignment_layer,
            alignment_heads,
            carried,
        )
        return (x if features_only else self.output_layer(x)), extra

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Mapping[str, list[Tensor]] | None = None,
        incremental_state: dict[str, Any] | None = None,
        full_context_alignment: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
        carried: CarriedEMA | None = None,
        keep_hiddens: bool = True,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Features (B, L, D), and {"attn": [weights (B, L, S) or None], "inner_states": [(L, B, D)]}.

        Padding may stand on either side; weights refer to the source as it was padded, and are the mean of
        any alignment_heads, for there is one. inner_states: the stack's input and each layer's output, or
        nothing, in less memory, without keep_hiddens.
        carried: what the EMA remembers of an earlier block, replaced by what it remembers of this one.
        """
        if full_context_alignment:
            raise ValueError("full_context_alignment: a Mega decoder cannot look ahead; leave it out")
        new = self._new_tokens(prev_output_tokens, incremental_state, carried)
        begun = new.states is not None and new.states[0].cross is not None
        source = Source.of(encoder_out, known=begun)
        x = self.embedding(self.embedding.scale * self.embed_tokens(new.tokens), new.padding)
        out = self._walk(x, new, source, self.layer_number(alignment_layer), keep_hiddens)
        if incremental_state is not None:
            self.set_incremental_state(incremental_state, "layers", out.states)
            self.set_incremental_state(incremental_state, "sentences", sentences(encoder_out))
        elif carried is not None:
            carried.layers = [state.ema.detach() for state in out.states]
        x = project(self.project_out_dim, new.turn.undo(out.x))
        weights = out.weights
        if weights is not None:
            weights = source.turn.undo_columns(new.turn.undo(weights)).contiguous()  # criteria view them
        inner = [new.turn.undo(h).transpose(0, 1) for h in out.hiddens]
        return x, {"attn": [weights], "inner_states": inner}

    def _new_tokens(
        self, tokens: Tensor, incremental_state: dict[str, Any] | None, carried: CarriedEMA | None
    ) -> Tokens:
        count = self.num_layers
        if incremental_state is not None:
            states = self.get_incremental_state(incremental_state, "layers") or [LayerState()] * count
            position = states[0].position
            if tokens.size(1) <= position:
                raise ValueError(
                    f"prev_output_tokens must hold the {position} tokens that this incremental_state has "
                    f"seen, and those that follow; got {tokens.size(1)}"
                )
            return Tokens(tokens[:, position:], None, Turn(), states)
        states = carried and [LayerState(ema=ema) for ema in carried.layers or [EMAState()] * count]
        mask = tokens.eq(self.padding_idx)
        if not bool(mask.any()):
            return Tokens(tokens, None, Turn(), states)
        turn = Turn.of(mask)
        return Tokens(turn.apply(tokens), turn.apply(mask), turn, states)

    def layer_number(self, alignment_layer: int | None) -> int:
        """The last where none is given. Raises ValueError, naming the flag, for a layer that is not there."""
        if alignment_layer is None:
            return -1
        if not -self.num_layers <= alignment_layer < self.num_layers:
            raise ValueError(
                f"--alignment-layer must be one of the {self.num_layers} decoder layers, counted from 0; got "
                f"{alignment_layer}"
            )
        return alignment_layer

    def _walk(
        self, x: Tensor, new: Tokens, source: Source | None, layer: int, keep_hiddens: bool
    ) -> StackOutput:
        """The stack's output, segment by segment with carried states where no gradient is needed."""
        given = (None, None) if source is None else (source.x, source.padding)
        padding, states = new.padding, new.states
        if x.size(1) <= self.segment or torch.is_grad_enabled() or self.training:
            return self.stack(x, padding, states, *given, layer, keep_hiddens)
        states = states or [LayerState()] * len(self.stack.layers)
        masks = [None] * x.size(1) if padding is None else padding.split(self.segment, 1)
        parts = []
        for part, mask in zip(x.split(self.segment, 1), masks, strict=False):
            out = self.stack(part, mask, states, *given, layer, keep_hiddens)
            states = out.states
            parts.append(out._replace(states=[]))
        weights = None if parts[0].weights is None else torch.cat([p.weights for p in parts], 1)
        hiddens = [torch.cat(h, 1) for h in zip(*(p.hiddens for p in parts), strict=True)]
        return StackOutput(torch.cat([p.x for p in parts], 1), states, weights, hiddens)

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits, or the features themselves for the adaptive softmax."""
        return project(self.output_projection, features)

    def target_log_probs(self, features: Tensor, target: Tensor, positions: int = 2048) -> Tensor:
        """log p(target) (B, L) float32 of features (B, L, D).

        positions: how many of them have their scores for the whole vocabulary held at once.
        """
        return target_log_probs(self, features, target, positions)

    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Rows of every layer's state in the order that beam search chose; copies from before it are void."""
        states = self.get_incremental_state(incremental_state, "layers")
        if not states or torch.equal(
            new_order, torch.arange(number_of_rows(states), device=new_order.device)
        ):
            return
        before = self.get_incremental_state(incremental_state, "sentences")
        same = before is not None and torch.equal(before[new_order], before)
        if before is not None:
            self.set_incremental_state(incremental_state, "sentences", before[new_order])
        origins = self.get_incremental_state(incremental_state, "origins")
        states, origins = reordered(states, new_order, origins, same)
        self.set_incremental_state(incremental_state, "layers", states)
        self.set_incremental_state(incremental_state, "origins", origins)

    def max_positions(self) -> int:
        return UNLIMITED if self.unlimited else self.max_target_positions

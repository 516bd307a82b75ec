"""MegaDecoder: target tokens to logits, in one pass, in segments or step by step."""

from collections.abc import Mapping
from typing import Any

from fairseq.models import FairseqIncrementalDecoder
from torch import Tensor, nn

from mega_fairseq.models.base import MegaSide
from mega_fairseq.models.config import DecoderConfig
from mega_fairseq.models.embedding import TokenEmbedding
from mega_fairseq.models.history import Continued, History, Incremental
from mega_fairseq.models.layers import build_stack
from mega_fairseq.models.output import build_feature_projection, build_output, project, target_log_probs
from mega_fairseq.models.segments import in_segments, segment_of
from mega_fairseq.models.source import Source
from mega_fairseq.ops.padding import Turn, padding_behind
from mega_fairseq.state import CarriedEMA

UNLIMITED = 2**31 - 1


class MegaDecoder(MegaSide, FairseqIncrementalDecoder):
    """Causal Mega stack; source_dim: width of the encoder's output, None for a language model."""

    def __init__(
        self, config: DecoderConfig, dictionary: Any, embed_tokens: nn.Module, source_dim: int | None
    ):
        super().__init__(dictionary)
        stack = config.stack
        self.padding_idx = embed_tokens.padding_idx
        self.max_target_positions = config.max_positions
        self.chunk_size, self.segment = stack.chunk_size, segment_of(stack.chunk_size)
        self.unlimited = source_dim is None and (stack.chunk_size > 0 or stack.rel_pos_bias == "rotary")
        self.embed_tokens = embed_tokens
        self.embedding = TokenEmbedding(config, embed_tokens.embedding_dim, "MegaDecoder")
        self.stack = build_stack(config, causal=True, source_dim=source_dim)
        self.embed_dim, self.output_embed_dim = stack.embed_dim, config.output.width
        self.project_out_dim = build_feature_projection(config)
        outputs = build_output(config, len(dictionary), embed_tokens)
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
        any alignment_heads, for there is one. inner_states: the stack's input and each layer's output, none
        of them without keep_hiddens. carried: the EMA's memory of an earlier block, replaced by this one's.
        """
        if full_context_alignment:
            raise ValueError("full_context_alignment: a Mega decoder cannot look ahead; leave it out")
        history = self.history(incremental_state, carried)
        tokens = history.unread(prev_output_tokens)
        padding, turn = padding_behind(tokens.eq(self.padding_idx)) if history.padded else (None, Turn())
        source = Source.of(encoder_out, known=history.knows_source())
        embedded = self.embedding.scale * self.embed_tokens(turn.apply(tokens))
        out = in_segments(
            self.stack,
            self.embedding(embedded, padding),
            padding,
            history.states,
            self.segment,
            source=source and source.x,
            source_padding=source and source.padding,
            alignment_layer=self.layer_number(alignment_layer),
            keep_hiddens=keep_hiddens,
        )
        history.remember(out.states, encoder_out)
        x = project(self.project_out_dim, turn.undo(out.x))
        attention = None if out.weights is None else source.as_padded(turn.undo(out.weights))
        inner = [turn.undo(h).transpose(0, 1) for h in out.hiddens]
        return x, {"attn": [attention], "inner_states": inner}

    def history(self, incremental_state: dict[str, Any] | None, carried: CarriedEMA | None = None) -> History:
        """What was read before: by generation's earlier steps, in the block before, or nothing."""
        if incremental_state is not None:
            return Incremental(self, incremental_state, self.num_layers)
        return History() if carried is None else Continued(carried, self.num_layers)

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

    def output_layer(self, features: Tensor) -> Tensor:
        """Logits, or the features themselves for the adaptive softmax."""
        return project(self.output_projection, features)

    def target_log_probs(self, features: Tensor, target: Tensor, positions: int = 2048) -> Tensor:
        """log p(target) (B, L) float32 of features (B, L, D).

        positions: how many of them have their scores for the whole vocabulary held at once.
        """
        return target_log_probs(self.output_projection, self.adaptive_softmax, features, target, positions)

    def reorder_incremental_state(self, incremental_state: dict[str, Any], new_order: Tensor) -> None:
        """Rows of every layer's state in the order that beam search chose; copies from before it are void."""
        Incremental(self, incremental_state, self.num_layers).reorder(new_order)

    def max_positions(self) -> int:
        return UNLIMITED if self.unlimited else self.max_target_positions

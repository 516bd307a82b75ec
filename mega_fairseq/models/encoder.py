"""MegaEncoder: source tokens to states, the same whatever the padding."""

from collections.abc import Mapping
from typing import Any

import torch
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from mega_fairseq.models.base import MegaSide
from mega_fairseq.models.config import SideConfig
from mega_fairseq.models.embedding import TokenEmbedding
from mega_fairseq.models.layers import build_stack
from mega_fairseq.models.source import EncoderOut, reordered_source
from mega_fairseq.ops.padding import padding_behind


class MegaEncoder(MegaSide, FairseqEncoder):
    """Bidirectional Mega stack over source tokens."""

    def __init__(self, config: SideConfig, dictionary: Any, embed_tokens: nn.Module):
        super().__init__(dictionary)
        self.padding_idx = embed_tokens.padding_idx
        self.max_source_positions = config.max_positions
        self.embed_tokens = embed_tokens
        self.embedding = TokenEmbedding(config, embed_tokens.embedding_dim, "MegaEncoder")
        self.stack = build_stack(config, causal=False)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = True,
        token_embeddings: Tensor | None = None,
    ) -> EncoderOut:
        """src_tokens: (B, L), padded on either side; token_embeddings: (B, L, D) instead of the table's.

        Returns fairseq's dictionary of lists: encoder_out and encoder_states (L, B, D), the scaled
        encoder_embedding (B, L, D), encoder_padding_mask (B, L) with True = padded, src_tokens, src_lengths
        (B, 1), all with the padding where the batch has it.
        """
        mask = self.padding(src_tokens, src_lengths)
        padding, turn = padding_behind(mask)
        embedded = self.embed_tokens(src_tokens) if token_embeddings is None else token_embeddings
        embedded = self.embedding.scale * embedded
        x = self.embedding(turn.apply(embedded), padding)
        out = self.stack(x, padding, keep_hiddens=return_all_hiddens)
        x, *states = (turn.undo(h).transpose(0, 1) for h in (out.x, *out.hiddens))
        tensors = {
            "encoder_out": [x],
            "encoder_padding_mask": [mask],
            "encoder_embedding": [embedded],
            "encoder_states": states,
            "src_tokens": [src_tokens],
            "src_lengths": [(~mask).sum(1, keepdim=True).int()],
        }
        return EncoderOut(tensors, torch.arange(len(src_tokens), device=src_tokens.device))

    def padding(self, src_tokens: Tensor, src_lengths: Tensor | None) -> Tensor:
        """(B, L), True = padded. Real numbers are padded behind their lengths."""
        if self.padding_idx is not None:
            return src_tokens.eq(self.padding_idx)
        if src_lengths is None:
            return torch.zeros_like(src_tokens, dtype=torch.bool)
        return torch.arange(src_tokens.size(1), device=src_tokens.device) >= src_lengths.unsqueeze(1)

    def forward_torchscript(self, net_input: Mapping[str, Tensor]) -> EncoderOut:
        """As generation calls it: without the layers' states, which each step would reorder."""
        given = {name: value for name, value in net_input.items() if name != "prev_output_tokens"}
        return self(**{"return_all_hiddens": False, **given})

    def reorder_encoder_out(
        self, encoder_out: Mapping[str, list[Tensor]], new_order: Tensor
    ) -> Mapping[str, list[Tensor]]:
        """Rows of the batch in a new order; the same tensors where beams of one sentence change places."""
        return reordered_source(encoder_out, new_order)

    def max_positions(self) -> int:
        return self.max_source_positions

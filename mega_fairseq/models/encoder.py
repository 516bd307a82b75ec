"""MegaEncoder: source tokens to states, the same whatever the padding."""

from typing import Any

import torch
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from mega_fairseq.models.building import TokenEmbedding, build_stack
from mega_fairseq.models.options import stack_config
from mega_fairseq.ops.chunking import right_align

BATCH_DIM = {"encoder_out": 1, "encoder_states": 1}  # (L, B, D) at fairseq's border; batch first elsewhere


class MegaEncoder(FairseqEncoder):
    """Bidirectional Mega stack over source tokens."""

    def __init__(self, cfg: Any, dictionary: Any, embed_tokens: nn.Embedding):
        super().__init__(dictionary)
        config = stack_config(cfg, "encoder")
        self.padding_idx = embed_tokens.padding_idx
        self.max_source_positions = cfg.max_source_positions
        self.embed_tokens = embed_tokens
        self.embedding = TokenEmbedding(cfg, config, embed_tokens)
        self.stack = build_stack(cfg, config, layerdrop=cfg.encoder_layerdrop, causal=False)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """src_tokens: (B, L), padded on either side.

        Returns fairseq's dict of lists: encoder_out and encoder_states (L, B, D), encoder_padding_mask
        (B, L), encoder_embedding (B, L, D), src_tokens, src_lengths. Padding is moved behind each sentence;
        `left_pads` (B,) holds how many positions, where there are any. `sentences` (B,) numbers the rows.
        """
        tokens, left_pads = right_align(src_tokens, self.padding_idx)
        if token_embeddings is not None and left_pads is not None:
            raise ValueError("token_embeddings need a right-padded source (--left-pad-source False)")
        mask = tokens.eq(self.padding_idx)
        padding = mask if bool(mask.any()) else None
        embedded = self.embed_tokens(tokens) if token_embeddings is None else token_embeddings
        x = self.embedding(embedded, padding)
        out = self.stack(x, padding, keep_hiddens=return_all_hiddens)
        return {
            "encoder_out": [out.x.transpose(0, 1)],
            "encoder_padding_mask": [] if padding is None else [padding],
            "encoder_embedding": [x],
            "encoder_states": [h.transpose(0, 1) for h in out.hiddens],
            "src_tokens": [],
            "src_lengths": [(~mask).sum(1, keepdim=True).int()],
            "left_pads": [] if left_pads is None else [left_pads],
            "sentences": [torch.arange(len(tokens), device=tokens.device)],
        }

    def reorder_encoder_out(
        self, encoder_out: dict[str, list[Tensor]], new_order: Tensor
    ) -> dict[str, list[Tensor]]:
        """Rows of the batch in a new order; the same tensors where beams of one sentence change places."""
        sentences = encoder_out["sentences"][0]
        if len(new_order) == len(sentences) and torch.equal(sentences[new_order], sentences):
            return encoder_out
        return {
            name: [tensor.index_select(BATCH_DIM.get(name, 0), new_order) for tensor in tensors]
            for name, tensors in encoder_out.items()
        }

    def max_positions(self) -> int:
        return self.max_source_positions

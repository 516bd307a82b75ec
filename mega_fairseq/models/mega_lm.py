"""mega_lm: autoregressive language modelling with Mega. Registration and presets."""

from typing import Any

from fairseq.models import FairseqLanguageModel, register_model
from torch import Tensor

from mega_fairseq.models.base import MegaModel, plain
from mega_fairseq.models.decoder import MegaDecoder
from mega_fairseq.models.embedding import build_embedding
from mega_fairseq.models.from_options import decoder_config
from mega_fairseq.models.options import MegaLMOptions, fill, register_presets
from mega_fairseq.models.pruning import keep_layers
from mega_fairseq.models.refused import LANGUAGE
from mega_fairseq.models.segments import score_in_segments

_ADAPTIVE = {
    "dropout": 0.3,
    "attention_dropout": 0.1,
    "hidden_dropout": 0.1,
    "activation_dropout": 0.1,
    "decoder_layers": 16,
    "adaptive_input": True,
    "adaptive_softmax_cutoff": "20000,60000",
    "adaptive_softmax_dropout": 0.2,
    "tie_adaptive_weights": True,
    "tie_adaptive_proj": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    "mega_lm_tiny": {
        "decoder_embed_dim": 128,
        "decoder_hidden_dim": 256,
        "decoder_ffn_embed_dim": 256,
        "decoder_z_dim": 64,
        "decoder_layers": 4,
        "decoder_chunk_size": 128,
        "normalize_before": True,
        "rel_pos_bias": "rotary",
        "weight_init": "open-gates",
    },
    "mega_lm_big": {
        "decoder_embed_dim": 1024,
        "decoder_hidden_dim": 2048,
        "decoder_ffn_embed_dim": 2048,
        "decoder_z_dim": 256,
        "decoder_layers": 16,
    },
    "mega_lm_adaptive_base": {
        **_ADAPTIVE,
        "decoder_embed_dim": 768,
        "decoder_hidden_dim": 1536,
        "decoder_ffn_embed_dim": 1536,
    },
    "mega_lm_wikitext103": {
        **_ADAPTIVE,
        "decoder_embed_dim": 1024,
        "decoder_hidden_dim": 2048,
        "decoder_ffn_embed_dim": 2048,
        "decoder_z_dim": 256,
    },
    "mega_lm_enwik8": {"decoder_hidden_dim": 1024, "decoder_ffn_embed_dim": 1024, "decoder_layers": 12},
    "mega_lm_enwik8_large": {
        "dropout": 0.2,
        "attention_dropout": 0.1,
        "hidden_dropout": 0.1,
        "decoder_embed_dim": 1024,
        "decoder_hidden_dim": 1536,
        "decoder_ffn_embed_dim": 1536,
        "decoder_layers": 24,
    },
}


@register_model("mega_lm", dataclass=MegaLMOptions)
class MegaLM(MegaModel, FairseqLanguageModel):
    """Mega decoder over one text (Ma et al. 2022)."""

    refused = LANGUAGE

    def __init__(self, cfg: Any, decoder: MegaDecoder):
        super().__init__(decoder)
        self.cfg = plain(cfg)

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "MegaLM":
        """Raises ValueError, naming the flag, for options that make no model."""
        fill(cfg, MegaLMOptions)
        keep_layers(cfg, "decoder")
        if getattr(cfg, "max_target_positions", None) is None:
            begun = bool(getattr(cfg, "add_bos_token", False))
            cfg.max_target_positions = (getattr(cfg, "tokens_per_sample", None) or 1024) + begun
        config = decoder_config(cfg)
        embed_tokens = build_embedding(config, task.source_dictionary)
        return cls(cfg, MegaDecoder(config, task.target_dictionary, embed_tokens, source_dim=None))

    def score_text(self, tokens: Tensor, target: Tensor, positions: int) -> Tensor:
        """log p(target) (B, L) float32 of texts (B, L), padded behind, in memory that L does not grow."""
        return score_in_segments(self.decoder, tokens, target, positions)


register_presets("mega_lm", MegaLMOptions, PRESETS)

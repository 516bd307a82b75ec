"""mega_nmt: translation with Mega. Registration and presets."""

from typing import Any

from fairseq import hub_utils
from fairseq.models import FairseqEncoderDecoderModel, register_model
from torch import Tensor

from mega_fairseq.models.base import MegaModel, plain
from mega_fairseq.models.config import EmbeddingConfig
from mega_fairseq.models.decoder import MegaDecoder
from mega_fairseq.models.embedding import build_embedding
from mega_fairseq.models.encoder import MegaEncoder
from mega_fairseq.models.from_options import decoder_config, encoder_config
from mega_fairseq.models.hub import TranslationHub
from mega_fairseq.models.options import MegaNMTOptions, fill, register_presets
from mega_fairseq.models.pruning import keep_layers
from mega_fairseq.models.refused import TRANSLATION

_REGULARISED = {"attention_dropout": 0.1, "hidden_dropout": 0.1, "activation_dropout": 0.1}

PRESETS: dict[str, dict[str, Any]] = {
    "mega_nmt_tiny": {
        "encoder_embed_dim": 128,
        "encoder_hidden_dim": 256,
        "encoder_ffn_embed_dim": 256,
        "encoder_z_dim": 64,
        "encoder_layers": 2,
        "normalize_before": True,
        "rel_pos_bias": "rotary",
        "weight_init": "open-gates",
        "share_all_embeddings": True,
    },
    "mega_nmt_wmt_en_de": _REGULARISED,
    "mega_nmt_wmt_en_de_big": {
        **_REGULARISED,
        "dropout": 0.3,
        "encoder_embed_dim": 1024,
        "encoder_hidden_dim": 2048,
        "encoder_ffn_embed_dim": 2048,
        "encoder_z_dim": 256,
    },
}


@register_model("mega_nmt", dataclass=MegaNMTOptions)
class MegaNMT(MegaModel, FairseqEncoderDecoderModel):
    """Mega encoder and decoder (Ma et al. 2022)."""

    refused = TRANSLATION

    def __init__(self, cfg: Any, encoder: MegaEncoder, decoder: MegaDecoder):
        super().__init__(encoder, decoder)
        self.cfg = self.args = plain(cfg)
        self.supports_align_args = True
        self.alignment_layer = decoder.layer_number(cfg.alignment_layer)

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "MegaNMT":
        """Raises ValueError, naming the flag, for options that make no model."""
        fill(cfg, MegaNMTOptions)
        keep_layers(cfg, "encoder", "decoder")
        if cfg.share_all_embeddings:
            cfg.share_decoder_input_output_embed = True
        source, target = task.source_dictionary, task.target_dictionary
        encoder, decoder = encoder_config(cfg), decoder_config(cfg)
        if cfg.share_all_embeddings:
            check_shareable(encoder.embedding, decoder.embedding, source, target)
        embed_source = build_embedding(encoder, source)
        embed_target = embed_source if cfg.share_all_embeddings else build_embedding(decoder, target)
        source_dim = None if cfg.no_cross_attention else encoder.stack.embed_dim
        return cls(
            cfg,
            MegaEncoder(encoder, source, embed_source),
            MegaDecoder(decoder, target, embed_target, source_dim),
        )

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        features_only: bool = False,
        alignment_layer: int | None = None,
        alignment_heads: int | None = None,
        token_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """src_tokens: (B, S), prev_output_tokens: (B, L). Returns logits (B, L, V), or features, and extras.

        The extras are MegaDecoder's; alignment_layer: the configuration's unless given.
        """
        encoder_out = self.encoder(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        return self.decoder(
            prev_output_tokens,
            encoder_out,
            features_only=features_only,
            alignment_layer=self.alignment_layer if alignment_layer is None else alignment_layer,
            alignment_heads=alignment_heads,
        )

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        **kwargs: Any,
    ) -> TranslationHub:
        """A trained model from its folder and checkpoint; data_name_or_path holds the dictionaries.

        kwargs: bpe="sentencepiece", sentencepiece_model=..., tokenizer=..., and overrides of any option.
        """
        loaded = hub_utils.from_pretrained(model_name_or_path, checkpoint_file, data_name_or_path, **kwargs)
        return TranslationHub(loaded["args"], loaded["task"], loaded["models"])


def check_shareable(encoder: EmbeddingConfig, decoder: EmbeddingConfig, source: Any, target: Any) -> None:
    """Raises ValueError where --share-all-embeddings cannot be."""
    if source != target:
        raise ValueError(
            "--share-all-embeddings needs one dictionary and got two, of "
            f"{len(source)} and {len(target)} words: preprocess with --joined-dictionary, or take an --arch "
            "that does not share, like mega_nmt"
        )
    if encoder.width != decoder.width:
        raise ValueError(
            f"--share-all-embeddings needs equal --encoder-embed-dim ({encoder.width}) and "
            f"--decoder-embed-dim / --decoder-input-dim ({decoder.width})"
        )
    if decoder.adaptive is not None:
        raise ValueError("--share-all-embeddings does not go with --adaptive-input; drop one of them")
    if decoder.path and decoder.path != encoder.path:
        raise ValueError(
            f"--share-all-embeddings does not go with its own --decoder-embed-path {decoder.path}; "
            "leave that out"
        )


register_presets("mega_nmt", MegaNMTOptions, PRESETS)

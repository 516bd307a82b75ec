"""fairseq's flat fields as the typed configuration that encoder and decoder are built from."""

from typing import Any

from mega_fairseq.config import MegaConfig
from mega_fairseq.models.config import (
    AdaptiveConfig,
    CharacterConfig,
    DecoderConfig,
    EmbeddingConfig,
    LayerConfig,
    OutputConfig,
    SideConfig,
)


def encoder_config(cfg: Any) -> SideConfig:
    """Of the flat fields of mega_nmt. Raises ValueError, naming the flag, for values that make no model."""
    embedding = _embedding_config(cfg, "encoder", size(cfg, "encoder", "embed_dim"))
    stack = stack_config(cfg, "encoder")
    return SideConfig(stack, _layer_config(cfg, "encoder"), embedding, cfg.max_source_positions)


def decoder_config(cfg: Any) -> DecoderConfig:
    """Of the flat fields of mega_nmt or mega_lm. Raises ValueError as `encoder_config`."""
    dim = size(cfg, "decoder", "embed_dim")
    embedding = _embedding_config(
        cfg, "decoder", dim if cfg.decoder_input_dim is None else int(cfg.decoder_input_dim)
    )
    stack = stack_config(cfg, "decoder")
    layers = _layer_config(cfg, "decoder")
    return DecoderConfig(stack, layers, embedding, cfg.max_target_positions, _output_config(cfg, dim))


def _layer_config(cfg: Any, side: str) -> LayerConfig:
    return LayerConfig(
        side=side,
        layerdrop=getattr(cfg, f"{side}_layerdrop"),
        checkpoint=bool(cfg.checkpoint_activations or cfg.offload_activations),
        offload=cfg.offload_activations,
        min_params_to_wrap=cfg.min_params_to_wrap,
        quant_noise=cfg.quant_noise_pq,
        quant_noise_block=cfg.quant_noise_pq_block_size,
    )


def _embedding_config(cfg: Any, side: str, width: int) -> EmbeddingConfig:
    adaptive, characters = None, None
    if side == "decoder" and getattr(cfg, "character_embeddings", False):
        characters = _character_config(cfg)
    elif side == "decoder" and cfg.adaptive_input:
        adaptive = _adaptive_input_config(cfg)
    return EmbeddingConfig(
        width=width,
        path=getattr(cfg, f"{side}_embed_path"),
        scaled=not getattr(cfg, "no_scale_embedding", True),
        normalize=bool(cfg.normalize_embedding or cfg.layernorm_embedding),
        adaptive=adaptive,
        characters=characters,
    )


def _character_config(cfg: Any) -> CharacterConfig:
    for flag in ("adaptive_input", "decoder_embed_path"):
        if getattr(cfg, flag):
            raise ValueError(f"--character-embeddings does not go with --{flag.replace('_', '-')}; drop one")
    return CharacterConfig(
        cfg.character_filters, cfg.character_embedding_dim, cfg.char_embedder_highway_layers
    )


def _adaptive_input_config(cfg: Any) -> AdaptiveConfig:
    """The cutoffs default to the softmax's."""
    kind = "input" if cfg.adaptive_input_cutoff else "softmax"
    cutoffs = cfg.adaptive_input_cutoff or cfg.adaptive_softmax_cutoff
    if not cutoffs:
        raise ValueError("--adaptive-input needs --adaptive-input-cutoff, for instance 20000,60000")
    return AdaptiveConfig("input", cutoffs, f"--adaptive-{kind}-cutoff", cfg.adaptive_input_factor)


def _output_config(cfg: Any, dim: int) -> OutputConfig:
    adaptive = None
    if cfg.adaptive_softmax_cutoff:
        adaptive = AdaptiveConfig(
            "softmax",
            cfg.adaptive_softmax_cutoff,
            "--adaptive-softmax-cutoff",
            cfg.adaptive_softmax_factor,
            cfg.adaptive_softmax_dropout,
        )
    return OutputConfig(
        width=dim if cfg.decoder_output_dim is None else int(cfg.decoder_output_dim),
        shared=bool(cfg.share_decoder_input_output_embed),
        adaptive=adaptive,
        tie_weights=bool(cfg.tie_adaptive_weights),
        tie_proj=bool(cfg.tie_adaptive_proj),
    )


def stack_config(cfg: Any, side: str) -> MegaConfig:
    """The MegaConfig of one side, "encoder" or "decoder". Raises ValueError for values that make no model."""
    longest = [getattr(cfg, f"max_{text}_positions", None) or 0 for text in ("source", "target")]
    return MegaConfig(
        embed_dim=size(cfg, side, "embed_dim"),
        ndim=size(cfg, side, "n_dim"),
        zdim=size(cfg, side, "z_dim"),
        hdim=size(cfg, side, "hidden_dim"),
        ffn_dim=size(cfg, side, "ffn_embed_dim"),
        layers=size(cfg, side, "layers"),
        chunk_size=size(cfg, side, "chunk_size"),
        truncation_length=cfg.truncation_length,
        max_positions=longest[0] if side == "encoder" else longest[1],
        cross_max_positions=max(longest),
        attention_fn=str(cfg.attention_activation_fn),
        activation_fn=str(cfg.activation_fn),
        rel_pos_bias=str(cfg.rel_pos_bias),
        normalization_type=str(cfg.normalization_type),
        weight_init=str(cfg.weight_init),
        normalize_before=bool(cfg.normalize_before or getattr(cfg, f"{side}_normalize_before", False)),
        final_norm=side == "encoder" or not cfg.no_decoder_final_norm,
        affine_final_norm=not cfg.no_affine_final_norm,
        dropout=cfg.dropout,
        attention_dropout=cfg.attention_dropout,
        hidden_dropout=cfg.hidden_dropout,
        activation_dropout=cfg.activation_dropout,
        feature_dropout=cfg.feature_dropout,
    )


def value(cfg: Any, side: str, name: str) -> Any:
    """A size of one side; a decoder's size that is not given is the encoder's."""
    own = getattr(cfg, f"{side}_{name}", None)
    return getattr(cfg, f"encoder_{name}", None) if own is None else own


def size(cfg: Any, side: str, name: str) -> int:
    """`value` as a whole number. Raises ValueError, naming the flag, for what is none."""
    found = value(cfg, side, name)
    try:
        return int(found)
    except (TypeError, ValueError):
        flag = f"--{side}-{name.replace('_', '-')}"
        raise ValueError(f"{flag} must be a whole number; got {found!r}") from None

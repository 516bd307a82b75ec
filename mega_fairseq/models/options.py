"""The flat fields of fairseq's command line and checkpoints; from_options.py makes typed ones of them."""

import functools
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models import register_model_architecture
from omegaconf import II

from mega_fairseq.config import ACTIVATIONS, ATTENTION_FUNCTIONS, BIASES, INITS, NORMS

DEFAULT_MIN_PARAMS_TO_WRAP = int(1e8)
INPUTS = ("tokens", "real")  # of a classifier


def _option(default: Any, text: str, alias: str | None = None) -> Any:
    return field(default=default, metadata={"help": text, "argparse_alias": alias})


@dataclass
class StackOptions(FairseqDataclass):
    """Options of every stack."""

    activation_fn: ChoiceEnum(ACTIVATIONS) = _option("silu", "activation of values, candidates and FFN")
    attention_activation_fn: ChoiceEnum(ATTENTION_FUNCTIONS) = _option("softmax", "attention function")
    normalization_type: ChoiceEnum(NORMS) = _option("layernorm", "kind of normalisation")
    rel_pos_bias: ChoiceEnum(BIASES) = _option(
        "simple", "relative position bias: simple (a table, limited length) or rotary (no limit)"
    )
    weight_init: ChoiceEnum(INITS) = _option(
        "paper",
        "initial weights: paper = N(0, 0.02); open-gates = Xavier, with gates that let attention through: "
        "learns faster on small data",
    )
    truncation_length: int = _option(0, "inputs that the EMA remembers; 0 = all")
    normalize_before: bool = _option(False, "pre-norm: normalise the input of each block (both stacks)")
    normalize_embedding: bool = _option(False, "normalise the embeddings (not with pre-norm)")
    layernorm_embedding: bool = _option(False, "same as --normalize-embedding")
    no_affine_final_norm: bool = _option(False, "final norm of pre-norm stacks without weights")
    dropout: float = _option(0.1, "dropout probability")
    attention_dropout: float = _option(0.0, "dropout probability of attention weights")
    hidden_dropout: float = _option(0.0, "dropout probability of attention values")
    activation_dropout: float = _option(
        0.0, "dropout probability after the FFN's activation", alias="--relu-dropout"
    )
    feature_dropout: bool = _option(False, "drop whole channels, one mask for all positions")
    checkpoint_activations: bool = _option(False, "recompute activations in backward: less memory, more time")
    offload_activations: bool = _option(False, "checkpoint activations and keep them in CPU memory")
    quant_noise_pq: float = _option(0.0, "noise of product quantisation in training, a probability")
    quant_noise_pq_block_size: int = _option(8, "block size of product quantisation's noise")
    quant_noise_scalar: float = _option(0.0, "scalar quantisation and its noise in training, a probability")
    min_params_to_wrap: int = _option(
        DEFAULT_MIN_PARAMS_TO_WRAP, "smallest layer, in parameters, that FSDP shards by itself"
    )


@dataclass
class DecoderOptions(StackOptions):
    """Options of a model with a decoder."""

    no_scale_embedding: bool = _option(False, "do not multiply embeddings by sqrt(embed dim)")
    max_target_positions: int = _option(1024, "longest target")
    decoder_embed_path: Optional[str] = _option(None, "file of pretrained decoder embeddings")
    decoder_layerdrop: float = _option(0.0, "probability of skipping a decoder layer in training")
    decoder_layers_to_keep: Optional[str] = _option(
        None, "numbers of the decoder layers to keep of a larger model, from 0, like 0,2,4"
    )
    decoder_output_dim: Optional[int] = _option(
        None, "width of the features that the output layer reads (default: decoder width)"
    )
    no_decoder_final_norm: bool = _option(False, "no norm after a pre-norm decoder's last layer")
    no_token_positional_embeddings: bool = _option(
        False, "no positions in the embeddings; Mega has none with or without this"
    )
    share_decoder_input_output_embed: bool = _option(False, "share decoder input and output embeddings")
    adaptive_softmax_cutoff: Optional[str] = _option(
        None, "adaptive softmax cutoffs, comma separated (needs --criterion adaptive_loss)"
    )
    adaptive_softmax_dropout: float = _option(0.0, "dropout of the adaptive softmax's tail projections")
    adaptive_softmax_factor: float = _option(4, "shrink factor of adaptive softmax's tails")
    adaptive_input: bool = _option(False, "embed decoder tokens with fewer dimensions the rarer they are")
    adaptive_input_cutoff: Optional[str] = _option(
        None, "adaptive input cutoffs, comma separated (default: adaptive softmax's)"
    )
    adaptive_input_factor: float = _option(4, "shrink factor of adaptive input's embeddings")
    tie_adaptive_weights: bool = _option(False, "adaptive softmax uses the adaptive input's embeddings")
    tie_adaptive_proj: bool = _option(False, "adaptive softmax uses the adaptive input's projections")


@dataclass
class EncoderOptions(StackOptions):
    """Options of a model with an encoder."""

    encoder_n_dim: int = _option(16, "EMA dimensions N per encoder channel")
    encoder_chunk_size: int = _option(-1, "encoder attention chunk C; -1 = full attention")
    encoder_layerdrop: float = _option(0.0, "probability of skipping an encoder layer in training")
    encoder_layers_to_keep: Optional[str] = _option(
        None, "numbers of the encoder layers to keep of a larger model, from 0, like 0,2,4"
    )
    encoder_embed_path: Optional[str] = _option(None, "file of pretrained encoder embeddings")


@dataclass
class MegaNMTOptions(EncoderOptions, DecoderOptions):
    """Options of mega_nmt; decoder sizes follow the encoder's unless given."""

    encoder_embed_dim: int = _option(512, "encoder width D")
    encoder_hidden_dim: int = _option(1024, "width H of the encoder's attention values")
    encoder_ffn_embed_dim: int = _option(1024, "encoder FFN width; 0 = no FFN")
    encoder_z_dim: int = _option(128, "width Z of the encoder's queries and keys")
    encoder_layers: int = _option(6, "number of encoder layers")
    encoder_normalize_before: bool = _option(False, "pre-norm in the encoder")
    max_source_positions: int = _option(1024, "longest source")
    share_all_embeddings: bool = _option(False, "share encoder, decoder and output embeddings")
    decoder_embed_dim: Optional[int] = _option(None, "decoder width D (default: the encoder's)")
    decoder_input_dim: Optional[int] = _option(None, "decoder embedding width (default: decoder width)")
    decoder_hidden_dim: Optional[int] = _option(None, "width H of decoder values (default: the encoder's)")
    decoder_ffn_embed_dim: Optional[int] = _option(None, "decoder FFN width (default: the encoder's)")
    decoder_z_dim: Optional[int] = _option(None, "width Z of decoder queries (default: the encoder's)")
    decoder_n_dim: Optional[int] = _option(None, "EMA dimensions N of the decoder (default: the encoder's)")
    decoder_layers: Optional[int] = _option(None, "number of decoder layers (default: the encoder's)")
    decoder_chunk_size: Optional[int] = _option(None, "decoder attention chunk C (default: the encoder's)")
    decoder_normalize_before: bool = _option(False, "pre-norm in the decoder")
    no_cross_attention: bool = _option(False, "a decoder that does not look at the source")
    alignment_layer: Optional[int] = _option(
        None, "decoder layer, from 0, whose attention is returned and supervised (default: the last)"
    )


@dataclass
class MegaLMOptions(DecoderOptions):
    """Options of mega_lm."""

    decoder_embed_dim: int = _option(512, "width D")
    decoder_input_dim: Optional[int] = _option(None, "embedding width (default: D)")
    decoder_hidden_dim: int = _option(1664, "width H of attention values")
    decoder_ffn_embed_dim: int = _option(1664, "FFN width; 0 = no FFN")
    decoder_z_dim: int = _option(128, "width Z of queries and keys")
    decoder_n_dim: int = _option(16, "EMA dimensions N per channel")
    decoder_layers: int = _option(6, "number of layers")
    decoder_chunk_size: int = _option(-1, "attention chunk C; -1 = attention to the whole block")
    decoder_normalize_before: bool = _option(False, "pre-norm; same as --normalize-before")
    character_embeddings: bool = _option(False, "embed words by convolutions over their bytes")
    character_filters: str = _option(
        "[(1, 64), (2, 128), (3, 192), (4, 256), (5, 256), (6, 256), (7, 256)]",
        "widths and channels of the convolutions of character embeddings",
    )
    character_embedding_dim: int = _option(4, "width of a byte's embedding")
    char_embedder_highway_layers: int = _option(2, "highway layers of character embeddings")
    max_target_positions: Optional[int] = II("task.max_target_positions")
    tokens_per_sample: int = II("task.tokens_per_sample")
    add_bos_token: bool = II("task.add_bos_token")


@dataclass
class MegaClassifierOptions(EncoderOptions):
    """Options of mega_classifier."""

    input_type: ChoiceEnum(INPUTS) = _option(
        "tokens", "what is classified: tokens of a text, or real numbers (pixels, audio)"
    )
    two_towers: bool = _option(False, "read two texts apart and classify the pair")
    encoder_embed_dim: int = _option(128, "width D")
    encoder_hidden_dim: int = _option(256, "width H of attention values")
    encoder_ffn_embed_dim: int = _option(256, "FFN width; 0 = no FFN")
    encoder_z_dim: int = _option(64, "width Z of queries and keys")
    encoder_layers: int = _option(4, "number of layers")
    max_source_positions: int = _option(4096, "longest input")
    head_dim: Optional[int] = _option(None, "width of the classification head's hidden layer (default: 2 D)")
    head_dropout: Optional[float] = _option(
        None, "dropout probability in the head (default: --dropout)", alias="--pooler-dropout"
    )


def fill(args: Any, options: type[FairseqDataclass], **preset: Any) -> None:
    """Set on args every option that is absent: the preset's value, else the default.

    A default that is an interpolation belongs to another part of fairseq's configuration.
    """
    for option in fields(options):
        if getattr(args, option.name, MISSING) is MISSING and not str(option.default).startswith("${"):
            setattr(args, option.name, preset.get(option.name, option.default))


def register_presets(
    family: str, options: type[FairseqDataclass], presets: dict[str, dict[str, Any]]
) -> None:
    """Make each preset an --arch of the model `family`; it sets only what is absent."""
    for name, preset in presets.items():
        register_model_architecture(family, name)(functools.partial(fill, options=options, **preset))

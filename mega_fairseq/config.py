"""The configuration of one stack of Mega layers: a frozen, validated dataclass."""

from dataclasses import dataclass

ATTENTION_FUNCTIONS = ("softmax", "relu2", "laplace")
ACTIVATIONS = ("silu", "relu", "gelu", "gelu_fast", "gelu_accurate", "tanh", "linear")
BIASES = ("simple", "rotary")
INITS = ("paper", "open-gates")
NORMS = ("layernorm", "rmsnorm", "scalenorm", "batchnorm", "syncbatchnorm")
SIZE_FLAGS = {
    "embed_dim": "--encoder-embed-dim/--decoder-embed-dim",
    "ndim": "--encoder-n-dim/--decoder-n-dim",
    "zdim": "--encoder-z-dim/--decoder-z-dim",
    "hdim": "--encoder-hidden-dim/--decoder-hidden-dim",
    "layers": "--encoder-layers/--decoder-layers",
    "max_positions": "--max-source-positions/--max-target-positions",
}


@dataclass(frozen=True)
class MegaConfig:
    """Sizes and choices of one stack; letters as in the paper (D, N, Z, H, C).

    Raises ValueError, naming the command-line flag and the remedy, for values that make no model.
    """

    embed_dim: int = 512
    ndim: int = 16
    zdim: int = 128
    hdim: int = 1024
    ffn_dim: int = 1024
    layers: int = 6
    chunk_size: int = -1
    truncation_length: int | None = None
    max_positions: int = 1024
    cross_max_positions: int = 1024
    attention_fn: str = "softmax"
    activation_fn: str = "silu"
    rel_pos_bias: str = "simple"
    normalization_type: str = "layernorm"
    weight_init: str = "paper"
    normalize_before: bool = False
    final_norm: bool = True
    affine_final_norm: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    activation_dropout: float = 0.0
    feature_dropout: bool = False

    def __post_init__(self) -> None:
        for name, flag in SIZE_FLAGS.items():
            if getattr(self, name) < 1:
                raise ValueError(f"{flag} must be at least 1; got {getattr(self, name)}")
        if self.ffn_dim < 0:
            raise ValueError(
                f"--encoder-ffn-embed-dim/--decoder-ffn-embed-dim must be positive, or 0 for no FFN; "
                f"got {self.ffn_dim}"
            )
        if self.chunk_size == 0 or self.chunk_size < -1:
            raise ValueError(
                f"--encoder-chunk-size/--decoder-chunk-size must be positive, or -1 for full attention; "
                f"got {self.chunk_size}"
            )
        if self.truncation_length is not None and self.truncation_length < 0:
            raise ValueError(
                f"--truncation-length must be positive, or 0 for everything; got {self.truncation_length}"
            )
        if self.rel_pos_bias == "rotary" and self.zdim % 2:
            raise ValueError(
                f"--rel-pos-bias rotary needs an even --encoder-z-dim/--decoder-z-dim; got {self.zdim}"
            )
        for name in ("dropout", "attention_dropout", "hidden_dropout", "activation_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} must lie in [0, 1); got {getattr(self, name)}")
        choices = {
            "attention-activation-fn": (self.attention_fn, ATTENTION_FUNCTIONS),
            "activation-fn": (self.activation_fn, ACTIVATIONS),
            "rel-pos-bias": (self.rel_pos_bias, BIASES),
            "normalization-type": (self.normalization_type, NORMS),
            "weight-init": (self.weight_init, INITS),
        }
        for flag, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"--{flag} must be one of {', '.join(allowed)}; got {value!r}")

    @property
    def truncation(self) -> int | None:
        """Number of inputs the EMA remembers, or None for all of them."""
        return self.truncation_length or None

    @property
    def bias_positions(self) -> int:
        """Length M of the self-attention's simple bias table."""
        return self.chunk_size if self.chunk_size > 0 else self.max_positions

    def bias_flag(self, decoder: bool) -> str:
        """The command-line flag that sets it."""
        if self.chunk_size > 0:
            return "--decoder-chunk-size" if decoder else "--encoder-chunk-size"
        return "--max-target-positions" if decoder else "--max-source-positions"

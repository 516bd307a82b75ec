"""The typed configuration of an encoder and a decoder, made of flat fields once (from_options.py)."""

from dataclasses import dataclass
from typing import Any

from mega_fairseq.config import MegaConfig


@dataclass(frozen=True)
class LayerConfig:
    """What fairseq does with the layers of one side in training. Raises ValueError, naming the flag."""

    side: str
    layerdrop: float
    checkpoint: bool
    offload: bool
    min_params_to_wrap: int
    quant_noise: float
    quant_noise_block: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.layerdrop < 1.0:
            raise ValueError(f"--{self.side}-layerdrop must lie in [0, 1); got {self.layerdrop}")
        if not 0.0 <= self.quant_noise < 1.0:
            raise ValueError(f"--quant-noise-pq must lie in [0, 1); got {self.quant_noise}")


@dataclass(frozen=True)
class AdaptiveConfig:
    """Of an adaptive input or softmax (kind). cutoffs: as `flag` gave them; dropout: of the tails."""

    kind: str
    cutoffs: Any
    flag: str
    factor: float
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"--adaptive-{self.kind}-dropout must lie in [0, 1); got {self.dropout}")

    def numbers(self, vocabulary: int, width: int) -> list[int]:
        """ "20000,60000" -> [20000, 60000]; width: of the most frequent words.

        Raises ValueError, naming the flag, for anything else, and where the rarest would have no dimension.
        """
        try:
            cutoffs = [int(part) for part in str(self.cutoffs).strip("[]() ").split(",")]
        except ValueError:
            raise ValueError(
                f"{self.flag} must be whole numbers like 20000,60000; got {self.cutoffs!r}"
            ) from None
        if cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1 or cutoffs[-1] >= vocabulary:
            raise ValueError(
                f"{self.flag} must rise and stay below the {vocabulary} words; got {self.cutoffs!r}"
            )
        if not self.factor >= 1 or width // self.factor ** len(cutoffs) < 1:
            raise ValueError(
                f"--adaptive-{self.kind}-factor must be at least 1 and leave a dimension: {width} is divided "
                f"by it once for each of {len(cutoffs)} cutoffs; got {self.factor}"
            )
        return cutoffs


@dataclass(frozen=True)
class CharacterConfig:
    """Embeddings of words by convolutions over their bytes; filters: as they were given."""

    filters: Any
    dim: int
    highway_layers: int


@dataclass(frozen=True)
class EmbeddingConfig:
    """Of one side's tokens. width: of the table; path: of pretrained vectors; scaled: by sqrt(D).

    adaptive or characters, where given, take the place of the table.
    """

    width: int
    path: str | None
    scaled: bool
    normalize: bool
    adaptive: AdaptiveConfig | None = None
    characters: CharacterConfig | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(
                "--encoder-embed-dim, --decoder-embed-dim and --decoder-input-dim must be at least 1; got "
                f"{self.width}"
            )


@dataclass(frozen=True)
class OutputConfig:
    """From features of `width` to words. shared: the projection is the embeddings.

    adaptive: a softmax instead, whose weights and projections may be the adaptive input's.
    """

    width: int
    shared: bool
    adaptive: AdaptiveConfig | None
    tie_weights: bool
    tie_proj: bool

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"--decoder-output-dim must be at least 1; got {self.width}")
        if self.adaptive is None and (self.tie_weights or self.tie_proj):
            raise ValueError("--tie-adaptive-weights and --tie-adaptive-proj need --adaptive-softmax-cutoff")
        if self.tie_proj and not self.tie_weights:
            raise ValueError("--tie-adaptive-proj needs --tie-adaptive-weights")


@dataclass(frozen=True)
class SideConfig:
    """An encoder, or what a decoder has as well."""

    stack: MegaConfig
    layers: LayerConfig
    embedding: EmbeddingConfig
    max_positions: int

    def __post_init__(self) -> None:
        if self.embedding.normalize and self.stack.normalize_before:
            raise ValueError("--normalize-embedding does not go with --normalize-before; drop one of them")


@dataclass(frozen=True)
class DecoderConfig(SideConfig):
    """A decoder: its features become words."""

    output: OutputConfig

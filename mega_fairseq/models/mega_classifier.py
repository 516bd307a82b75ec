"""mega_classifier: one label for a long sequence. Registration and presets."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from fairseq.models import FairseqEncoderModel, register_model
from torch import Tensor, nn

from mega_fairseq.models.base import MegaModel, plain
from mega_fairseq.models.dropout import RetainableDropout
from mega_fairseq.models.embedding import RealEmbedding, build_embedding
from mega_fairseq.models.encoder import MegaEncoder
from mega_fairseq.models.from_options import encoder_config
from mega_fairseq.models.heads import fit_heads
from mega_fairseq.models.options import MegaClassifierOptions, fill, register_presets
from mega_fairseq.models.pruning import keep_layers
from mega_fairseq.modules.classification_head import ClassificationHead, mean_over_time

HEAD = "sentence_classification_head"  # fairseq's default name

_TEXT = {"normalization_type": "scalenorm", "max_source_positions": 4002, "truncation_length": 1024}
_REAL = {
    "input_type": "real",
    "attention_activation_fn": "laplace",
    "normalization_type": "batchnorm",
    "normalize_before": True,
    "dropout": 0.0,
}
_SPEECH = {**_REAL, "encoder_layers": 6, "max_source_positions": 16000, "truncation_length": 1000}


def _sizes(dim: int, z: int, layers: int) -> dict[str, Any]:
    """H = FFN = head = 2 D."""
    twice = dict.fromkeys(("encoder_hidden_dim", "encoder_ffn_embed_dim", "head_dim"), 2 * dim)
    return {"encoder_embed_dim": dim, "encoder_z_dim": z, "encoder_layers": layers, **twice}


_LRA: dict[str, tuple[dict[str, Any], int]] = {  # preset, chunk of its chunked twin
    "mega_lra_listops": (
        {**_sizes(80, 64, 6), "max_source_positions": 2002, "truncation_length": 1024},
        128,
    ),
    "mega_lra_text": ({**_sizes(128, 64, 4), **_TEXT}, 128),
    "mega_lra_retrieval": ({**_sizes(128, 64, 6), **_TEXT, "two_towers": True}, 128),
    "mega_lra_image": (
        {**_REAL, **_sizes(160, 96, 8), "max_source_positions": 1024, "truncation_length": 1024},
        128,
    ),
    "mega_lra_pathfinder": (
        {**_REAL, **_sizes(128, 64, 6), "max_source_positions": 1024, "truncation_length": 1024},
        128,
    ),
    "mega_lra_pathx": (
        {
            **_REAL,
            **_sizes(64, 32, 4),
            "normalization_type": "syncbatchnorm",
            "max_source_positions": 16384,
            "truncation_length": 4096,
        },
        4096,
    ),
}
PRESETS: dict[str, dict[str, Any]] = {
    **{name: preset for name, (preset, _) in _LRA.items()},
    **{f"{name}_chunk": {**preset, "encoder_chunk_size": chunk} for name, (preset, chunk) in _LRA.items()},
    "mega_speech_commands": {**_sizes(60, 30, 6), **_SPEECH, "encoder_chunk_size": 1000},
    "mega_speech_commands_big": {**_sizes(72, 36, 6), **_SPEECH, "encoder_chunk_size": 1000},
}


@register_model("mega_classifier", dataclass=MegaClassifierOptions)
class MegaClassifier(MegaModel, FairseqEncoderModel):
    """Bidirectional Mega, the mean over time, and a head for each kind of label (Ma et al. 2022)."""

    refused: ClassVar[list[tuple[str, str | None, str]]] = []

    def __init__(self, cfg: Any, encoder: MegaEncoder):
        super().__init__(encoder)
        self.cfg = self.args = plain(cfg)
        self.classification_heads = nn.ModuleDict()

    @classmethod
    def build_model(cls, cfg: Any, task: Any) -> "MegaClassifier":
        """Without a head: the task registers it. Raises ValueError, naming the flag, for bad options."""
        fill(cfg, MegaClassifierOptions)
        keep_layers(cfg, "encoder")
        config = encoder_config(cfg)
        if str(cfg.input_type) == "real":
            return cls(cfg, MegaEncoder(config, None, RealEmbedding(config.embedding.width)))
        dictionary = task.source_dictionary
        return cls(cfg, MegaEncoder(config, dictionary, build_embedding(config, dictionary)))

    def register_classification_head(
        self, name: str, num_classes: int, inner_dim: int | None = None, **unused: Any
    ) -> None:
        """A new head of that name; inner_dim: --head-dim unless given."""
        width = self.args.encoder_embed_dim
        hidden = inner_dim or self.args.head_dim or 2 * width
        p = self.args.dropout if self.args.head_dropout is None else self.args.head_dropout
        dropout = RetainableDropout(p, module_name="MegaClassifier")
        towers = 2 if self.args.two_towers else 1
        self.classification_heads[name] = ClassificationHead(towers * width, hidden, num_classes, dropout)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        src_tokens1: Tensor | None = None,
        src_lengths1: Tensor | None = None,
        features_only: bool = False,
        classification_head_name: str | None = None,
        return_all_hiddens: bool = False,
        **unused: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """src_tokens: (B, L) tokens, or real numbers of src_lengths; src_tokens1: of the second texts.

        Returns logits (B, classes) of the head named, by default the task's, or the features (B, D or 2 D),
        and {"inner_states": [(L, B, D)]} of the first texts.
        """
        features, hiddens = self._features(src_tokens, src_lengths, return_all_hiddens)
        if self.args.two_towers:
            if src_tokens1 is None:
                raise ValueError("--two-towers needs two texts; give src_tokens1 as well, or leave it out")
            second, _ = self._features(src_tokens1, src_lengths1, False)
            features = torch.cat([second, features], dim=-1)
        name = classification_head_name or (None if features_only else HEAD)
        x = features if name is None else self.classification_heads[name](features)
        return x, {"inner_states": hiddens}

    def _features(
        self, tokens: Tensor, lengths: Tensor | None, all_hiddens: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The mean of the encoder's output (B, D), and the layers' (L, B, D) on request."""
        out = self.encoder(tokens, lengths, return_all_hiddens=all_hiddens)
        return mean_over_time(out["encoder_out"][0], out["encoder_padding_mask"][0]), out["encoder_states"]

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Keep this model's heads where a checkpoint has none of that name, and leave others out.

        Raises ValueError where a head of that name has another number of classes.
        """
        super().upgrade_state_dict_named(state_dict, name)
        before = f"{name}." if name else ""
        fit_heads(self, state_dict, f"{before}classification_heads.")

    def get_normalized_probs(self, net_output: Any, log_probs: bool, sample: Any = None) -> Tensor:
        """Of logits (B, classes), in float32."""
        normalise = F.log_softmax if log_probs else F.softmax
        return normalise(net_output[0].float(), dim=-1)


register_presets("mega_classifier", MegaClassifierOptions, PRESETS)

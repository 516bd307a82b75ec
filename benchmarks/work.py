"""The pieces of work that are timed, each as a function without arguments; sizes as in the README's table.

way: "ours" or "textbook" (and "transformer" where there is one).
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.sequence_generator import SequenceGenerator
from fairseq.sequence_scorer import SequenceScorer
from models import build, build_lm
from products import bare_products
from textbook import textbook
from torch import Tensor, nn

from mega_fairseq.config import MegaConfig
from mega_fairseq.modules.ema import MultiHeadEMA
from mega_fairseq.modules.layer import MegaLayer

D, N, WORDS = 512, 16, 31996  # and 4 symbols: 32,000
STEPS = 8  # of decode_lm in a call
Work = Callable[[], Any]


def _as(way: str, model: nn.Module) -> nn.Module:
    return textbook(model) if way == "textbook" else model


def _ready(model: nn.Module) -> nn.Module:
    """The model as fairseq's commands prepare it for generation and evaluation."""
    model.prepare_for_inference_(SimpleNamespace(generation=SimpleNamespace(beam=5)))
    return model


def _forward_backward(module: nn.Module, x: Tensor) -> Work:
    gradient = torch.randn(x.shape)

    def run() -> None:
        module(x)[0].backward(gradient)

    return run


def ema(way: str, batch: int, length: int, both_ways: int = 0) -> Work:
    """Forward and backward of one EMA sub-layer."""
    torch.manual_seed(0)
    module = _as(way, MultiHeadEMA(D, N, bidirectional=bool(both_ways)))
    return _forward_backward(module, torch.randn(batch, length, D, requires_grad=True))


def layer(way: str, length: int, chunk: int = 1024, layers: int = 1, checkpointed: int = 0) -> Work:
    """Forward and backward of decoder layers."""
    torch.manual_seed(0)
    config = MegaConfig(chunk_size=chunk, dropout=0.0)
    modules = [_as(way, MegaLayer(config, causal=True)) for _ in range(layers)]
    x, gradient = torch.randn(1, length, D, requires_grad=True), torch.randn(1, length, D)

    def run() -> None:
        y = x
        for module in modules:
            if checkpointed:
                y = torch.utils.checkpoint.checkpoint(module, y, use_reentrant=False)[0]
            else:
                y = module(y)[0]
        y.backward(gradient)

    return run


def nmt(way: str) -> nn.Module:
    """mega_nmt_wmt_en_de, or fairseq's transformer base."""
    torch.manual_seed(0)
    sizes = {"encoder_embed_dim": 512, "encoder_ffn_embed_dim": 2048, "encoder_attention_heads": 8}
    sizes |= {"decoder_attention_heads": 8, "encoder_layers": 6, "decoder_layers": 6}
    if way == "transformer":
        return build("transformer", WORDS, **sizes)
    return _as(way, build("mega_nmt_wmt_en_de", WORDS))


def train_nmt(
    way: str, criterion: str = "label_smoothed_cross_entropy", rows: int = 32, length: int = 32
) -> Work:
    """One step of Adam on rows x length target tokens, with a criterion of fairseq's or ours."""
    model = nmt(way)
    tokens = torch.randint(4, WORDS, (rows, length), generator=torch.Generator().manual_seed(0))
    inputs = {"src_tokens": tokens, "src_lengths": torch.full((rows,), length), "prev_output_tokens": tokens}
    sample = {"net_input": inputs, "target": tokens, "ntokens": tokens.numel()}
    task = SimpleNamespace(target_dictionary=model.decoder.dictionary)
    loss = CRITERION_REGISTRY[criterion](task, sentence_avg=False, label_smoothing=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        loss(model, sample)[0].backward()
        optimizer.step()

    return run


def decode_nmt(way: str, steps: int) -> Work:
    """Beam 5 of 8 sentences of 24 tokens for so many steps, through fairseq's SequenceGenerator."""
    model = _ready(nmt(way))
    source = torch.randint(4, WORDS, (8, 24), generator=torch.Generator().manual_seed(0))
    sample = {"net_input": {"src_tokens": source, "src_lengths": torch.full((8,), 24)}}
    limits = {"max_len_a": 0, "max_len_b": steps, "min_len": steps}
    generator = SequenceGenerator([model], model.decoder.dictionary, beam_size=5, **limits)
    return lambda: generator.generate([model], sample)


def lm(way: str, **options: Any) -> nn.Module:
    """mega_lm in evaluation, for up to 4,096 positions."""
    torch.manual_seed(0)
    return _as(way, build_lm("mega_lm", WORDS, max_target_positions=4096, **options)).eval()


def decode_lm(way: str, position: int, chunk: int = -1) -> Work:
    """The next STEPS steps of mega_lm, batch 1, from `position` tokens on; every call goes on."""
    ours = lm("ours", decoder_chunk_size=chunk)
    model, state = _as(way, ours), {}  # a copy has the same names for its states
    tokens = torch.randint(4, WORDS, (1, position + 250), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours.decoder(tokens[:, :position], incremental_state=state)
    _ready(model)
    ends = iter(range(position + 1, position + 250))

    @torch.no_grad()
    def run() -> None:
        for _ in range(STEPS):
            model.decoder(tokens[:, : next(ends)], incremental_state=state)

    return run


def reads(position: int) -> Work:
    """Reading weights and caches of `decode_lm` STEPS times, by matrix-vector products."""
    matrices = [p.detach() for p in lm("ours").parameters() if p.dim() == 2 and min(p.shape) > N]
    caches = [torch.randn(position, width) for _ in range(6) for width in (128, 1664)]
    vectors = {n: torch.randn(n) for m in [*matrices, *caches] for n in m.shape}

    def run() -> None:
        for _ in range(STEPS):
            for matrix in matrices:
                torch.mv(matrix, vectors[matrix.size(1)])
            for key, value in zip(caches[::2], caches[1::2], strict=True):
                torch.mv(key, vectors[128])
                torch.mv(value.t(), vectors[position])

    return run


def prefill(way: str, length: int, chunk: int = 1024) -> Work:
    """A prompt in one pass ("ours") or token by token ("steps"), then one step."""
    model = _ready(lm("ours", decoder_chunk_size=chunk))
    tokens = torch.randint(4, WORDS, (1, length + 1), generator=torch.Generator().manual_seed(0))

    @torch.no_grad()
    def run() -> None:
        state: dict[str, Any] = {}
        for end in [length, length + 1] if way == "ours" else range(1, length + 2):
            model.decoder(tokens[:, :end], incremental_state=state, features_only=True)

    return run


def evaluate(block: int, total: int) -> Work:
    """A text of `total` tokens in blocks through fairseq's SequenceScorer, which fairseq-eval-lm calls."""
    torch.manual_seed(0)
    model = _ready(build_lm("mega_lm_tiny", words=9996, decoder_chunk_size=256, dropout=0.0))
    text = torch.randint(4, 10000, (total // block, block + 1), generator=torch.Generator().manual_seed(0))
    scorer = SequenceScorer(model.decoder.dictionary, softmax_batch=2048)
    blocks = [
        {"net_input": {"src_tokens": row[None, :-1], "src_lengths": None}, "target": row[None, 1:]}
        for row in text
    ]
    return lambda: [scorer.generate([model], sample) for sample in blocks]


def help_text(command: str) -> Work:
    """COMMAND --help in a process of its own."""
    program = Path(sys.executable).with_name(command)
    return lambda: subprocess.run([str(program), "--help"], capture_output=True, check=True)


def bare(case: str, *arguments: Any) -> Work:
    """The bare matrix products of a case."""
    return bare_products(globals()[case](*arguments), D)

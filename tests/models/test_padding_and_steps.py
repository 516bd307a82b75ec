"""Steps equal the full forward; a row does not depend on its batch, whatever the padding."""

import itertools

import pytest
import torch
from builders import build_nmt, spread
from hypothesis import given, settings
from hypothesis import strategies as st

from mega_fairseq.config import ATTENTION_FUNCTIONS

SIZES = {
    "encoder_embed_dim": 12,
    "encoder_hidden_dim": 16,
    "encoder_ffn_embed_dim": 16,
    "encoder_z_dim": 6,
    "encoder_n_dim": 3,
    "encoder_layers": 2,
    "max_source_positions": 40,
    "max_target_positions": 40,
    "share_all_embeddings": True,
    "dropout": 0.0,
}
VARIANTS = [
    {
        "attention_activation_fn": function,
        "rel_pos_bias": bias,
        "encoder_chunk_size": chunk,
        "truncation_length": truncation,
        "normalize_before": before,
    }
    for function, bias, chunk, truncation, before in itertools.product(
        ATTENTION_FUNCTIONS, ("simple", "rotary"), (-1, 4), (0, 5), (False, True)
    )
]
PAD, EOS = 1, 2


def collate(rows, left):
    longest = max(map(len, rows))
    padded = [[PAD] * (longest - len(r)) + r if left else r + [PAD] * (longest - len(r)) for r in rows]
    return torch.tensor(padded), torch.tensor([len(r) for r in rows])


def identifier(variant):
    return "-".join(str(v) for v in variant.values())


@pytest.mark.parametrize("variant", VARIANTS, ids=identifier)
def test_steps_equal_forward_alone_and_padded(variant):
    model = spread(build_nmt({**SIZES, **variant})).double()
    rows = [[5, 9, 7, 11, 23, 8, 30, 14, EOS], [6, EOS], [17, 12, 40, 33, EOS]]
    target = torch.tensor([[EOS, 4, 8, 15, 16, 23, 42, 7, 9, 11, 13]])
    with torch.no_grad():
        alone = [model(*collate([r], False), target)[0] for r in rows]
        for left in (False, True):
            tokens, lengths = collate(rows, left)
            whole, extra = model(tokens, lengths, target.expand(3, -1))
            torch.testing.assert_close(whole, torch.cat(alone), atol=1e-10, rtol=1e-9)
            weights = extra["attn"][0]
            assert not weights.masked_select(tokens.eq(PAD).unsqueeze(1)).any()
            encoded, state = model.encoder(tokens, lengths), {}
            steps = [
                model.decoder(target[:, : i + 1].expand(3, -1), encoded, state)[0]
                for i in range(target.size(1))
            ]
            torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-10, rtol=1e-9)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    left=st.booleans(),
    variant=st.sampled_from(VARIANTS),
)
@settings(max_examples=50, deadline=None)
def test_batch_mates_do_not_matter(lengths, left, variant):
    model = spread(build_nmt({**SIZES, **variant})).double()  # a leak would show far above the rounding
    g = torch.Generator().manual_seed(sum(lengths))
    rows = [[*torch.randint(4, 50, (n,), generator=g).tolist(), EOS] for n in lengths]
    targets = [[EOS, *torch.randint(4, 50, (n,), generator=g).tolist()] for n in reversed(lengths)]
    with torch.no_grad():
        target, _ = collate(targets, left)
        whole, _ = model(*collate(rows, left), target)
        for i, row in enumerate(rows):
            alone, _ = model(*collate([row], False), torch.tensor([targets[i]]))
            torch.testing.assert_close(whole[i][target[i].ne(PAD)], alone[0], atol=1e-9, rtol=1e-9)

"""What the encoder hands on is fairseq's, may be written into, and may come from elsewhere."""

import pytest
import torch
from builders import build_nmt, spread
from fairseq.models.transformer import TransformerModel

from mega_fairseq.models.source import EncoderOut

SIZES = {
    "encoder_embed_dim": 12,
    "encoder_hidden_dim": 16,
    "encoder_ffn_embed_dim": 16,
    "encoder_z_dim": 6,
    "encoder_layers": 2,
    "dropout": 0.0,
}
TRANSFORMER = {"encoder_embed_dim": 12, "decoder_embed_dim": 12, "encoder_attention_heads": 2}
TRANSFORMER |= {"decoder_attention_heads": 2, "encoder_layers": 2, "decoder_layers": 2}
PAD, EOS = 1, 2
LEFT = torch.tensor([[5, 9, 7, 11, EOS], [PAD, PAD, 6, 8, EOS], [PAD, 30, 14, 4, EOS]])
TARGET = torch.tensor([[EOS, 4, 8, 15]]).expand(3, -1)
ROWS = torch.tensor([0, 0, 1, 1, 2, 2])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return spread(build_nmt(SIZES)).double()


def steps(model, encoder_out, target=TARGET, orders=None):
    """The decoder's output step by step; orders: what rows become after each step."""
    state, found = {}, []
    for i in range(target.size(1)):
        found.append(model.decoder(target[:, : i + 1], encoder_out, state)[0])
        if orders:
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, orders[i])
            model.decoder.reorder_incremental_state(state, orders[i])
    return torch.cat(found, 1)


def test_shapes_are_the_transformers(model):
    from argparse import Namespace
    from types import SimpleNamespace

    words = model.encoder.dictionary
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words)
    theirs = TransformerModel.build_model(Namespace(**TRANSFORMER), task).eval()
    ours, stock = (m.encoder(LEFT, None, return_all_hiddens=True) for m in (model, theirs))
    for name in ("encoder_out", "encoder_padding_mask", "encoder_embedding", "encoder_states", "src_lengths"):
        assert [t.shape for t in ours[name]] == [t.shape for t in stock[name]], name
    for name in ("encoder_padding_mask", "src_lengths"):
        assert ours[name][0].equal(stock[name][0])
    assert ours["src_tokens"][0].equal(LEFT)
    scaled = model.encoder.embedding.scale * model.encoder.embed_tokens(LEFT)
    assert ours["encoder_embedding"][0].equal(scaled)
    inner, expected = (m(LEFT, None, TARGET)[1]["inner_states"] for m in (model, theirs))
    assert [h.shape for h in inner] == [h.shape for h in expected]
    weights, expected = (m(LEFT, None, TARGET)[1]["attn"][0] for m in (model, theirs))
    assert weights.shape == expected.shape and weights.stride() == expected.stride()
    assert len(model.encoder.layers) == model.decoder.num_layers == len(theirs.decoder.layers)


def test_the_mask_is_given_where_there_is_no_padding(model):
    assert model.encoder(LEFT[:1])["encoder_padding_mask"][0].tolist() == [[False] * 5]


@torch.no_grad()
def test_a_plain_dictionary_of_two_entries_is_enough(model):
    encoded = model.encoder(LEFT)
    plain = {name: encoded[name] for name in ("encoder_out", "encoder_padding_mask")}
    torch.testing.assert_close(model.decoder(TARGET, plain)[0], model.decoder(TARGET, encoded)[0])
    orders = [torch.tensor(order) for order in ([1, 0, 2], [2, 2, 0], [0, 1, 2], [0, 1, 2])]
    torch.testing.assert_close(steps(model, plain, orders=orders), steps(model, encoded, orders=orders))
    plain["encoder_padding_mask"] = []  # no padding
    unpadded = model.encoder(LEFT[:1])
    ours = model.decoder(TARGET[:1], {**unpadded, "encoder_padding_mask": []})[0]
    torch.testing.assert_close(ours, model.decoder(TARGET[:1], unpadded)[0])


@torch.no_grad()
def test_rows_that_were_written_into_are_told_apart(model):
    """Experts write their own vectors into rows of one sentence; a search moves them like any others."""
    encoded = model.encoder.reorder_encoder_out(model.encoder(LEFT), ROWS)
    encoded["encoder_out"][0][-1] += torch.randn(6, 12, dtype=torch.double)
    order = torch.tensor([1, 0, 3, 2, 4, 5])
    moved = model.encoder.reorder_encoder_out(encoded, order)
    assert moved["encoder_out"][0].equal(encoded["encoder_out"][0][:, order])
    target = TARGET[0].expand(6, -1)
    whole = model.decoder(target, encoded)[0]
    stepwise = steps(model, encoded, target, [order] + [torch.arange(6)] * 3)
    torch.testing.assert_close(stepwise[:, :1], whole[:, :1])
    torch.testing.assert_close(stepwise[:, 1:], whole[order, 1:])


@torch.no_grad()
@pytest.mark.parametrize("change", ["written", "exchanged", "added", "dropped"])
def test_beams_are_known_until_somebody_writes(model, change):
    encoded = model.encoder.reorder_encoder_out(model.encoder(LEFT), ROWS)
    order = torch.tensor([1, 0, 2, 2, 5, 4])
    assert model.encoder.reorder_encoder_out(encoded, order) is encoded
    if change == "written":
        encoded["encoder_padding_mask"][0][0, 0] = True
    elif change == "exchanged":
        encoded["src_tokens"] = [encoded["src_tokens"][0] + 0]
    elif change == "added":
        encoded["more"] = [torch.arange(6)]
    else:
        encoded["encoder_states"].pop()
    moved = model.encoder.reorder_encoder_out(encoded, order)
    assert moved is not encoded and moved["src_tokens"][0].equal(encoded["src_tokens"][0][order])


@torch.no_grad()
def test_rows_in_inference_mode_are_always_moved(model):
    with torch.inference_mode():
        encoded = model.encoder(LEFT)
        assert isinstance(encoded, EncoderOut) and encoded.sentences() is None
        orders = [torch.tensor(order) for order in ([1, 0, 2], [2, 2, 0], [0, 1, 2], [0, 1, 2])]
        found = steps(model, encoded, orders=orders)
    torch.testing.assert_close(found, steps(model, model.encoder(LEFT), orders=orders))


@pytest.mark.parametrize("tokens", [LEFT, LEFT.flip(1)])
def test_embeddings_may_be_given_on_either_side(model, tokens):
    given = model.encoder.embed_tokens(tokens)
    found = model(tokens, None, TARGET, token_embeddings=given)[0]
    torch.testing.assert_close(found, model(tokens, None, TARGET)[0])
    other = model(tokens, None, TARGET, token_embeddings=given * 2.0)[0]
    assert not torch.allclose(other, found)


def test_a_state_wants_the_whole_prefix(model):
    encoded, state = model.encoder(LEFT), {}
    model.decoder(TARGET[:, :2], encoded, state)
    with pytest.raises(ValueError, match=r"must hold the 2 tokens .* got 1"):
        model.decoder(TARGET[:, 2:3], encoded, state)

import pytest
import torch

from deformer.network.transformer import (
    Attention,
    Decoder,
    Encoder,
    sine_positions_1d,
    sine_positions_2d,
)


def test_attention_agrees_with_its_formula():
    torch.manual_seed(0)
    attention = Attention(16, 4)
    queries, keys, values = torch.randn(2, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    heads = []
    for h in range(4):
        part = slice(4 * h, 4 * h + 4)
        q, k = attention.query(queries)[..., part], attention.key(keys)[..., part]
        shares = (q @ k.mT / 2).softmax(-1)
        heads.append(shares @ attention.value(values)[..., part])
    expected = attention.out(torch.cat(heads, -1))
    assert torch.allclose(attention(queries, keys, values), expected, atol=1e-6)


def test_encoder_without_positions_follows_a_permutation_and_with_them_does_not():
    torch.manual_seed(0)
    encoder = Encoder(16, 4, 16, 2)
    tokens, order = torch.randn(2, 6, 16), torch.randperm(6)
    nowhere = torch.zeros(6, 16)
    encoded = encoder(tokens, nowhere)
    assert torch.allclose(encoder(tokens[:, order], nowhere), encoded[:, order], atol=1e-5)
    placed = sine_positions_1d(6, 16)
    moved = encoder(tokens[:, order], placed)
    assert not torch.allclose(moved, encoder(tokens, placed)[:, order], atol=1e-2)


def test_decoder_reads_a_set_and_has_one_output():
    torch.manual_seed(0)
    decoder = Decoder(16, 4, 16, 2)
    memory, positions, order = torch.randn(3, 6, 16), torch.randn(6, 16), torch.randperm(6)
    decoded = decoder(memory, positions)
    assert decoded.shape == (3, 16)
    assert torch.allclose(decoder(memory[:, order], positions[order]), decoded, atol=1e-5)
    assert not torch.allclose(decoder(memory[:, order], positions), decoded, atol=1e-2)


@pytest.mark.parametrize("T", [1, 2, 7])
def test_frames_have_distinct_positions_counted_from_the_centre(T):
    positions = sine_positions_1d(T, 16)
    assert positions.shape == (T, 16)
    distances = torch.cdist(positions, positions) + torch.eye(T)
    assert (distances > 0.5).all()
    assert torch.equal(positions[T // 2], sine_positions_1d(1, 16)[0])


def test_grid_positions_separate_rows_from_columns():
    positions = sine_positions_2d(8, 32)
    assert positions.shape == (64, 32)
    grid = positions.unflatten(0, (8, 8))
    assert torch.equal(grid[2, :, :16], grid[2, :1, :16].expand(8, 16))  # y is one along a row
    assert torch.equal(grid[:, 2, 16:], grid[:1, 2, 16:].expand(8, 16))  # x is one along a column
    distances = torch.cdist(positions, positions) + torch.eye(64)
    assert distances.min() > 0.1

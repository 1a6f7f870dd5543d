"""What is particular to HandOccNet: the split of its maps, and how features are injected."""

from dataclasses import replace

import pytest
import torch

from benchmarks.rivals.handoccnet import (
    HandOccNet,
    InjectingTransformer,
    InjectionLayer,
    SpatialAttention,
)
from deformer.hand.mano import HandLayer
from deformer.network.output import FrameFeatures
from deformer.network.transformer import sine_positions_2d
from tests.deformer.small_runs import VERY_SMALL

WIDTH, HEADS, LENGTH = 16, 2, 9


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return InjectionLayer(WIDTH, HEADS, 32)


def test_primary_and_secondary_maps_add_up():
    torch.manual_seed(0)
    attention = SpatialAttention(WIDTH)
    maps = 3 + 2 * torch.randn(2, WIDTH, 8, 8)
    primary, secondary = attention(maps)
    torch.testing.assert_close(primary + secondary, attention.norm(maps))
    share = primary / attention.norm(maps)
    torch.testing.assert_close(share.amax(1), share.amin(1))  # one share for each place
    assert share.min() > 0 and share.max() < 1


def test_a_layer_is_softmax_attention_times_the_sigmoid_of_the_mean_correlation(layer):
    queries, keys, values = torch.randn(3, 2, LENGTH, WIDTH)

    def heads(x):
        return x.reshape(2, LENGTH, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

    def correlate(query, key):
        product = heads(query(queries)) @ heads(key(keys)).transpose(2, 3)
        return product / (WIDTH // HEADS) ** 0.5

    shares = correlate(layer.query, layer.key).softmax(-1)
    gates = correlate(layer.gate_query, layer.gate_key).mean(-1, keepdim=True).sigmoid()
    taken = (gates * shares @ heads(layer.value(values))).permute(0, 2, 1, 3).flatten(2)
    expected = taken + layer.feed_forward(layer.norm(taken))
    torch.testing.assert_close(layer(queries, keys, values), expected)


def test_a_closed_gate_takes_nothing(layer):
    queries, keys, values = torch.randn(3, 1, LENGTH, WIDTH)
    with torch.no_grad():
        layer.gate_query.weight.zero_()
        layer.gate_query.bias.fill_(1e3)
        layer.gate_key.weight.zero_()
        layer.gate_key.bias.fill_(-1e3)
        one, other = layer(queries, keys, values), layer(queries, keys, 5 * values)
    torch.testing.assert_close(one, other)


def test_hidden_places_choose_but_do_not_contribute():
    torch.manual_seed(0)
    injecting = InjectingTransformer(WIDTH, HEADS, 32, layers=2)
    positions = sine_positions_2d(4, WIDTH)
    primary = torch.randn(1, WIDTH, 4, 4)
    secondary = torch.randn(2, 1, WIDTH, 4, 4)
    one, other = (injecting(primary, hidden, positions) for hidden in secondary)
    assert (one - other).abs().max() > 1e-5
    for layer in injecting.layers:  # nothing is seen anywhere, so nothing can be taken
        torch.nn.init.zeros_(layer.value.bias)
    one, other = (injecting(0 * primary, hidden, positions) for hidden in secondary)
    torch.testing.assert_close(one, other)


def test_a_frame_is_one_vector_and_the_hand_is_a_function_of_it(hands):
    torch.manual_seed(0)
    config = replace(VERY_SMALL.model, roi_size=7)
    model = HandOccNet(config, HandLayer(hands)).eval()
    frames = model.encode_maps(torch.randn(3, config.width, 7, 7))
    assert frames.hand.shape == (3, config.width)
    windows = FrameFeatures(*(value[:, None] for value in frames))
    is_left = torch.zeros(3, dtype=torch.bool)
    elsewhere = windows._replace(joints_2d=torch.rand(3, 1, 21, 2))
    one, other = (model.decode_windows(w, is_left) for w in (windows, elsewhere))
    assert torch.equal(one.hands.joints_m, other.hands.joints_m)

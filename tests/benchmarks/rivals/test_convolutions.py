import pytest
import torch

from benchmarks.rivals.convolutions import Hourglass, MapEncoder, num_halvings


@pytest.mark.parametrize("size, side", [(1, 1), (2, 2), (3, 3), (4, 2), (7, 3), (14, 3), (32, 2)])
def test_maps_of_any_size_are_halved_to_a_side_of_2_or_3(size, side):
    encoder = MapEncoder(8, size)
    assert encoder(torch.randn(2, 8, size, size)).shape == (2, 8, side, side)
    assert encoder.side == side


@pytest.mark.parametrize("size", [4, 7, 16])
def test_an_hourglass_keeps_the_shape_and_sees_the_whole_map(size):
    torch.manual_seed(0)
    maps = torch.randn(1, 8, size, size, requires_grad=True)
    out = Hourglass(8, num_halvings(size))(maps)
    assert out.shape == maps.shape
    out[0, 0, 0, 0].backward()
    assert maps.grad[0, :, -1 - size % 2, -1 - size % 2].abs().max() > 0

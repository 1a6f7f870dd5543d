import pytest
import torch

from benchmarks.rivals.liu import HandHead


@pytest.mark.parametrize("size", [8, 12, 16])
def test_maps_of_any_size_become_one_vector(size):
    width = 20
    with torch.no_grad():
        features = HandHead(width, size)(torch.randn(3, width, size, size))
    assert features.hand.shape == (3, width) and features.joints_2d.shape == (3, 21, 2)


def test_the_vector_reads_the_heatmaps():
    head = HandHead(16, 8)
    maps = torch.randn(2, 16, 8, 8)
    with torch.no_grad():
        before = head(maps)
        head.score.weight.copy_(-head.score.weight)  # joints elsewhere, in the same maps
        after = head(maps)
    assert (before.joints_2d - after.joints_2d).abs().max() > 1e-3
    assert (before.hand - after.hand).abs().max() > 1e-4

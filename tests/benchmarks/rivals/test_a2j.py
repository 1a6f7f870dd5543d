"""What is particular to A2J: what it sees of depths, and its anchors."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.rivals.a2j import A2J, centre_depths, shown_depths
from deformer.network.output import FrameFeatures
from deformer.network.registry import check_input
from tests.benchmarks.rivals.photographed import photograph
from tests.deformer.small_runs import VERY_SMALL

SIZE = 40


@pytest.fixture(scope="module")
def model(layer):
    torch.manual_seed(0)
    return A2J(VERY_SMALL.model, layer).eval()


def test_the_centre_is_the_lower_quartile_of_known_depths_in_the_middle_of_the_box():
    rng = np.random.default_rng(0)
    depths = rng.uniform(0.5, 2, (3, SIZE, SIZE))
    depths[rng.random(depths.shape) < 0.3] = 0  # unknown
    # whole pixels, each of the middle asked 4 × 4 times; the second reaches beyond the image
    boxes = torch.tensor([[11.5, 7.5, 27.5, 23.5], [-8.5, 0, 7.5, 16], [100.0, 100, 120, 120]])
    found = centre_depths(torch.tensor(depths).float()[:, None], boxes)
    inside = depths[0, 12:20, 16:24]
    expected = np.quantile(inside[inside > 0], 0.25, method="lower")
    assert found[0] == pytest.approx(expected, abs=0.02)
    seen = depths[1, 4:12, :4]
    assert seen[seen > 0].min() <= found[1] <= np.median(seen[seen > 0])
    assert found[2] == pytest.approx(0.8)  # nothing is known


def test_each_channel_shows_its_distances_and_unknown_is_far():
    depths = torch.tensor([0.0, 0.1, 0.7, 0.9, 1.1, 1.7, 9.0]).reshape(1, 1, 1, 7)
    shown = shown_depths(depths, torch.full((1, 1, 1, 1), 0.7))[0, :, 0]
    expected = [[1, 0, 0.5, 1, 1, 1, 1], [1, 0, 0.5, 0.75, 1, 1, 1],
                [1, 0.125, 0.5, 0.625, 0.75, 1, 1]]  # fmt: skip
    torch.testing.assert_close(shown, torch.tensor(expected))


def test_a_farther_scene_gives_the_same_joints_but_farther(model):
    """What is seen does not depend on the hand's distance, so the depths move with it."""
    depths = torch.rand(2, 1, SIZE, SIZE) * 0.3 + 0.6
    boxes = torch.tensor([[4.0, 4, 36, 36], [2.0, 8, 30, 36]])
    is_left = torch.tensor([False, True])
    with torch.no_grad():
        near, far = (model.encode_frames(depths + by, boxes, is_left) for by in (0, 0.25))
    torch.testing.assert_close(far.joints_2d, near.joints_2d, rtol=0, atol=1e-4)
    moved = far.hand[:, :21] - near.hand[:, :21]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.25), rtol=0, atol=1e-4)


class _Gives(nn.Module):
    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.value = value

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.value


def test_an_anchor_that_alone_responds_decides(model, monkeypatch):
    config = model.config
    size = config.roi_size
    responses, depths = torch.zeros(1, 21, size, size), torch.randn(1, 21, size, size)
    responses[:, :, 2, 5] = 1e3
    offsets = torch.randn(1, 42, size, size)
    for name, value in (("anchor", responses), ("offset", offsets), ("depth", depths)):
        monkeypatch.setattr(model, f"{name}_branch", _Gives(value))
    maps = torch.cat(
        [torch.zeros(1, config.width, size, size), torch.full((1, 1, size, size), 0.9)], 1
    )
    frames = model.encode_maps(maps)
    anchor = torch.tensor([5.5, 2.5]) / size
    depths_m, anchors_2d = frames.hand.split([21, 42], -1)
    torch.testing.assert_close(anchors_2d.view(21, 2), anchor.expand(21, 2))
    own = offsets[0, :, 2, 5].view(21, 2)
    torch.testing.assert_close(frames.joints_2d[0], anchor + own)
    torch.testing.assert_close(depths_m[0], 0.9 + 0.2 * depths[0, :, 2, 5])


def test_exact_depths_and_2d_joints_are_lifted_exactly(model, layer):
    seen = photograph(layer, 6)
    hand = torch.cat([seen.joints_cam_m[..., 2], seen.joints_2d.flatten(2)], -1)
    output = model.decode_windows(FrameFeatures(hand, seen.joints_2d), seen.is_left, view=seen.view)
    torch.testing.assert_close(output.hands.joints_m, seen.joints_m, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.anchors_2d, output.joints_2d)
    with pytest.raises(ValueError, match="give K"):
        model.decode_windows(FrameFeatures(hand, seen.joints_2d), seen.is_left)


def test_images_of_the_other_kind_are_refused():
    check_input("benchmarks.rivals:a2j", "depth")
    with pytest.raises(ValueError, match="input is rgb, but .*a2j takes depth: choose --stream.in"):
        check_input("benchmarks.rivals:a2j", "rgb")

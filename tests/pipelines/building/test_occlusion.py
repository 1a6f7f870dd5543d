"""Ray-cast silhouettes and occlusion ratios, against numbers known by hand."""

import numpy as np
import pytest

from pipelines.building.occlusion import (
    cast_depth,
    occlusion_from_segmentation,
    segmentation_from_depth,
)
from pipelines.datasets.source import GRASPED_OBJECT, HAND, OTHER_OBJECT, Mesh

K = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])


def square(x0: float, y0: float, x1: float, y1: float, z: float) -> Mesh:
    """A square whose image covers the pixels x0 … x1, y0 … y1, at depth z."""
    pixels = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    points = np.concatenate([(pixels - K[:2, 2]) / 100 * z, np.full((4, 1), z)], 1)
    return Mesh(points, np.array([[0, 1, 2], [0, 2, 3]]))


def test_pixels_whose_centre_is_inside():
    depth = cast_depth(square(19.5, 29.5, 29.5, 39.5, 2.0), K, (100, 80))
    hit = np.isfinite(depth)
    assert depth.shape == (80, 100)
    assert hit.sum() == 100
    assert hit[30:40, 20:30].all()
    assert np.allclose(depth[hit], 2.0)


def test_the_part_outside_the_image_is_not_counted():
    hit = np.isfinite(cast_depth(square(-50, 10.5, 9.5, 20.5, 1.0), K, (100, 80)))
    assert hit.sum() == 10 * 10
    assert not np.isfinite(cast_depth(square(-50, 0, -10, 20, 1.0), K, (100, 80))).any()


def test_a_mesh_reaching_behind_the_camera():
    mesh = Mesh(np.array([[-1.0, -1, 1], [1, -1, 1], [0, 1, -1]]), np.array([[0, 1, 2]]))
    assert np.isfinite(cast_depth(mesh, K, (100, 80))).any()


def test_ratios():
    amodal = np.zeros((10, 10), bool)
    amodal[:4, :5] = True  # 20 pixels
    segmentation = np.zeros((10, 10), np.uint8)
    segmentation[0, :5] = HAND
    segmentation[1, :4] = GRASPED_OBJECT
    segmentation[2, :2] = OTHER_OBJECT
    segmentation[9] = HAND  # outside the silhouette: of no account
    ratios = occlusion_from_segmentation(amodal, segmentation)
    assert ratios["visibility"] == pytest.approx(5 / 20)
    assert ratios["occlusion_grasped"] == pytest.approx(4 / 20)
    assert ratios["occlusion"] == pytest.approx(6 / 20)


def test_no_silhouette_no_ratio():
    ratios = occlusion_from_segmentation(np.zeros((4, 4), bool), np.zeros((4, 4), np.uint8))
    assert np.isnan(ratios["occlusion"])


def test_the_nearer_surface_is_seen():
    hand = np.array([[1.0, 1.0, np.inf, np.inf]])
    thing = np.array([[0.5, 2.0, 2.0, np.inf]])
    expected = [[GRASPED_OBJECT, HAND, GRASPED_OBJECT, 0]]
    assert segmentation_from_depth(hand, thing).tolist() == expected

"""Silhouettes are, pixel by pixel, what rays alone find."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipelines.building.occlusion import cast_depth
from pipelines.building.silhouette import silhouette
from pipelines.datasets.source import Mesh

K = np.array([[600.0, 0, 60], [0, 610, 50], [0, 0, 1]])
SIZE = (130, 110)


def assert_same(mesh: Mesh, K: np.ndarray = K, size: tuple[int, int] = SIZE) -> np.ndarray:
    found = silhouette(mesh, K, size)
    expected = np.isfinite(cast_depth(mesh, K, size))
    assert found.dtype == bool and found.shape == expected.shape
    assert np.array_equal(found, expected)
    return found


def random_hands(hands, count: int):
    rng = np.random.default_rng(5)
    for side in ("right", "left"):
        arrays = getattr(hands, side)
        middle = arrays.v_template - arrays.v_template.mean(0)
        for turn in Rotation.random(count, rng):
            # some reach beyond the image, one edge of it or all
            place = rng.normal(0, 0.05, 2), rng.uniform(0.3, 1.5)
            vertices = turn.apply(middle) + [*place[0], place[1]]
            yield Mesh(vertices.astype(np.float32), arrays.faces)


def test_hands_from_all_sides(hands):
    covered = [assert_same(mesh).sum() for mesh in random_hands(hands, 20)]
    assert max(covered) > 5000  # they are there at all


def test_pixels_on_an_outline_are_decided_by_rays():
    points = np.array([[10, 10], [40, 10], [40, 30], [10, 30]], float)  # centres of pixels
    vertices = np.concatenate([(points - K[:2, 2]) / [600, 610], np.ones((4, 1))], 1)
    found = assert_same(Mesh(vertices.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]])))
    assert found[11:30, 11:40].all() and found.sum() <= 31 * 21


@pytest.mark.parametrize("faces", [[[0, 1, 2]], [[2, 1, 0]], [[0, 1, 2], [2, 1, 0]],
                                   [[0, 1, 1], [0, 1, 2], [1, 3, 2], [0, 2, 4]]])  # fmt: skip
def test_any_triangles(faces):
    """Seen from the back, twice, without area, or without a neighbour."""
    vertices = np.array([[-0.05, -0.04, 0.7], [0.06, -0.03, 0.9], [0.01, 0.05, 0.8],
                         [0.08, 0.07, 1.0], [-0.2, 0.06, 0.6]], np.float32)  # fmt: skip
    assert assert_same(Mesh(vertices, np.array(faces))).any()


@pytest.mark.parametrize("rise", [1e-10, -1e-10])
def test_an_edge_that_all_but_lies_in_a_row(rise):
    points = np.array([[40, 30 + rise], [10, 30 - rise], [25, 60.3]])
    vertices = np.concatenate([(points - K[:2, 2]) / [600, 610], np.ones((3, 1))], 1)
    assert assert_same(Mesh(vertices, np.array([[0, 1, 2]]))).any()


def test_a_wide_camera(hands):
    wide = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    assert max(assert_same(mesh, wide, (640, 480)).sum() for mesh in random_hands(hands, 3)) > 1000


def test_a_skewed_camera(hands):
    for mesh in random_hands(hands, 3):
        assert_same(mesh, K + [[0, 80, 0], [0, 0, 0], [0, 0, 0]])


def test_outside_the_image_and_behind_the_camera():
    away = Mesh(np.array([[1.0, 1, 1], [2, 1, 1], [1, 2, 1]]), np.array([[0, 1, 2]]))
    assert not assert_same(away).any()
    behind = Mesh(np.array([[-1.0, -1, 1], [1, -1, 1], [0, 1, -1]]), np.array([[0, 1, 2]]))
    assert assert_same(behind).any()

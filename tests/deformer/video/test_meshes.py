"""Meshes of hands are where their joints are, and are drawn where they are seen."""

import numpy as np
import pytest

from deformer.hand.camera import project
from deformer.hand.conventions import SIDES, TIP_VERTICES
from deformer.hand.mano import HandLayer, load_hands
from deformer.video.meshes import Look, draw_mesh, hand_vertices
from tests.deformer.video.hand_rows import K, track_rows

K = np.array(K)
HANDS = load_hands("standin")
LAYER, FACES = HandLayer(HANDS), HANDS.right.faces
SIZE = 96, 64
BLUE = (0, 0, 255)


def vertices(is_left: bool = False) -> np.ndarray:
    return hand_vertices(track_rows(0, [0], is_left), LAYER)[0]


@pytest.mark.parametrize("is_left", [False, True])
def test_meshes_end_at_the_fingertips_of_the_rows(is_left):
    """Rotated, of another shape, scaled, and put at the wrist."""
    rows = track_rows(3, list(range(300)), is_left, scale=1.2)
    tips = TIP_VERTICES["dexycb", SIDES[is_left]]
    found = hand_vertices(rows, LAYER)
    assert found.shape == (300, 778, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found[:, tips], rows.joints_cam_m[:, 4::4], atol=1e-5)
    assert hand_vertices(rows.at(slice(0)), LAYER).shape == (0, 778, 3)


@pytest.mark.parametrize("faces", [[[0, 1, 2], [3, 4, 5]], [[0, 2, 1], [3, 4, 5]]])
def test_nearer_triangles_hide_farther_ones(faces):
    camera = np.array([[100.0, 0, 31.5], [0, 100.0, 31.5], [0, 0, 1]])
    near = np.array([[-0.2, -0.2, 1], [0.2, -0.2, 1], [0, 0.2, 1.0]])
    both = np.concatenate([near, near * [4, 4, 2]])  # twice as far, twice as large on screen
    white = np.full((64, 64, 3), 255, np.uint8)
    colours = np.array([(255, 0, 0)] * 3 + [BLUE] * 3)
    image = draw_mesh(white, both, np.array(faces), camera, colours)
    assert image[31, 31].argmax() == 0 and image[31, 31, 2] == 0
    assert image[2, 5].argmax() == 2 and image[2, 5, 0] == 0
    assert (image[60, 2] == 255).all()
    with pytest.raises(ValueError, match="not in front of the camera"):
        draw_mesh(image, both - [0, 0, 3], np.array(faces), camera, BLUE)


@pytest.mark.parametrize("is_left", [False, True])
def test_a_hand_covers_its_vertices_and_nothing_else(is_left):
    """The right hand's faces serve the left hand, whose triangles then turn the other way."""
    points = vertices(is_left)
    white = np.full((*SIZE[::-1], 3), 255, np.uint8)
    drawn = draw_mesh(white, points, FACES, K, BLUE)
    assert (white == 255).all()  # as it was
    is_blue = drawn[..., 0] < 100
    u, v = np.rint(project(points, K)).astype(int).T
    near = np.zeros(SIZE[::-1], bool)
    for du in range(-3, 4):
        for dv in range(-3, 4):
            near[v + dv, u + du] = True
    assert not is_blue[~near].any() and (drawn[~near] == 255).all()
    assert is_blue[v, u].mean() > 0.85
    blue = drawn[is_blue][:, 2]
    assert blue.max() - blue.min() > 60  # shaded


def test_a_hand_without_a_hole_in_any_direction():
    """Hidden triangles are left out, but none that is seen, whichever way the hand is turned."""
    points = vertices() - vertices().mean(0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turn *= np.linalg.det(turn)
        placed = points @ turn.T + [0, 0, 0.5]
        white = np.full((64, 96, 3), 255, np.uint8)
        half = draw_mesh(white, placed, FACES, K, BLUE)[..., 0]
        both = np.concatenate([FACES, FACES[:, ::-1]])  # of each face one is seen
        whole = draw_mesh(white, placed, both, K, BLUE)[..., 0]
        assert np.abs(half.astype(int) - whole).max() < 40  # at the edge


def test_looks():
    grey = np.full((*SIZE[::-1], 3), 128, np.uint8)
    solid, glassy = (
        draw_mesh(grey, vertices(), FACES, K, BLUE, look) for look in (Look(), Look(0.2, 0.6))
    )
    is_drawn = solid[..., 0] < 20
    red = glassy[is_drawn][:, 0].astype(int)
    assert red.min() > 40 and red.max() < 110  # the image shows through, more in the middle
    assert red.max() - red.min() > 20


@pytest.mark.parametrize(
    "shift", [[0.4, 0, 0], [-0.4, 0, 0], [0.15, 0.1, 0], [0, 0, -0.45], [9, 9, 0]]
)
def test_hands_at_the_border_beyond_it_and_filling_the_image(shift):
    image = np.full((*SIZE[::-1], 3), 128, np.uint8)
    points = vertices() + np.array(shift)
    drawn = draw_mesh(image, points, FACES, K, BLUE)
    pixels = project(points, K)
    is_inside = ((pixels > 1) & (pixels < np.array(SIZE) - 2)).all(1)
    assert (drawn != image).any() == is_inside.any()

"""Pictures of a few made-up surfaces: no hole in what is near, no trace of what is hidden."""

import cv2
import numpy as np
import pytest

from deformer.data.official import IMAGE_SIZE
from pipelines.rays import RayScene
from pipelines.synthetic.render.camera_view import lay
from pipelines.synthetic.render.layer import (
    HAND,
    SPACING_M,
    Canvas,
    Layer,
    Part,
    line_kernel,
    may_cover,
)
from pipelines.synthetic.render.parts import attributes, thing_part
from pipelines.synthetic.scene.cameras import Camera, look_at
from pipelines.synthetic.scene.clutter import place_upright
from pipelines.synthetic.things.ycb import CLASS_IDS, YCB_OBJECTS

WIDTH, HEIGHT = IMAGE_SIZE
K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])
CAMERA = Camera("front", K, np.eye(3), np.zeros(3))

BLOCK_EDGE, GROUND, BLOCK = 300, 60, 120
"""A block fills the picture left of this column; grey of the ground and of the block."""


@pytest.fixture(scope="module")
def box() -> Layer:
    """A box in the middle of a table."""
    thing = YCB_OBJECTS[CLASS_IDS["003_cracker_box"]]
    there = place_upright(thing, 0.3, np.array([0, 0, -thing.bottom_m]))
    return Layer([thing_part(thing, there.rotation, there.position_m, np.ones((8, 8, 3)))])


@pytest.mark.parametrize("gap_m", [0.6, 0.15, 0.05, 0.012])
def test_a_box_before_the_lens_is_one_piece_without_holes(box, gap_m):
    middle = np.array([0, 0, 0.1])
    toward = np.array([0.6, 0.7, 0.1])
    reach = box.scene.cast(middle + toward, -toward[None]).depth[0]  # from outside to the box
    center = middle + toward * (1 - reach + gap_m / np.linalg.norm(toward))
    camera = look_at("near", center, middle, 0.0)
    found, canvas = drawn(box, empty(camera), (0.0, 0.0))
    mask = (found == 0).astype(np.uint8)
    every_ray = box.scene.cast(center, canvas.directions.reshape(-1, 3)).mesh == 0
    np.testing.assert_array_equal(mask.reshape(-1), every_ray)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    assert len(contours) == 1
    assert mask.sum() > 10000


def empty(camera: Camera) -> Canvas:
    image, depth = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8), np.full((HEIGHT, WIDTH), 1.5)
    return Canvas(camera, image, depth.astype(np.float32), rays_of(camera))


def rays_of(camera: Camera) -> np.ndarray:
    pixels = np.stack(np.mgrid[:HEIGHT, :WIDTH][::-1], -1)
    return camera.ray_directions(pixels.reshape(-1, 2)).reshape(HEIGHT, WIDTH, 3)


def drawn(layer: Layer, canvas: Canvas, motion_px) -> tuple[np.ndarray, Canvas]:
    """The parts that are seen, −1 for none, and the canvas with the layer, all white, on it."""

    def white(hits, origin, rays):
        return np.ones_like(rays)

    return lay(canvas, layer, white, line_kernel(np.array(motion_px))), canvas


def plane_m(below_m: float) -> tuple[np.ndarray, np.ndarray]:
    """A level square metre round and below the camera: vertices (V, 3), faces."""
    x, z = np.meshgrid(*[np.arange(-0.5, 0.5, SPACING_M / np.sqrt(2))] * 2)
    return sheet(np.stack([x, np.full_like(x, below_m), z], -1))


def sheet(grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grid of points (h, w, 3) as vertices and faces."""
    number = np.arange(grid[..., 0].size).reshape(grid.shape[:2])
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    return grid.reshape(-1, 3), np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)


@pytest.mark.parametrize("below_m", [0.15, 0.08, 0.03, 0.012, 0.004])
def test_rays_are_cast_wherever_a_surface_beside_the_camera_is_met(below_m):
    vertices, faces = plane_m(below_m)
    met = (
        RayScene([(vertices, faces)])
        .cast(np.zeros(3), rays_of(CAMERA).reshape(-1, 3))
        .mesh.reshape(HEIGHT, WIDTH)
        == 0
    )
    box, mask = may_cover([part(vertices, faces)], CAMERA, (HEIGHT, WIDTH))
    covered = np.zeros((HEIGHT, WIDTH), bool)
    covered[box] = mask
    assert met.any() and not (met & ~covered).any()


def part(vertices_m: np.ndarray, faces: np.ndarray) -> Part:
    normals = np.zeros_like(vertices_m)
    return Part(HAND, vertices_m, faces, vertices_m, attributes(normals), None, 0.0)


def test_nothing_is_cast_for_what_is_behind_the_camera_or_beside_the_picture():
    nothing = np.zeros((0, 3), int)
    for point in ([0, 0, -0.5], [2, 0, 0.5]):
        there = part(np.array([point], float), nothing)
        assert may_cover([there], CAMERA, (HEIGHT, WIDTH), 20) is None
    there = part(np.array([[0, 0, 0.5]]), nothing)
    _, mask = may_cover([there], CAMERA, (HEIGHT, WIDTH), 20)
    assert mask[20:-20, 20:-20].any() and mask.sum() == mask[20:-20, 20:-20].sum()


def picture(motion_px, columns: tuple[int, int], with_block: bool):
    """A white hand, 70 cm away, that moves behind a block's edge; `columns` are its first and last.

    → its picture (480, 640, 3), and the view without it.
    """
    x = np.linspace(*((c - 320) / 600 * 0.7 for c in columns), 40)
    hand, faces = sheet(
        np.stack(np.broadcast_arrays(x, np.linspace(-0.1, 0.1, 60)[:, None], 0.7), -1)
    )
    canvas = empty(CAMERA)
    if with_block:
        canvas.image[:, :BLOCK_EDGE], canvas.depth_m[:, :BLOCK_EDGE] = BLOCK, 0.5
    view = canvas.image.copy()
    drawn(Layer([part(hand, faces)]), canvas, motion_px)
    return canvas.image, view


@pytest.mark.parametrize("motion_px", [(0.0, 0.0), (9.0, 0.0), (-14.0, 14.0), (60.0, -5.0)])
@pytest.mark.parametrize("columns", [(200, 400), (200, 298)])
def test_a_hand_behind_an_edge_leaves_its_own_colour_and_no_shadow(motion_px, columns):
    found, view = picture(motion_px, columns, with_block=True)
    assert (found.astype(int) - view >= -1).all()  # the hand is white: it darkens nothing
    np.testing.assert_array_equal(found[:, : BLOCK_EDGE - 2], BLOCK)
    alone, _ = picture(motion_px, columns, with_block=False)
    open_view = slice(BLOCK_EDGE + 1, None)
    np.testing.assert_array_equal(found[:, open_view], alone[:, open_view])
    if columns[1] > BLOCK_EDGE or motion_px[0]:
        assert found[240, BLOCK_EDGE + 1].min() > GROUND + 5


@pytest.mark.parametrize("motion_px", [(20.0, 0.0), (-14.0, 14.0)])
def test_what_leaves_the_picture_stays_solid_to_its_border(motion_px):
    found, _ = picture(motion_px, (500, 760), with_block=False)
    np.testing.assert_array_equal(found[240, 560:], 255)
    assert found[240, 480].max() < 255  # it is blurred

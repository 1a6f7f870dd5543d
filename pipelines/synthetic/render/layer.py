"""Layers of meshes: rays find them, more rays smooth their edges, and their blurred picture is laid
over another.

Pixels are addressed by their position in the flattened box, several times as fast as by row and
column.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.rays import Hits, RayScene, dot
from pipelines.synthetic.paint.textures import linear_to_srgb
from pipelines.synthetic.scene.cameras import Camera

HAND, ARM, THING = 0, 1, 2

NOBODY, BODY = -1, -2
"""Owners of parts that belong to no hand: a thing, and the person's body."""


class Column:
    """Columns of a part's attributes, rows of a layer's."""

    NORMAL, ALBEDO, REST, UV = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 11)
    OPEN, LIT, TEXTURED = 11, 12, 13
    COUNT = 14


MIN_BLUR_PX = 1.3
"""Shorter motions are not blurred."""

_MAX_BLUR_PX = 24.0
"""Longer motions are blurred as if they were this long: everything that blur may bring to a visible
pixel needs a colour, so the work grows with the length."""

_EDGE_SAMPLES = np.array([[-0.35, -0.12], [0.12, 0.35]])
NOTHING_M = np.float32(99)
"""Depth where there is nothing."""
_SQUARE = np.ones((3, 3), np.uint8)

SPACING_M = 0.007
"""How far apart the points of a part's outline are."""

_GAP_M = 0.0052  # every point of a surface is this near to one of them

Surface = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Attributes (14, N) at points of a part → their albedo and normals, (3, N) each. Numpy is ten
times as fast on three long rows as on many rows of three."""


@dataclass(frozen=True, eq=False)
class Part:
    """A mesh in the world.

    kind: HAND, ARM or THING. outline_m (N, 3): points on it, `SPACING_M` apart. attributes (V, 14)
    float32: normal, albedo, place at rest, uv, share of the surroundings that it sees, share of the
    lamp's light that arrives, share of the texture in the colour. gloss: strength of the highlight.
    owner: number of the hand it belongs to, NOBODY or BODY. class_id: YCB class, 0 for none.
    """

    kind: int
    vertices_m: np.ndarray
    faces: np.ndarray
    outline_m: np.ndarray
    attributes: np.ndarray
    surface: Surface | None
    gloss: float
    owner: int = NOBODY
    class_id: int = 0


class Layer:
    """Parts that are cast together, at most 127."""

    def __init__(self, parts: list[Part]) -> None:
        assert len(parts) < 128, len(parts)  # maps of parts are int8
        self.parts = parts
        self.kinds = np.array([p.kind for p in parts], int)
        self.gloss = np.array([p.gloss for p in parts], np.float32)
        self.scene = RayScene([(p.vertices_m, p.faces) for p in parts]) if parts else None
        self.first_vertex = np.cumsum([0, *(len(p.vertices_m) for p in parts)])[:-1]
        if parts:
            table = np.concatenate([p.attributes for p in parts])
            self.attributes = np.ascontiguousarray(table.T)  # (14, all vertices)

    def update(self, number: int, column: int, values: np.ndarray) -> None:
        """Replace a column (V,) of a part's attributes."""
        first = self.first_vertex[number]
        self.attributes[column, first : first + len(values)] = values


@dataclass(frozen=True, eq=False)
class Canvas:
    """A picture that layers are laid over, (H, W): image (…, 3) uint8 sRGB, BGR; depth_m float32;
    directions (…, 3) float32: the camera's rays in the world."""

    camera: Camera
    image: np.ndarray
    depth_m: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True, eq=False)
class Cast:
    """A layer in a box of the picture (h, w).

    box: rows and columns; colour (h, w, 4) uint8: gamma-coded BGR times the share of the pixel that
    it fills, and this share, 255 for all of it; depth_m (h, w): at the pixel's centre, 99 for
    nothing; mesh (h, w) int8: index of the part there, −1 for nothing; shows (h, w) bool: where
    something within the blur's reach is nearer than the canvas. Only pixels that blur can bring
    there have a colour.
    """

    box: tuple[slice, slice]
    colour: np.ndarray
    depth_m: np.ndarray
    mesh: np.ndarray
    shows: np.ndarray


class LayerCaster:
    """Casts one layer before one canvas.

    colour(hits, origin_m, directions): linear RGB (3, N) of hits that all met something, sorted by
    mesh; directions (3, N).
    """

    def __init__(self, canvas: Canvas, layer: Layer, colour: Callable) -> None:
        self.canvas, self.layer, self.colour = canvas, layer, colour

    def cast(self, reach_px: int) -> Cast | None:
        """reach_px: the blur's reach; None where the layer is outside the picture."""
        canvas = self.canvas
        found = may_cover(self.layer.parts, canvas.camera, canvas.depth_m.shape, reach_px)
        if found is None:
            return None
        box, mask = found
        chosen = np.flatnonzero(mask)
        directions = np.ascontiguousarray(canvas.directions[box]).reshape(-1, 3).take(chosen, 0)
        hits = self.layer.scene.cast(canvas.camera.center_m, directions)
        met = np.flatnonzero(hits.mesh >= 0)
        at = chosen[met]
        depth, mesh = np.full(mask.shape, NOTHING_M), np.full(mask.shape, -1, np.int8)
        depth.reshape(-1)[at], mesh.reshape(-1)[at] = hits.depth[met], hits.mesh[met]
        shows = cv2.erode(depth, _square(reach_px)) < canvas.depth_m[box]
        # Blur may bring a hidden hand out from behind an edge, so its colour counts, too. One pixel
        # more, since visible regions get soft edges
        coloured = cv2.dilate(shows.astype(np.uint8), _square(reach_px + 1))
        cast = Cast(box, np.zeros((*mask.shape, 4), np.uint8), depth, mesh, shows)
        some = _by_mesh(hits, met[coloured.reshape(-1)[at] > 0])
        shades = self._shades(hits, some, directions).astype(np.uint8)
        cast.colour.view(np.uint32).reshape(-1)[chosen[some]] = shades.view(np.uint32)[:, 0]
        self._smooth_edges(cast, coloured)
        return cast

    def _shades(self, hits: Hits, chosen: np.ndarray, directions) -> np.ndarray:
        """Gamma-coded BGR in 8-bit steps and full cover, 255, of the chosen hits, sorted by mesh:
        (N, 4) float32."""
        origin, ways = self.canvas.camera.center_m, directions.take(chosen, 0)
        linear = self.colour(hits.take(chosen), origin, np.ascontiguousarray(ways.T))
        shades = np.full((len(chosen), 4), 255, np.float32)
        shades[:, 2::-1] = (linear_to_srgb(linear) * np.float32(255)).T
        return shades

    def _smooth_edges(self, cast: Cast, coloured: np.ndarray) -> None:
        """Cast more rays where a pixel's neighbour is another mesh, and average colour and
        cover."""
        lowest, highest = cv2.erode(cast.depth_m, _SQUARE), cv2.dilate(cast.depth_m, _SQUARE)
        meshes = cast.mesh.view(np.uint8)  # a type that OpenCV has these for
        seam = cv2.dilate(meshes, _SQUARE) != cv2.erode(meshes, _SQUARE)
        mixed = ((highest - lowest > 0.02) | seam) & (coloured > 0)
        chosen = np.flatnonzero(mixed & (lowest < NOTHING_M))
        if not len(chosen):
            return
        width = cast.depth_m.shape[1]
        rows, columns = cast.box
        centers = np.stack([chosen % width + columns.start, chosen // width + rows.start], 1)
        pixels = (centers[:, None] + _EDGE_SAMPLES).reshape(-1, 2)
        directions = self.canvas.camera.ray_directions(pixels)
        hits = self.layer.scene.cast(self.canvas.camera.center_m, directions)
        met = _by_mesh(hits, np.flatnonzero(hits.mesh >= 0))
        count, samples = len(chosen), len(_EDGE_SAMPLES)
        shades = np.zeros((count * samples, 4), np.float32)
        shades[met] = self._shades(hits, met, directions)
        colour = cast.colour.reshape(-1, 4)
        total = colour[chosen] + shades.reshape(count, samples, 4).sum(1)
        colour[chosen] = total / (samples + 1)


def _by_mesh(hits: Hits, chosen: np.ndarray) -> np.ndarray:
    """The chosen hits, sorted by mesh."""
    return chosen[np.argsort(hits.mesh[chosen].astype(np.int16), kind="stable")]


def lay_over(canvas: Canvas, cast: Cast, blur: np.ndarray) -> np.ndarray:
    """Lay a layer, blurred by a kernel, over the canvas; change the canvas's image and depth.

    Returns the index of the visible part in the cast's box, −1 for none.
    """
    depth = canvas.depth_m[cast.box]
    canvas.image[cast.box] = _blend(canvas.image[cast.box], cast, blur)
    front = cast.depth_m < depth
    depth[front] = cast.depth_m[front]
    return np.where(front, cast.mesh, np.int8(-1))


def _square(reach_px: int) -> np.ndarray:
    return np.ones((2 * reach_px + 1,) * 2, np.uint8)


def may_cover(
    parts: list[Part], camera: Camera, shape: tuple[int, int], margin_px: int = 0
) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """The region that parts may cover: a box of the picture and in it a mask (h, w) uint8.

    margin_px: how far the box reaches beyond the mask, within the picture. None where no part is in
    the picture.
    """
    height, width = shape
    outline = np.concatenate([part.outline_m for part in parts], dtype=np.float32)
    points = np.ascontiguousarray(camera.to_camera(outline).T)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    slant = np.linalg.norm(camera.ray_directions(corners), axis=1).max()
    if np.sqrt(dot(points, points).min()) < (2 * slant + 1) * _GAP_M:
        # Near the lens, a visible surface may belong to a point behind the camera
        return (slice(0, height), slice(0, width)), np.ones(shape, np.uint8)
    x, y, z = camera.K @ points.compress(points[2] > _GAP_M, 1)
    x, y, reach = x / z, y / z, slant * camera.K[0, 0] * _GAP_M / z
    near = (x > -reach) & (x < width + reach) & (y > -reach) & (y < height + reach)
    if not near.any():
        return None
    spread = int(np.ceil(reach[near].max())) + 1
    x, y = (np.round(a[near]).astype(int) for a in (x, y))
    beyond = spread + margin_px
    x0, x1 = max(x.min() - beyond, 0), min(x.max() + beyond + 1, width)
    y0, y1 = max(y.min() - beyond, 0), min(y.max() + beyond + 1, height)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    mask[np.clip(y, y0, y1 - 1) - y0, np.clip(x, x0, x1 - 1) - x0] = 1
    return (slice(y0, y1), slice(x0, x1)), cv2.dilate(mask, _square(spread))


def _blend(image: np.ndarray, cast: Cast, blur: np.ndarray) -> np.ndarray:
    """The blurred layer laid over a piece of the picture, behind everything nearer."""
    # A layer cut by the picture's border continues beyond it; elsewhere its box ends empty
    stacked = cv2.filter2D(cast.colour, -1, blur, borderType=cv2.BORDER_REPLICATE)
    front = cv2.blur(cast.shows.astype(np.float32), (3, 3)).reshape(-1)
    piece = np.ascontiguousarray(image)
    flat, stacked = piece.reshape(-1, 3), stacked.reshape(-1, 4)
    chosen = np.flatnonzero(stacked[:, 3])
    over = np.ascontiguousarray(stacked.take(chosen, 0).T, np.float32)
    share = front.take(chosen)
    kept = 1 - over[3] * (share / 255)
    mixed = np.ascontiguousarray(flat.take(chosen, 0).T) * kept
    mixed += over[:3] * share
    mixed += 0.5
    flat[chosen] = np.minimum(mixed, 255).astype(np.uint8).T
    return piece


def line_kernel(motion_px: np.ndarray) -> np.ndarray:
    """A line of the motion's length and direction, sum 1, with an empty pixel round it.

    For a motion too short to blur, one pixel in the middle of (3, 3).
    """
    length = float(np.hypot(*motion_px))
    half = min(length, _MAX_BLUR_PX) / 2 if length > MIN_BLUR_PX else 0.0
    direction = motion_px / max(length, 1e-9)
    size = 2 * int(np.ceil(half)) + 3
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-half, half, 4 * size):
        x, y = size // 2 + direction * t
        i, j = int(y), int(x)
        a, b = y - i, x - j
        kernel[i, j] += (1 - a) * (1 - b)
        kernel[i + 1, j] += a * (1 - b)
        kernel[i, j + 1] += (1 - a) * b
        kernel[i + 1, j + 1] += a * b
    return kernel / kernel.sum()

"""What moves, seen by one camera: rays where it may be, more of them at its edges.

Pixels are addressed by their position in the flattened box: that is several times as fast as by
row and column.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipelines.synthetic.appearance import OBJECT
from pipelines.synthetic.cameras import IMAGE_SIZE
from pipelines.synthetic.rays import Hits
from pipelines.synthetic.stage import Posed, Stage
from pipelines.synthetic.textures import linear_to_srgb
from pipelines.synthetic.view import View

_OUTLINE_GAP_M = 0.0052  # no point of a surface is further than this from the outline's points
_MARGIN_PX = 24
_EDGE_SAMPLES = np.array([[-0.35, -0.12], [0.12, 0.35]])
_NOTHING_M = np.float32(99)
_BEHIND_M = 0.03  # what lies this far behind a still object is not worth its colour
_KERNEL = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Layer:
    """What moves, in a box of the picture (h, w) whose first pixel is (x0, y0).

    colour (h, w, 4) uint8: gamma-coded BGR times the share of the pixel that it fills, and this
    share, 255 for all of it; depth_m (h, w): at the pixel's centre, 99 for nothing; mesh (h, w):
    index of the mesh there, −1 for nothing.
    """

    x0: int
    y0: int
    colour: np.ndarray
    depth_m: np.ndarray
    mesh: np.ndarray

    @property
    def box(self) -> tuple[slice, slice]:
        """Where it lies in the picture: rows, columns."""
        height, width = self.depth_m.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def cast_layer(stage: Stage, posed: Posed, view: View, without_object: bool) -> Layer | None:
    """Cast what moves; None where it is out of the picture.

    without_object: the grasped object is in the view already, and left out here.
    """
    found = _worth_casting(posed, view)
    if found is None:
        return None
    x0, y0, mask = found
    chosen = np.flatnonzero(mask)
    box = slice(y0, y0 + mask.shape[0]), slice(x0, x0 + mask.shape[1])
    directions = np.ascontiguousarray(view.directions[box]).reshape(-1, 3).take(chosen, 0)
    still_depth = np.ascontiguousarray(view.depth_m[box])
    hits = _visible(posed, posed.scene.cast(view.camera.center_m, directions), without_object)
    layer = Layer(
        x0,
        y0,
        np.zeros((*mask.shape, 4), np.uint8),
        np.full(mask.shape, _NOTHING_M),
        np.full(mask.shape, -1, np.int32),
    )
    met = np.flatnonzero(hits.mesh >= 0)
    at = chosen[met]
    layer.depth_m.reshape(-1)[at] = hits.depth[met]
    layer.mesh.reshape(-1)[at] = hits.mesh[met]
    colour = layer.colour.reshape(-1, 4)
    colour[at, 3] = 255
    shown = met[hits.depth[met] < still_depth.reshape(-1)[at] + _BEHIND_M]
    colour[chosen[shown], :3] = _colours(stage, posed, view, hits, shown, directions)
    _smooth_edges(stage, posed, view, without_object, layer, still_depth)
    return layer


def _worth_casting(posed: Posed, view: View) -> tuple[int, int, np.ndarray] | None:
    """First column, first row, and mask (h, w) of the pixels near the projected outline."""
    width, height = IMAGE_SIZE
    camera = view.camera
    to_image = (camera.K @ camera.rotation).astype(np.float32)
    x, y, z = to_image @ posed.outline_m.T + (camera.K @ camera.translation_m)[:, None].astype(
        np.float32
    )
    front = np.flatnonzero(z > 0.05)
    if not len(front):
        return None
    x, y, z = x[front], y[front], z[front]
    spread = int(np.ceil(_OUTLINE_GAP_M * camera.K[0, 0] / z.min())) + 1
    x, y = x / z + 0.5, y / z + 0.5
    near = (x > -spread) & (x < width + spread) & (y > -spread) & (y < height + spread)
    x, y = x[near].astype(int), y[near].astype(int)
    if not len(x):
        return None
    x0, x1 = max(x.min() - _MARGIN_PX, 0), min(x.max() + _MARGIN_PX + 1, width)
    y0, y1 = max(y.min() - _MARGIN_PX, 0), min(y.max() + _MARGIN_PX + 1, height)
    if x0 >= x1 or y0 >= y1:
        return None
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    mask[np.clip(y - y0, 0, y1 - y0 - 1), np.clip(x - x0, 0, x1 - x0 - 1)] = 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * spread + 1,) * 2)
    return int(x0), int(y0), cv2.dilate(mask, kernel)


def _visible(posed: Posed, hits: Hits, without_object: bool) -> Hits:
    """The hits, without those of the object where it is drawn already."""
    if not without_object:
        return hits
    gone = (hits.mesh >= 0) & (posed.kinds[hits.mesh] == OBJECT)
    return replace(
        hits, mesh=np.where(gone, -1, hits.mesh), depth=np.where(gone, _NOTHING_M, hits.depth)
    )


def _colours(stage, posed, view, hits: Hits, chosen: np.ndarray, directions) -> np.ndarray:
    """Gamma-coded BGR in 8-bit steps of the chosen hits, (N, 3) float32."""
    some, rays = hits.take(chosen), directions.take(chosen, 0)
    linear = stage.colour(posed, some, view.camera.center_m, rays)
    return linear_to_srgb(linear)[:, ::-1] * np.float32(255)


def _smooth_edges(stage, posed, view, without_object, layer: Layer, still_depth) -> None:
    """Where a pixel's neighbour is something else, more rays share in its colour and cover."""
    lowest, highest = cv2.erode(layer.depth_m, _KERNEL), cv2.dilate(layer.depth_m, _KERNEL)
    meshes = layer.mesh.astype(np.float32)
    seam = cv2.dilate(meshes, _KERNEL) != cv2.erode(meshes, _KERNEL)
    mixed = ((highest - lowest > 0.02) | seam) & (lowest < still_depth + _BEHIND_M)
    chosen = np.flatnonzero(mixed & (lowest < _NOTHING_M))
    if not len(chosen):
        return
    width = layer.depth_m.shape[1]
    centers = np.stack([chosen % width + layer.x0, chosen // width + layer.y0], 1)
    pixels = (centers[:, None] + _EDGE_SAMPLES).reshape(-1, 2)
    directions = view.camera.ray_directions(pixels)
    hits = _visible(posed, posed.scene.cast(view.camera.center_m, directions), without_object)
    met = np.flatnonzero(hits.mesh >= 0)
    count, samples = len(chosen), len(_EDGE_SAMPLES)
    shades = np.zeros((count * samples, 4), np.float32)
    shades[met, :3] = _colours(stage, posed, view, hits, met, directions)
    shades[met, 3] = 255
    colour = layer.colour.reshape(-1, 4)
    colour[chosen] = (colour[chosen] + shades.reshape(count, samples, 4).sum(1)) / (samples + 1)

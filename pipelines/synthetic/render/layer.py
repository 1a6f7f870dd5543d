"""What moves, seen by one camera: rays where it may be, more of them at its edges.

Pixels are addressed by their position in the flattened box: that is several times as fast as by
row and column.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipelines.synthetic.render.appearance import OBJECT
from pipelines.synthetic.render.cover import may_cover
from pipelines.synthetic.render.rays import Hits
from pipelines.synthetic.render.textures import linear_to_srgb
from pipelines.synthetic.render.view import View
from pipelines.synthetic.scene.stage import Posed, Stage

_EDGE_SAMPLES = np.array([[-0.35, -0.12], [0.12, 0.35]])
_NOTHING_M = np.float32(99)
_KERNEL = np.ones((3, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Layer:
    """What moves, in a box of the picture (h, w).

    box: rows and columns; colour (h, w, 4) uint8: gamma-coded BGR times the share of the pixel that
    it fills, and this share, 255 for all of it; depth_m (h, w): at the pixel's centre, 99 for
    nothing; mesh (h, w): index of the mesh there, −1 for nothing; shows (h, w) bool: where
    something, at most the blur's reach away, is nearer than the view. What cannot be blurred to
    there has no colour and no share.
    """

    box: tuple[slice, slice]
    colour: np.ndarray
    depth_m: np.ndarray
    mesh: np.ndarray
    shows: np.ndarray


def cast_layer(
    stage: Stage, posed: Posed, view: View, without_object: bool, reach_px: int
) -> Layer | None:
    """Cast what moves; None where it is out of the picture.

    without_object: the grasped object is in the view already, and left out here; reach_px: how
    far a pixel's colour will be blurred, at most.
    """
    box, mask = may_cover(view.camera, posed.outline_m, reach_px)
    if not mask.size:
        return None
    chosen = np.flatnonzero(mask)
    directions = np.ascontiguousarray(view.directions[box]).reshape(-1, 3).take(chosen, 0)
    hits = _visible(posed, posed.scene.cast(view.camera.center_m, directions), without_object)
    met = np.flatnonzero(hits.mesh >= 0)
    at = chosen[met]
    depth, mesh = np.full(mask.shape, _NOTHING_M), np.full(mask.shape, -1, np.int32)
    depth.reshape(-1)[at], mesh.reshape(-1)[at] = hits.depth[met], hits.mesh[met]
    shows = cv2.erode(depth, _square(reach_px)) < view.depth_m[box]
    # A hidden hand's colour counts, too: moving, it comes out from behind the edge that hides it.
    # One pixel more, since what shows gets a soft edge
    coloured = cv2.dilate(shows.astype(np.uint8), _square(reach_px + 1))
    layer = Layer(box, np.zeros((*mask.shape, 4), np.uint8), depth, mesh, shows)
    colour = layer.colour.reshape(-1, 4)
    some = met[coloured.reshape(-1)[at] > 0]
    colour[chosen[some], :3] = _colours(stage, posed, view, hits, some, directions)
    colour[chosen[some], 3] = 255
    _smooth_edges(stage, posed, view, without_object, layer, coloured)
    return layer


def _square(reach_px: int) -> np.ndarray:
    return np.ones((2 * reach_px + 1,) * 2, np.uint8)


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


def _smooth_edges(stage, posed, view, without_object, layer: Layer, coloured) -> None:
    """Where a pixel's neighbour is something else, more rays share in its colour and cover."""
    lowest, highest = cv2.erode(layer.depth_m, _KERNEL), cv2.dilate(layer.depth_m, _KERNEL)
    meshes = layer.mesh.astype(np.float32)
    seam = cv2.dilate(meshes, _KERNEL) != cv2.erode(meshes, _KERNEL)
    mixed = ((highest - lowest > 0.02) | seam) & (coloured > 0)
    chosen = np.flatnonzero(mixed & (lowest < _NOTHING_M))
    if not len(chosen):
        return
    width = layer.depth_m.shape[1]
    rows, columns = layer.box
    centers = np.stack([chosen % width + columns.start, chosen // width + rows.start], 1)
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

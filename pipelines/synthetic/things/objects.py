"""Objects of a scene: parts, paint, grips; surface and signed distance."""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
from scipy.ndimage import map_coordinates

from pipelines.synthetic.things.shapes import Box, Lathe, TexturedMesh, Tube, join_meshes

Shape = Box | Lathe | Tube


@dataclass(frozen=True)
class Grip:
    """Where and how a hand takes hold.

    `approach`: "top" (palm down), "side" (palm sideways, thumb up), "pinch" (from above, by the
    fingertips) or "rim" (from above, thumb on one side of a wall). `axis`: direction, in the
    object's frame, along which thumb and fingers close; None where every horizontal direction
    does. `center_m`: the middle of the grip.
    """

    approach: str
    axis: tuple[float, float, float] | None
    center_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One kind of object: name, parts, how each part is painted, and its grips."""

    class_id: int
    name: str
    parts: tuple[Shape, ...]
    paints: tuple[str, ...]
    """Per part: a painter of `textures.py` and its colours, "label:#rrggbb,#rrggbb"."""
    grips: tuple[Grip, ...]
    is_tall: bool = False
    """Tall enough to hide a hand that stands behind it."""
    solid_parts: tuple[Shape, ...] = ()
    """More space that fingers may not enter: a vessel's inside."""

    def signed_distance_m(self, points_m: np.ndarray) -> np.ndarray:
        """points (..., 3) in the object's frame → (...), negative inside."""
        return np.min([part.signed_distance_m(points_m) for part in self.parts], axis=0)

    @cached_property
    def mesh(self) -> TexturedMesh:
        """All parts; u is divided among them: part k of n has u in [k/n, (k+1)/n]."""
        meshes = []
        for k, part in enumerate(self.parts):
            mesh = part.mesh()
            u = (np.clip(mesh.uv[:, 0], 0.004, 0.996) + k) / len(self.parts)
            uv = np.stack([u, mesh.uv[:, 1]], 1)
            meshes.append(TexturedMesh(mesh.vertices_m, mesh.normals, uv, mesh.faces))
        return join_meshes(meshes)

    @property
    def bottom_m(self) -> float:
        """Lowest z of the object's frame: it rests on a table at height -bottom_m."""
        return float(self.mesh.vertices_m[:, 2].min())


class DistanceField:
    """Signed distance to the space that fingers may not enter, on a grid: exact to 0.5 mm."""

    _STEP_M, _MARGIN_M = 0.003, 0.03

    def __init__(self, thing: SceneObject) -> None:
        vertices = thing.mesh.vertices_m
        self._low = vertices.min(0) - self._MARGIN_M
        counts = np.ceil((vertices.max(0) + self._MARGIN_M - self._low) / self._STEP_M).astype(int)
        grid = self._low + self._STEP_M * np.moveaxis(np.indices(counts + 1), 0, -1)
        parts = (*thing.parts, *thing.solid_parts)
        distances = [part.signed_distance_m(grid) for part in parts]
        self._values = np.min(distances, 0).astype(np.float32)
        self._last = np.array(self._values.shape) - 1

    def __call__(self, points_m: np.ndarray) -> np.ndarray:
        """points (..., 3) → (...); outside the grid the distance to the grid is added."""
        # rows x, y, z: numpy is much slower on many rows of three
        points = np.ascontiguousarray(points_m.reshape(-1, 3).T)
        cells = (points - self._low[:, None]) / self._STEP_M
        inside = np.clip(cells, 0, self._last[:, None])
        found = map_coordinates(self._values, inside, order=1, mode="nearest")
        x, y, z = cells - inside
        beyond = np.sqrt(x * x + y * y + z * z) * self._STEP_M
        return (found + beyond).reshape(points_m.shape[:-1])


@cache
def distance_field(thing: SceneObject) -> DistanceField:
    """The field of an object, built once: some megabytes each."""
    return DistanceField(thing)


@lru_cache(512)
def surface_samples_m(thing: SceneObject, spacing_m: float) -> np.ndarray:
    """Points on the surface, at most about `spacing_m` apart, (N, 3), the same at every call."""
    mesh = thing.mesh
    corners = mesh.vertices_m[mesh.faces]  # (F, 3, 3)
    edges = corners - np.roll(corners, 1, 1)
    longest = np.linalg.norm(edges, axis=-1).max(-1)
    points = [mesh.vertices_m]
    for steps in range(1, int(np.ceil(longest.max() / spacing_m)) + 1):
        chosen = corners[np.ceil(longest / spacing_m) == steps]
        if steps == 1 or not len(chosen):
            continue
        i, j = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
        keep = i + j <= steps
        a, b = i[keep] / steps, j[keep] / steps
        weights = np.stack([1 - a - b, a, b], 1)
        points.append(np.einsum("pk,fkd->fpd", weights, chosen).reshape(-1, 3))
    points = np.concatenate(points)
    cells = np.round(points / (spacing_m / 2)).astype(np.int64)
    cells -= cells.min(0)
    number = np.ravel_multi_index(tuple(cells.T), cells.max(0) + 1)
    _, first = np.unique(number, return_index=True)
    return points[np.sort(first)].astype(np.float32)

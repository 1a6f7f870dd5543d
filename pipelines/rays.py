"""Ray casting with Embree: one scene of several meshes, hits with interpolated attributes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore import EmbreeDevice
from embreex.rtcore_scene import EmbreeScene

_DEVICE = None


def interpolate(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values (C, V) at vertices → at points of triangles, corners and weights (3, N): (C, N)."""
    a, b, c = corners
    total = values.take(a, 1)
    total *= weights[0]
    for corner, weight in ((b, weights[1]), (c, weights[2])):
        part = values.take(corner, 1)
        part *= weight
        total += part
    return total


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of vectors (3, N), (N,)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (3, N) at length 1."""
    return vectors / np.maximum(np.sqrt(dot(vectors, vectors)), 1e-9)


@dataclass(frozen=True, eq=False)
class Hits:
    """What rays met. depth (N,): in units of the ray's direction, huge for nothing.

    mesh (N,): index of the mesh, −1 for nothing; triangle (N,): its number within that mesh;
    u, v (N,): where in it.
    """

    scene: "RayScene"
    depth: np.ndarray
    mesh: np.ndarray
    triangle: np.ndarray
    u: np.ndarray
    v: np.ndarray

    def take(self, chosen: np.ndarray) -> "Hits":
        """Those of the rays with the numbers `chosen`."""
        columns = self.depth, self.mesh, self.triangle, self.u, self.v
        return Hits(self.scene, *(column.take(chosen) for column in columns))

    @property
    def corners(self) -> np.ndarray:
        """The triangles' vertices, (3, N), numbered through all meshes; every ray must have met
        one."""
        return self.scene.corners.take(self.scene.first_face[self.mesh] + self.triangle, 1)

    @property
    def weights(self) -> np.ndarray:
        """Barycentric weights of the three corners, (3, N)."""
        return np.stack([1 - self.u - self.v, self.u, self.v])


class RayScene:
    """Meshes that rays can meet."""

    def __init__(self, meshes: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """meshes: (vertices (V, 3), faces (F, 3)) each."""
        self._scene = EmbreeScene(_embree_device())
        indices = [np.ascontiguousarray(faces, np.int32) for _, faces in meshes]
        self._meshes = [
            TriangleMesh(self._scene, np.ascontiguousarray(vertices, np.float32), faces)
            for (vertices, _), faces in zip(meshes, indices, strict=True)
        ]
        self.first_face = np.cumsum([0, *(len(faces) for faces in indices)])[:-1]
        self._faces = indices, [len(vertices) for vertices, _ in meshes]

    @cached_property
    def corners(self) -> np.ndarray:
        """Vertices of all triangles, (3, F), numbered through all meshes."""
        indices, counts = self._faces
        first = np.cumsum([0, *counts])[:-1]
        faces = [faces + start for faces, start in zip(indices, first, strict=True)]
        return np.ascontiguousarray(np.concatenate(faces).T)

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """First hits of rays (N, 3), (N, 3); origins may be one point (3,)."""
        found = self._scene.run(_rows(origins, len(directions)), _f32(directions), output=True)
        return Hits(self, found["tfar"], found["geomID"], found["primID"], found["u"], found["v"])

    def is_blocked(
        self, origins: np.ndarray, directions: np.ndarray, reach: float | None = None
    ) -> np.ndarray:
        """Whether a ray meets anything (within `reach` times its direction), (N,) bool."""
        directions = _f32(directions)
        limit = None if reach is None else np.full(len(directions), reach, np.float32)
        met = self._scene.run(
            _rows(origins, len(directions)), directions, dists=limit, query="OCCLUDED"
        )
        return met >= 0


def _f32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def _rows(origins: np.ndarray, count: int) -> np.ndarray:
    origins = np.asarray(origins, np.float32)
    return np.ascontiguousarray(np.broadcast_to(origins, (count, 3)))


def _embree_device() -> EmbreeDevice:
    """One device per process, since a scene cannot outlive its device.

    Embree builds scenes with one thread per core that it finds when the device is made. Workers
    fill the cores already, and a small scene is built faster by one thread, so it finds one core.
    """
    global _DEVICE  # noqa: PLW0603
    if _DEVICE is None:
        with _on_one_core():
            _DEVICE = EmbreeDevice()
    return _DEVICE


@contextmanager
def _on_one_core() -> Iterator[None]:
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)

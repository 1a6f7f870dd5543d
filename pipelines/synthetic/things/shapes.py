"""The three shapes that every object is made of: box, body of revolution, tube.

Each has a triangle mesh with smooth normals and texture coordinates (what is seen) and a signed
distance (what fingers touch). Lengths in metres, in the frame of the object.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """Triangles with a normal and a texture coordinate per vertex.

    vertices_m (V, 3), normals (V, 3), uv (V, 2) in [0, 1], v upwards, faces (F, 3) int32.
    """

    vertices_m: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray


def join_meshes(meshes: list[TexturedMesh]) -> TexturedMesh:
    """One mesh of several, in their order."""
    offsets = np.cumsum([0, *(len(m.vertices_m) for m in meshes[:-1])])
    faces = np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)])
    columns = zip(*((m.vertices_m, m.normals, m.uv) for m in meshes), strict=True)
    return TexturedMesh(*(np.concatenate(parts) for parts in columns), faces.astype(np.int32))


def grid_faces(num_rows: int, num_columns: int) -> np.ndarray:
    """Two triangles per cell of a grid of rows × columns vertices, (F, 3)."""
    index = np.arange(num_rows * num_columns).reshape(num_rows, num_columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.stack([a, b, c, a, c, d], -1).reshape(-1, 3).astype(np.int32)


@dataclass(frozen=True)
class Box:
    """A box along the axes."""

    size_m: tuple[float, float, float]
    center_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    bevel_m: float = 0.002

    def signed_distance_m(self, points_m: np.ndarray) -> np.ndarray:
        """points (..., 3) → (...), negative inside; exact for the box with rounded edges."""
        local = points_m - np.array(self.center_m)
        excess = np.abs(local) - (np.array(self.size_m) / 2 - self.bevel_m)
        outside = np.linalg.norm(np.maximum(excess, 0), axis=-1)
        return outside + np.minimum(excess.max(-1), 0) - self.bevel_m

    def mesh(self) -> TexturedMesh:
        """Six faces with rounded rims; uv covers the texture three faces by two."""
        half, parts = np.array(self.size_m) / 2, []
        for k, (axis, sign) in enumerate([(0, 1), (1, 1), (2, 1), (0, -1), (1, -1), (2, -1)]):
            across, up = [(1, 2), (0, 2), (0, 1)][axis]
            turn = sign * (1 if axis != 1 else -1)
            steps = [self._rim_steps(half[across]), self._rim_steps(half[up])]
            s, t = np.meshgrid(*steps)  # rows along `up`
            flat = np.zeros((*s.shape, 3))
            flat[..., across], flat[..., up], flat[..., axis] = s * turn, t, sign * half[axis]
            inner = np.clip(flat, -(half - self.bevel_m), half - self.bevel_m)
            normals = flat - inner
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            points = inner + normals * self.bevel_m
            uv = np.stack([s / half[across] / 2 + 0.5, t / half[up] / 2 + 0.5], -1)
            uv = (uv * 0.98 + 0.01 + [k % 3, k // 3]) / [3, 2]
            vertices = points.reshape(-1, 3) + np.array(self.center_m)
            uv, faces = uv.reshape(-1, 2), grid_faces(*s.shape)
            parts.append(TexturedMesh(vertices, normals.reshape(-1, 3), uv, faces))
        return join_meshes(parts)

    def _rim_steps(self, half: float) -> np.ndarray:
        b = self.bevel_m
        return np.array([-half, -half + 0.42 * b, -half + b, half - b, half - 0.42 * b, half])


@dataclass(frozen=True)
class Lathe:
    """A profile turned about z. `profile_m`: (radius, z) from the bottom of the axis outwards,
    up, and back to the axis (through the inside, for a vessel). `aspect` < 1 flattens y."""

    profile_m: tuple[tuple[float, float], ...]
    aspect: float = 1.0
    center_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    num_sides: int = 28
    along: str = "z"
    """Axis of revolution: "z", or "x" for a lying body."""
    crease_rad: float = 0.6
    """Profile corners sharper than this stay sharp."""

    def _to_local(self, points_m: np.ndarray) -> np.ndarray:
        local = points_m - np.array(self.center_m)
        order = {"z": [0, 1, 2], "x": [1, 2, 0]}[self.along]
        return local[..., order]

    def _to_object(self, local: np.ndarray) -> np.ndarray:
        order = {"z": [0, 1, 2], "x": [2, 0, 1]}[self.along]
        return local[..., order]

    def signed_distance_m(self, points_m: np.ndarray) -> np.ndarray:
        """points (..., 3) → (...), negative inside; for aspect < 1 a lower bound."""
        local = self._to_local(points_m)
        radius, height = np.hypot(local[..., 0], local[..., 1] / self.aspect), local[..., 2].copy()
        ring = np.array(self.profile_m)
        square = np.full(radius.shape, np.inf)
        inside = np.zeros(radius.shape, bool)
        for a, b in zip(ring, np.roll(ring, -1, 0), strict=True):
            along, up = b - a
            if a[0] > 0 or b[0] > 0:  # the closing edge along the axis is no surface
                right, above = radius - a[0], height - a[1]
                share = (right * along + above * up) / max(along**2 + up**2, 1e-12)
                share = np.clip(share, 0, 1)
                gap = (right - share * along) ** 2 + (above - share * up) ** 2
                square = np.minimum(square, gap)
            crosses = (a[1] > height) != (b[1] > height)
            if b[1] != a[1]:
                inside ^= crosses & (radius < a[0] + along * (height - a[1]) / up)
        return np.sqrt(square) * np.where(inside, -1, 1) * min(self.aspect, 1.0)

    def mesh(self) -> TexturedMesh:
        """Rings around the axis; u runs around (0.5 in front, at +x), v along the profile."""
        ring = np.array(self.profile_m)
        edges = np.diff(ring, axis=0)
        lengths = np.linalg.norm(edges, axis=1)
        edge_normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / lengths[:, None]
        travelled = np.concatenate([[0], np.cumsum(lengths)]) / lengths.sum()
        rows, normals, v = [], [], []
        for k in range(len(edges)):  # each edge has its own two rows: creases stay sharp
            for end, neighbour in ((k, k - 1), (k + 1, k + 1)):
                normal = edge_normals[k]
                if 0 <= neighbour < len(edges):
                    other = edge_normals[neighbour]
                    if normal @ other > np.cos(self.crease_rad):
                        normal = (normal + other) / np.linalg.norm(normal + other)
                rows.append(ring[end])
                normals.append(normal)
                v.append(travelled[end])
        angle = np.linspace(-np.pi, np.pi, self.num_sides + 1)
        c, s = np.cos(angle), np.sin(angle)
        rows, normals = np.array(rows), np.array(normals)
        heights = np.repeat(rows[:, 1:], len(c), 1)
        points = np.stack([rows[:, :1] * c, rows[:, :1] * s * self.aspect, heights], -1)
        up = np.repeat(normals[:, 1:], len(c), 1)
        n = np.stack([normals[:, :1] * c, normals[:, :1] * s / self.aspect, up], -1)
        n /= np.linalg.norm(n, axis=-1, keepdims=True)
        uv = np.stack(np.broadcast_arrays((angle / (2 * np.pi) + 0.5), np.array(v)[:, None]), -1)
        faces = grid_faces(len(rows), len(angle)).reshape(len(rows) - 1, -1, 3)[::2].reshape(-1, 3)
        return TexturedMesh(
            self._to_object(points.reshape(-1, 3)) + np.array(self.center_m),
            self._to_object(n.reshape(-1, 3)),
            uv.reshape(-1, 2),
            faces,
        )


@dataclass(frozen=True)
class Tube:
    """Round rods along a polyline, of one radius per point: handles, rings, jaws, a banana."""

    path_m: tuple[tuple[float, float, float], ...]
    radius_m: tuple[float, ...]
    num_sides: int = 10
    flatten_z: float = 1.0
    """Cross-sections are pressed together along z by this factor (scissor rings, blades)."""
    closed: bool = False

    def signed_distance_m(self, points_m: np.ndarray) -> np.ndarray:
        """points (..., 3) → (...), negative inside: a chain of cones with round ends."""
        squeeze = np.array([1.0, 1.0, 1.0 / self.flatten_z])
        columns = (points_m * squeeze).reshape(-1, 3).T.copy()  # (3, N): long rows are fast
        path, radius = self._chain()
        path = path * squeeze
        distance = np.full(columns.shape[1], np.inf)
        for a, b, ra, rb in zip(path[:-1], path[1:], radius[:-1], radius[1:], strict=True):
            edge, offset = b - a, columns - a[:, None]
            share = np.clip(edge @ offset / max(edge @ edge, 1e-12), 0, 1)
            gap = np.sqrt(((offset - edge[:, None] * share) ** 2).sum(0))
            distance = np.minimum(distance, gap - (ra + (rb - ra) * share))
        distance = distance.reshape(points_m.shape[:-1])
        return distance * min(self.flatten_z, 1.0)

    def _chain(self) -> tuple[np.ndarray, np.ndarray]:
        path, radius = np.array(self.path_m, float), np.array(self.radius_m, float)
        if self.closed:
            path, radius = np.concatenate([path, path[:1]]), np.concatenate([radius, radius[:1]])
        return path, radius

    def mesh(self) -> TexturedMesh:
        """Rings across the path, with round caps where it is open; u around, v along."""
        path, radius = self._chain()
        tangents = np.gradient(path, axis=0)
        if self.closed:
            tangents[0] = tangents[-1] = path[1] - path[-2]
        tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
        if not self.closed:
            path, radius, tangents = _with_caps(path, radius, tangents)
        side = carried_frames(tangents)
        over = np.cross(tangents, side)
        angle = np.linspace(0, 2 * np.pi, self.num_sides + 1)
        normals = side[:, None] * np.cos(angle)[:, None] + over[:, None] * np.sin(angle)[:, None]
        points = normals * radius[:, None, None]
        points[..., 2] *= self.flatten_z
        points += path[:, None]
        travelled = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        uv = np.stack(
            np.broadcast_arrays(angle / (2 * np.pi), (travelled / travelled[-1])[:, None]), -1
        )
        faces = grid_faces(len(path), len(angle))
        return TexturedMesh(points.reshape(-1, 3), normals.reshape(-1, 3), uv.reshape(-1, 2), faces)


def _with_caps(path, radius, tangents):
    """Hemispheres at both ends, as further rings that shrink to a point."""
    angles = np.array([0.0, 0.35, 0.75, 1.15]) * np.pi / 2 / 1.15
    lift, shrink = np.sin(angles), np.cos(angles)
    shrink[-1] = 1e-3
    before = path[0] - tangents[0] * radius[0] * lift[::-1, None]
    after = path[-1] + tangents[-1] * radius[-1] * lift[:, None]
    return (
        np.concatenate([before, path[1:-1], after]),
        np.concatenate([radius[0] * shrink[::-1], radius[1:-1], radius[-1] * shrink]),
        np.concatenate(
            [np.repeat(tangents[:1], 4, 0), tangents[1:-1], np.repeat(tangents[-1:], 4, 0)]
        ),
    )


def carried_frames(tangents: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """A vector across each tangent, carried along without twist from `start`, (N, 3)."""
    if start is None:
        start = np.cross(tangents[0], [0.0, 0.0, 1.0])
        if np.linalg.norm(start) < 0.1:
            start = np.cross(tangents[0], [0.0, 1.0, 0.0])
    start = start - tangents[0] * (tangents[0] @ start)
    frames = [start / np.linalg.norm(start)]
    for tangent in tangents[1:]:
        carried = frames[-1] - tangent * (tangent @ frames[-1])
        frames.append(carried / np.linalg.norm(carried))
    return np.array(frames)

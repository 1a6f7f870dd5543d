"""Thin a disk mesh to an exact count by half-edge collapses, looking at several poses at once.

A collapse moves one vertex onto a neighbour, so the vertices that stay are vertices of the
original: shape directions and skinning weights carry over without interpolation. The error of a
collapse is summed over poses, which keeps triangles where the skin bends.
"""

import heapq

import numpy as np

MIN_NORMAL_COSINE = 0.45  # a collapse must not turn a triangle further than this, in any pose
MIN_QUALITY = 0.22  # 1 is equilateral, 0 a sliver


def decimate(poses, faces, num_vertices: int, num_boundary: int, keep) -> tuple:
    """poses (P, V, 3), rest pose first → (indices of the kept vertices, faces over them).

    keep: vertices that may not vanish. Raises `ValueError` when the count cannot be reached.
    """
    mesh = _Collapser(poses, faces, keep)
    while len(mesh.boundary) > num_boundary:
        mesh.collapse_boundary()
    mesh.collapse_inside(num_vertices)
    kept = np.flatnonzero(mesh.alive)
    renumber = np.full(len(mesh.alive), -1)
    renumber[kept] = np.arange(len(kept))
    live = [i for i in range(len(mesh.faces)) if mesh.faces[i][0] >= 0]
    return kept, renumber[mesh.faces[live]]


class _Collapser:
    def __init__(self, poses, faces, keep):
        self.poses, self.faces = np.asarray(poses, float), faces.copy()
        self.alive = np.ones(self.poses.shape[1], bool)
        self.keep = set(keep)
        self.faces_of = [set() for _ in self.alive]
        for i, face in enumerate(faces):
            for v in face:
                self.faces_of[v].add(i)
        self.boundary = self._find_boundary()
        self.quadrics = self._quadrics()
        self.version = np.zeros(len(self.alive), int)

    def _find_boundary(self) -> set:
        half = {(a, b) for f in self.faces for a, b in zip(f, np.roll(f, -1), strict=True)}
        return {v for a, b in half if (b, a) not in half for v in (a, b)}

    def _quadrics(self) -> np.ndarray:
        """Area-weighted plane quadrics of each vertex in each pose (P, V, 4, 4)."""
        quadrics = np.zeros((*self.poses.shape[:2], 4, 4))
        for p, points in enumerate(self.poses):
            a, b, c = (points[self.faces[:, k]] for k in range(3))
            normal = np.cross(b - a, c - a)
            area = np.linalg.norm(normal, axis=1, keepdims=True)
            normal = normal / np.maximum(area, 1e-15)
            plane = np.concatenate([normal, -(normal * a).sum(1, keepdims=True)], axis=1)
            outer = plane[:, :, None] * plane[:, None] * area[:, :, None]
            for k in range(3):
                np.add.at(quadrics[p], self.faces[:, k], outer)
        return quadrics

    def neighbours(self, v: int) -> set:
        return {w for i in self.faces_of[v] for w in self.faces[i].tolist()} - {v}

    def cost(self, gone: int, onto: int) -> float:
        quadric = self.quadrics[:, gone] + self.quadrics[:, onto]
        point = np.concatenate([self.poses[:, onto], np.ones((len(self.poses), 1))], axis=1)
        error = np.einsum("pa,pab,pb->", point, quadric, point)
        # The length breaks ties on flat skin, where every collapse costs nothing.
        length = np.linalg.norm(self.poses[0, gone] - self.poses[0, onto])
        return error / len(self.poses) + 2e-4 * length**4

    def is_allowed(self, gone: int, onto: int) -> bool:
        """Does the disk stay a disk, and does no triangle flip or become a sliver?"""
        shared = self.faces_of[gone] & self.faces_of[onto]
        expected = 1 if gone in self.boundary else 2
        if gone in self.keep or len(shared) != expected:
            return False
        if len(self.neighbours(gone) & self.neighbours(onto)) != expected:
            return False
        if len(self.neighbours(onto)) + len(self.neighbours(gone)) - 2 * expected - 2 > 9:
            return False
        changed = self.faces[list(self.faces_of[gone] - shared)]
        moved = np.where(changed == gone, onto, changed)
        before, quality_before = _normals(self.poses[:, changed])
        after, quality_after = _normals(self.poses[:, moved])
        if ((before * after).sum(-1) < MIN_NORMAL_COSINE).any():
            return False
        floor = np.minimum(MIN_QUALITY, 0.9 * quality_before[0])
        return bool((quality_after[0] >= floor).all())

    def collapse(self, gone: int, onto: int) -> None:
        for i in list(self.faces_of[gone]):
            if i in self.faces_of[onto]:
                for v in self.faces[i]:
                    self.faces_of[v].discard(i)
                self.faces[i] = -1
            else:
                self.faces[i][self.faces[i] == gone] = onto
                self.faces_of[onto].add(i)
        self.faces_of[gone] = set()
        self.alive[gone] = False
        self.boundary.discard(gone)
        self.quadrics[:, onto] += self.quadrics[:, gone]
        self.version[list(self.neighbours(onto) | {onto, gone})] += 1

    def collapse_boundary(self) -> None:
        """The cheapest collapse along the wrist's cut."""
        options = []
        for v in sorted(self.boundary):
            for w in sorted(self.neighbours(v) & self.boundary):
                if len(self.faces_of[v] & self.faces_of[w]) == 1 and self.is_allowed(v, w):
                    options.append((np.linalg.norm(self.poses[0, v] - self.poses[0, w]), v, w))
        if not options:
            raise ValueError(f"no boundary edge can go; {len(self.boundary)} are left")
        self.collapse(*min(options)[1:])

    def collapse_inside(self, num_vertices: int) -> None:
        heap = []

        def push(v):
            if v in self.keep or v in self.boundary:
                return
            for w in sorted(self.neighbours(v)):
                heapq.heappush(heap, (self.cost(v, w), v, w, self.version[v], self.version[w]))

        for v in np.flatnonzero(self.alive).tolist():
            push(v)
        count = int(self.alive.sum())
        while count > num_vertices:
            if not heap:
                raise ValueError(f"no allowed collapse is left at {count} vertices")
            _, v, w, version_v, version_w = heapq.heappop(heap)
            current = self.alive[v] and self.alive[w]
            if not current or (self.version[v], self.version[w]) != (version_v, version_w):
                continue
            if self.is_allowed(v, w):
                self.collapse(v, w)
                count -= 1
                for u in sorted(self.neighbours(w) | {w}):
                    push(u)


def _normals(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (..., 3) and shape quality (...) of triangles (..., 3, 3)."""
    a, b, c = triangles[..., 0, :], triangles[..., 1, :], triangles[..., 2, :]
    cross = np.cross(b - a, c - a)
    double_area = np.linalg.norm(cross, axis=-1)
    squares = sum(((p - q) ** 2).sum(-1) for p, q in ((a, b), (b, c), (c, a)))
    quality = 2 * np.sqrt(3) * double_area / np.maximum(squares, 1e-20)
    return cross / np.maximum(double_area, 1e-15)[..., None], quality

"""Meshes of hands, and shaded pictures of them. Numpy and OpenCV, no OpenGL.

Triangles are filled from back to front into a small canvas around the hand, with their light, their
steepness and their depth. What makes them look like a hand is then done for all pixels at once:
soft light, darkness in folds, and edges that cover more than the middle.

Images are RGB, uint8; pixel centres are at integers.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
import torch
from scipy.sparse import csr_matrix

from deformer.hand.camera import project
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.video.hands_file import HandRows

_AT_ONCE = 256
_NEAREST_M = 0.02
_LIGHT = np.array([-0.4, -0.65, -0.65], np.float32)
_LIGHT /= np.linalg.norm(_LIGHT)
"""The direction towards the light: behind the viewer, above and to the left."""
_SHIFT = 4
"""OpenCV takes corners in units of 2⁻⁴ px."""
_FOLD_M = 0.015
"""Pixels that lie this much deeper than their surroundings are in a fold."""
_FULL = 200.0
"""Of 255: full light in the canvas; what is more is gloss."""


@torch.no_grad()
def hand_vertices(hands: HandRows, layer: HandLayer) -> np.ndarray:
    """The meshes (N, V, 3) of N hands, camera frame, metres: float32."""
    vertices = np.empty((len(hands.frame), layer.num_vertices, 3), np.float32)
    for i in range(0, len(vertices), _AT_ONCE):
        part = hands.at(slice(i, i + _AT_ONCE))
        pose = torch.tensor(part.pose_rotvec, dtype=torch.float32).unflatten(1, (16, 3))
        betas = torch.tensor(part.betas, dtype=torch.float32)
        posed, joints = layer(rotvec_to_rotmat(pose), betas, torch.tensor(part.is_left))
        from_wrist = (posed - joints[:, :1]).numpy() * part.scale[:, None, None]
        vertices[i : i + _AT_ONCE] = from_wrist + part.wrist_cam_m[:, None]
    return vertices


def is_in_front(vertices_m: np.ndarray) -> bool:
    """Whether the whole hand can be projected."""
    return bool(np.isfinite(vertices_m).all() and vertices_m[:, 2].min() > _NEAREST_M)


class Look(NamedTuple):
    """How a mesh covers the image."""

    middle: float = 1.0
    """Opacity where the surface faces the viewer, 0 to 1."""
    edge: float = 1.0
    """Opacity where it is seen from the side."""
    gloss: float = 0.0
    """Strength of highlights, 0 to 1."""


def draw_mesh(
    image: np.ndarray,
    vertices_m: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    rgb: np.ndarray | tuple[int, int, int],
    look: Look = Look(),  # noqa: B008
) -> np.ndarray:
    """The image (H, W, 3) with a hand drawn over it; near faces hide far ones.

    vertices_m (V, 3), faces (F, 3), K (3, 3) for the pixels of the image. rgb: one colour, or one
    per vertex (V, 3). Raises `ValueError` for a hand behind the camera.
    """
    if not is_in_front(vertices_m):
        raise ValueError("the hand is not in front of the camera, so it has no image")
    drawn = image.copy()
    shade(drawn, project(vertices_m, K), vertices_m, faces, rgb, look)
    return drawn


def shade(
    image: np.ndarray, points_px: np.ndarray, view_m: np.ndarray, faces: np.ndarray,
    rgb: np.ndarray | tuple[int, int, int], look: Look,
) -> None:  # fmt: skip
    """Draw a mesh into the image (H, W, 3), of which only the part around it is touched.

    points_px (V, 2): where its vertices are seen; view_m (V, 3): in the viewer's axes, x right, y
    down, z forward, from his eye. rgb as in `draw_mesh`.
    """
    part = _part(image, points_px)
    if part is None:
        return
    corner, target = part
    height, width, _ = target.shape
    s = 3 if max(height, width) <= 160 else 2 if max(height, width) <= 640 else 1
    # oversampling keeps a pixel's corner in place, not its centre
    fixed = np.rint((((points_px - corner) + 0.5) * s - 0.5) * 2**_SHIFT).astype(np.int32)
    light, steep, middles, is_shown = _light(view_m.astype(np.float32), faces, look.gloss)
    order = np.argsort(-middles, kind="stable")
    order = order[is_shown[order]]
    near, far = view_m[:, 2].min(), view_m[:, 2].max()
    depth = 255 * (middles - near) / max(far - near, 1e-9)
    values = np.stack([_FULL * light, 255 * steep, depth, np.full(len(faces), 255.0)], 1)
    triangles = list(fixed[faces[order]])
    canvas = _filled(triangles, np.clip(values[order], 0, 255), (height * s, width * s))
    shares = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    shares = shares.astype(np.float32) * np.float32(1 / 255)
    length, cover = max(height, width), shares[..., 3]
    light, steep, depth, _ = cv2.split(_soft(shares, 0.009 * length))
    around, _ = cv2.split(_soft(shares[..., 2:], 0.035 * length + 1))
    fold = np.clip((depth - around) * ((far - near) / _FOLD_M), 0, 1)
    light *= (1 - 0.45 * fold) * (255 / _FULL)
    colour = np.asarray(rgb, np.float32)
    if colour.ndim == 2:
        of_faces = colour[faces].mean(1)[order]
        canvas = _filled(triangles, of_faces, (height * s, width * s))
        colour = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        colour = colour / np.maximum(cover, 1e-3)[..., None]
    shown = np.minimum(light, 1)[..., None] * colour
    shown += np.maximum(light - 1, 0)[..., None] * 255
    alpha = (cover * (look.middle + (look.edge - look.middle) * steep))[..., None]
    target[:] = np.clip(target + alpha * (shown - target) + 0.5, 0, 255)


def _part(image: np.ndarray, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Corner (2,) and pixels of the part of the image around the points."""
    size = np.array(image.shape[1::-1])
    low = np.clip(np.floor(points_px.min(0)) - 2, 0, size).astype(int)
    high = np.clip(np.ceil(points_px.max(0)) + 3, 0, size).astype(int)
    if (high <= low).any():
        return None
    return low, image[low[1] : high[1], low[0] : high[0]]


def _filled(triangles: list, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros((*shape, values.shape[1]), np.uint8)
    for triangle, value in zip(triangles, values.tolist(), strict=True):
        cv2.fillConvexPoly(canvas, triangle, value, cv2.LINE_8, _SHIFT)
    return canvas


def _light(
    view_m: np.ndarray, faces: np.ndarray, gloss: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of faces (F,): their light, 1 being full; their steepness in [0, 1]; their depth; and whether
    they are shown, which those are not that are turned away and so hidden by others."""
    a, b, c = (view_m[faces[:, k]] for k in range(3))
    flat, middles = np.cross(b - a, c - a), (a + b + c) / 3
    mean = view_m.mean(0)
    towards = -mean / max(np.linalg.norm(mean), 1e-9)
    sums = _sums(faces.astype(np.int64).tobytes(), len(view_m))
    # neighbours share their vertices' normals; the side that faces the viewer counts, whatever the
    # orientation of the triangle
    at_vertices = sums @ flat
    smooth = at_vertices[faces[:, 0]] + at_vertices[faces[:, 1]] + at_vertices[faces[:, 2]]
    smooth /= np.maximum(np.sqrt(np.einsum("fi,fi->f", smooth, smooth)), 1e-12)[:, None]
    is_away = np.einsum("fi,fi->f", flat, middles) > 0
    smooth[is_away] *= -1
    lit = 0.5 + 0.5 * (smooth @ _LIGHT)
    halfway = (_LIGHT + towards) / np.linalg.norm(_LIGHT + towards)
    highlight = np.clip(smooth @ halfway, 0, 1) ** 30
    steep = (1 - np.clip(smooth @ towards, 0, 1)) ** 2
    light = 0.4 + 0.6 * lit**1.3 + gloss * (0.25 * highlight + 0.3 * steep)
    return light, steep, middles[:, 2], _is_shown(flat, middles - mean, is_away, towards)


def _is_shown(
    flat: np.ndarray, middles: np.ndarray, is_away: np.ndarray, towards: np.ndarray
) -> np.ndarray:
    """Which faces (F,) to fill: half of a closed mesh, all of one into which the viewer looks
    through an opening, a hand's wrist."""
    is_inside_out = np.einsum("fi,fi->", flat, middles) < 0
    opening = flat.sum(0) if is_inside_out else -flat.sum(0)  # areas of a closed mesh sum to 0
    size = np.linalg.norm(opening)
    is_sheet = size > 0.2 * np.sqrt(np.einsum("fi,fi->f", flat, flat)).sum()
    if is_sheet or opening @ towards > -0.3 * size:  # not only from the mean of its places
        return np.ones(len(flat), bool)
    return is_away == is_inside_out


@functools.lru_cache(maxsize=4)
def _sums(faces: bytes, num_vertices: int) -> csr_matrix:
    """(V, F): sums a value of faces at each vertex."""
    vertices = np.frombuffer(faces, np.int64)
    num = len(vertices) // 3
    ones = np.ones(3 * num, np.float32)
    return csr_matrix((ones, (vertices, np.repeat(np.arange(num), 3))), (num_vertices, num))


def _soft(values: np.ndarray, sigma: float) -> np.ndarray:
    """Channels (H, W, C), blurred and then divided by the last one, which is the cover: so only
    what is covered counts. Wide blurs are computed on fewer pixels."""
    height, width, _ = values.shape
    fewer = max(int(sigma / 2), 1)
    if fewer > 1:
        small = max(width // fewer, 1), max(height // fewer, 1)
        values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    values = cv2.GaussianBlur(values, (0, 0), sigma / fewer)
    if fewer > 1:
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return values / np.maximum(values[..., -1:], 1e-3)

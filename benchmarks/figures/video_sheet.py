"""A sheet of hands from a video: landmarks, the network's 2D joints, its mesh."""

import cv2
import numpy as np

from benchmarks.figures.draw_hand import draw_mesh, is_in_front
from deformer.data.augment import Draw, crop_to_input, warp_to_input
from deformer.hand.box import hand_box, tight_box
from deformer.hand.conventions import JOINT_PARENTS

_TILE = 240
_COLUMNS = 4
_ZOOM_IN = 4
"""Lines are drawn at this many times the size, to lie between pixels."""
_FINGER_RGB = ((230, 80, 80), (240, 190, 60), (80, 200, 90), (70, 150, 240), (200, 90, 220))
_WHITE = (255, 255, 255)


def draw_pair(
    image: np.ndarray,
    landmarks_px: np.ndarray,
    joints_px: np.ndarray,
    vertices_cam_m: np.ndarray,
    faces: np.ndarray,
    K: np.ndarray,
    label: str,
) -> np.ndarray:
    """The hand box of an image (H, W, 3) twice, side by side (240, 480, 3): landmarks in white and
    joints in the fingers' colours, (21, 2) each; the mesh (778, 3) seen by a camera K (3, 3)."""
    centre, side = hand_box(tight_box(landmarks_px))
    affine = crop_to_input(centre[None], side[None], Draw(), _TILE)[0]
    tile = warp_to_input(image, affine, _TILE)
    lines = tile.copy()
    for points, rgb in ((landmarks_px, (_WHITE,) * 5), (joints_px, _FINGER_RGB)):
        _draw_bones(lines, points @ affine[:2, :2].T + affine[:2, 2], rgb)
    cv2.putText(lines, label, (5, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WHITE, 1, cv2.LINE_AA)
    mesh = tile
    if is_in_front(vertices_cam_m):
        mesh = draw_mesh(tile, vertices_cam_m, faces, affine @ K, opacity=0.75)
    return np.concatenate([lines, mesh], 1)


def _draw_bones(image: np.ndarray, points_px: np.ndarray, finger_rgb: tuple) -> None:
    fixed = np.rint(np.clip(points_px, -1e3, 1e3) * 2**_ZOOM_IN).astype(int)
    for j, parent in enumerate(JOINT_PARENTS[1:], 1):
        ends = tuple(fixed[parent]), tuple(fixed[j])
        cv2.line(image, *ends, finger_rgb[(j - 1) // 4], 1, cv2.LINE_AA, _ZOOM_IN)


def as_sheet(pairs: list[np.ndarray]) -> np.ndarray:
    """Pictures of one size in rows of four; black where the last row has fewer."""
    pairs = pairs + [np.zeros_like(pairs[0])] * (-len(pairs) % _COLUMNS)
    rows = [np.concatenate(pairs[i : i + _COLUMNS], 1) for i in range(0, len(pairs), _COLUMNS)]
    return np.concatenate(rows)

"""How much of the hand is hidden: ray-cast silhouettes and ratios of pixels.

A pixel belongs to a mesh if the ray through its centre hits the mesh. The hand's amodal silhouette
A is that of the posed hand alone; the ratios are shares of A inside the image.
"""

import numpy as np

from deformer.hand.camera import project
from pipelines.datasets.source import GRASPED_OBJECT, HAND, OTHER_OBJECT, Mesh
from pipelines.rays import RayScene


def cast_depth(mesh: Mesh, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth z (height, width) float32 of a mesh seen by K, metres; inf where it is not hit.

    size: (width, height). Rays are cast only inside the box of the projected vertices.
    """
    width, height = size
    depth = np.full((height, width), np.inf, np.float32)
    x0, y0, x1, y1 = 0, 0, width, height
    if (mesh.vertices_cam_m[:, 2] > 0).all():
        x0, y0, x1, y1 = pixel_box(project(mesh.vertices_cam_m, K), size)
    if x0 >= x1 or y0 >= y1:
        return depth
    x, y = np.meshgrid(np.arange(x0, x1), np.arange(y0, y1))
    rays = pixel_rays(x.ravel(), y.ravel(), K)
    hits = RayScene([(mesh.vertices_cam_m, mesh.faces)]).cast(np.zeros(3), rays)
    depth[y0:y1, x0:x1] = np.where(hits.mesh < 0, np.inf, hits.depth).reshape(y1 - y0, x1 - x0)
    return depth


def pixel_box(points_px: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """First column and row, and those after the last, of the pixels between points (N, 2) in an
    image of `size` (width, height)."""
    x0, y0 = np.clip(np.floor(points_px.min(0)), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(points_px.max(0)) + 1, 0, size).astype(int)
    return x0, y0, x1, y1


def pixel_rays(x: np.ndarray, y: np.ndarray, K: np.ndarray) -> np.ndarray:
    """Directions (N, 3) through pixels x, y (N,), with z = 1: a distance along them is a depth."""
    down = (y - K[1, 2]) / K[1, 1]
    return np.stack([(x - K[0, 2] - K[0, 1] * down) / K[0, 0], down, np.ones(len(x))], -1)


def occlusion_from_segmentation(amodal: np.ndarray, segmentation: np.ndarray) -> dict[str, float]:
    """Ratios in [0, 1] from a segmentation of what is seen; both arrays (height, width).

    "occlusion": share of A where an object is in front; "occlusion_grasped": the same for the
    grasped object alone; "visibility": share of A where the hand is seen. NaN where A is empty.
    """
    counts = np.bincount(segmentation[amodal], minlength=256)
    area = counts.sum()
    codes = {
        "occlusion": (GRASPED_OBJECT, OTHER_OBJECT),
        "occlusion_grasped": (GRASPED_OBJECT,),
        "visibility": (HAND,),
    }
    return {
        name: counts[list(code)].sum() / area if area else np.nan for name, code in codes.items()
    }


def segmentation_from_depth(hand_depth: np.ndarray, object_depth: np.ndarray) -> np.ndarray:
    """What is seen where only the grasped object's mesh is known (HO-3D): the nearer one."""
    segmentation = np.zeros(hand_depth.shape, np.uint8)
    segmentation[np.isfinite(hand_depth)] = HAND
    segmentation[object_depth < hand_depth] = GRASPED_OBJECT
    return segmentation

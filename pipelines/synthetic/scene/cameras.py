"""Cameras: DexYCB's rig of eight around the table, and HO-3D's camera in front of the hand.

World frame: the table's top is z = 0, z up, the person sits at −y and looks along +y; metres.
"""

from dataclasses import dataclass

import numpy as np

from deformer.data.official import SERIALS

MASTER_SERIAL = "840412060917"
"""The camera whose frame DexYCB's calibration calls the world."""

# Per serial: direction from the table (degrees from +x), height above it (degrees), distance (m).
_RIG = (
    (148.0, 13.0, 0.86),
    (24.0, 33.0, 0.80),
    (88.0, 32.0, 0.90),
    (52.0, 16.0, 0.78),
    (122.0, 46.0, 0.84),
    (-14.0, 24.0, 0.76),
    (-166.0, 38.0, 0.82),
    (-52.0, 52.0, 0.92),
)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: x_camera = rotation @ x_world + translation_m; x right, y down."""

    name: str
    K: np.ndarray  # (3, 3)
    rotation: np.ndarray  # (3, 3)
    translation_m: np.ndarray  # (3,)

    @property
    def center_m(self) -> np.ndarray:
        """Where the camera is in the world, (3,)."""
        return -self.rotation.T @ self.translation_m

    def to_camera(self, points_m: np.ndarray) -> np.ndarray:
        """World → camera frame, (..., 3)."""
        return points_m @ self.rotation.T + self.translation_m

    def to_pixels(self, points_m: np.ndarray) -> np.ndarray:
        """World → pixels (..., 2)."""
        image = self.to_camera(points_m) @ self.K.T
        return image[..., :2] / np.maximum(image[..., 2:], 1e-6)

    def ray_directions(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) → directions in the world (N, 3) with unit depth along the optical axis."""
        x, y = np.ascontiguousarray(np.asarray(pixels, np.float32).T)
        return self._rays(x, y)

    def ray_grid(self, width: int, height: int, step: int = 1) -> np.ndarray:
        """`ray_directions` of every step-th pixel, (rows, columns, 3)."""
        x, y = (np.arange(0, size, step, dtype=np.float32) for size in (width, height))
        return self._rays(x, y[:, None])

    def _rays(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        turn = np.linalg.inv(self.K).T @ self.rotation
        return np.stack([a * x + b * y + c for a, b, c in turn.astype(np.float32).T], -1)


def intrinsics(name: str, focal_px: float = 616.0) -> np.ndarray:
    """The fixed K of a camera: a RealSense's, a little different for every name."""
    rng = np.random.default_rng(list(name.encode()))
    fx = focal_px + rng.uniform(-4, 4)
    fy = fx + rng.uniform(-0.5, 0.5)
    cx, cy = 316.0 + rng.uniform(-9, 9), 242.0 + rng.uniform(-8, 8)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


def looking_along(forward: np.ndarray, roll_rad: float) -> np.ndarray:
    """A world-to-camera rotation (3, 3) with the optical axis along `forward` (3,)."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0] if abs(forward[2]) < 0.98 else [1.0, 0, 0])
    right /= np.linalg.norm(right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    roll = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return roll @ np.stack([right, np.cross(forward, right), forward])


def look_at(name: str, center_m: np.ndarray, target_m: np.ndarray, roll_rad: float) -> Camera:
    """A camera at `center_m` that has `target_m` in the middle of its view."""
    rotation = looking_along(target_m - center_m, roll_rad)
    return Camera(name, intrinsics(name, 616.0), rotation, -rotation @ center_m)


USUAL_MIDDLE_M = np.array([0.0, -0.01, 0.09])
"""The point that the drawn rig looks at."""


def rig(rng: np.random.Generator, middle_m: np.ndarray = USUAL_MIDDLE_M) -> list[Camera]:
    """DexYCB's eight cameras; each subject's rig differs by some centimetres.

    middle_m (3,): the point near which each camera looks.
    """
    cameras = []
    for serial, (usual_azimuth, usual_elevation, usual_distance) in zip(SERIALS, _RIG, strict=True):
        azimuth = np.deg2rad(usual_azimuth + rng.uniform(-6, 6))
        elevation = np.deg2rad(usual_elevation + rng.uniform(-3, 3))
        distance = usual_distance * rng.uniform(0.9, 1.12)
        flat = np.cos(elevation)
        offset = np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)])
        target = middle_m + rng.uniform(-0.035, 0.035, 3)
        cameras.append(look_at(serial, target + offset * distance, target, rng.normal(0, 0.03)))
    return cameras


def table_camera(name: str, rng: np.random.Generator) -> Camera:
    """HO-3D's camera: close, in front of the person or at a side, as high as the hand."""
    ahead, right, left = rng.uniform(20, 160), rng.uniform(-40, 20), rng.uniform(160, 215)
    azimuth = np.deg2rad(rng.choice([ahead, right, left]))
    elevation, distance = np.deg2rad(rng.uniform(8, 40)), rng.uniform(0.46, 0.66)
    flat = np.cos(elevation)
    offset = np.array([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(elevation)])
    target = np.array([0.0, -0.02, 0.17]) + rng.uniform(-0.03, 0.03, 3)
    return look_at(name, target + offset * distance, target, rng.normal(0, 0.05))

"""Cameras of varied scenes: any direction, distance, lens and roll, steady or hand-held."""

import numpy as np
from scipy.spatial.transform import Rotation

from pipelines.synthetic.hand.motion import smooth_noise
from pipelines.synthetic.scene.cameras import Camera, looking_along
from pipelines.synthetic.scene.scene import Scene

_SIZES = ((368, 288), (320, 320), (288, 368), (352, 256), (336, 288))
_HAND_M = 0.17
_CLEAR_M = 0.14
_TRIES = 30


def image_size(rng: np.random.Generator) -> tuple[int, int]:
    """(width, height), px: wide, square or tall."""
    return _SIZES[int(rng.integers(len(_SIZES)))]


def draw_cameras(
    rng: np.random.Generator,
    name: str,
    scene: Scene,
    times: np.ndarray,
    solid_m: np.ndarray,
    size: tuple[int, int],
) -> list[Camera]:
    """One camera's poses at times (T,); solid_m (N, 3): points that it keeps away from."""
    width, height = size
    hand_px = np.exp(rng.uniform(np.log(65), np.log(250)))
    focal = width * np.exp(rng.uniform(np.log(0.6), np.log(2.0)))
    distance = float(np.clip(focal * _HAND_M / hand_px, 0.25, 1.5))
    focal = float(np.clip(hand_px * distance / _HAND_M, 0.6 * width, 2.0 * width))
    middle = np.array([width, height]) * (0.5 + rng.normal(0, 0.025, 2))
    other = focal * rng.uniform(0.99, 1.01)
    K = np.array([[focal, 0, middle[0]], [0, other, middle[1]], [0, 0, 1.0]])
    target = scene.tracks[0].wrist_m.mean(0) - 0.08 * scene.tracks[0].elbow
    center = _place(rng, scene, solid_m, target, distance)
    room = np.maximum(np.array([width, height]) / 2 - 0.6 * hand_px, 4)
    if rng.random() < 0.12:  # maybe partly out of the picture
        room = np.array([width, height]) / 2
    spot = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * room
    ray = np.linalg.solve(K, [*spot, 1.0])
    base = _aim(rng, target - center, ray)
    steady = rng.random() < 0.45
    shake = 0.0 if steady else np.exp(rng.uniform(np.log(0.1), np.log(1.2)))
    tremble = smooth_noise(rng, times, 3, 14) * 0.03 * shake
    sway = smooth_noise(rng, times, 3, 25) * 0.02 * shake
    cameras = []
    for turn, shift in zip(Rotation.from_rotvec(tremble).as_matrix(), sway, strict=True):
        rotation = turn @ base
        cameras.append(Camera(name, K, rotation, -rotation @ (center + shift)))
    return cameras


def _place(rng, scene: Scene, solid_m, target: np.ndarray, distance: float) -> np.ndarray:
    """The camera's place: over the shoulder, or anywhere that is clear and not below a table."""
    elbow, best = scene.tracks[0].elbow, None
    for _ in range(_TRIES):
        if rng.random() < 0.35:  # the person's own eyes
            direction = elbow * rng.uniform(0.2, 1.0) + [0, 0, rng.uniform(0.4, 1.3)]
            direction = direction + rng.normal(0, 0.3, 3)
        else:
            direction = rng.standard_normal(3)
        center = target + direction / np.linalg.norm(direction) * distance
        clear = np.linalg.norm(solid_m - center, axis=1).min()
        if scene.ground_m is not None:
            clear = min(clear, 2 * (center[2] - scene.ground_m))
        if best is None or clear > best[0]:
            best = clear, center
        if clear > _CLEAR_M:
            return center
    return best[1]


def _aim(rng, forward: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """A rotation (3, 3), world to camera, that sees `forward` along `ray`, at any roll."""
    roll = rng.normal(0, 0.15) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    tilt, _ = Rotation.align_vectors([ray / np.linalg.norm(ray)], [[0, 0, 1.0]])
    return tilt.as_matrix() @ looking_along(forward, roll)

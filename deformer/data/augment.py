"""Augmentation: one draw for a whole window; geometry on the CPU, colours on the training device.

Geometry is part of the one affine warp from the stored crop to the network's input, and the labels
follow it: rotating the image by φ rotates the hand by φ about the camera's axis; shift and scale go
into the intrinsics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import cos, pi, radians, sin

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

NUM_PHOTOMETRIC = 5
_MAX_BLUR = 1.5
_BLUR_RADIUS = 3


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of uniform draws. The defaults are the paper's; all 0 means no augmentation."""

    rotation_deg: float = 180.0
    scale: float = 0.2
    """The window's side is multiplied by 1 − scale … 1 + scale."""
    shift: float = 0.1
    """The window's centre moves by up to this share of the hand box's side, along each axis."""
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    """Factors of 1 − value … 1 + value, like the two above."""
    hue: float = 0.15
    """Turns of the colour circle."""
    blur: float = 1.0
    """Largest standard deviation of a Gaussian blur, px of the input."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = {"rotation_deg": 180.0, "hue": 0.5, "blur": _MAX_BLUR}.get(field.name, 0.99)
            if not 0 <= value <= most:
                raise ValueError(f"augment.{field.name} is {value}, must lie in [0, {most}]")


NO_AUGMENTATION = AugmentConfig(*[0.0] * len(fields(AugmentConfig)))


@dataclass(frozen=True)
class Draw:
    """One window's augmentation."""

    angle: float = 0.0
    """Radians, clockwise on the screen (x right, y down)."""
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    photometric: tuple[float, ...] = (1.0, 1.0, 1.0, 0.0, 0.0)
    """Brightness, contrast and saturation factors, hue in turns, blur in px."""


def draw(config: AugmentConfig, rng: np.random.Generator) -> Draw:
    """Draw an augmentation. The same number of random values is used whatever the ranges."""
    u = rng.uniform(-1, 1, 4 + NUM_PHOTOMETRIC)
    factors = 1 + u[4:7] * [config.brightness, config.contrast, config.saturation]
    return Draw(
        angle=radians(config.rotation_deg) * u[0],
        scale=1 + config.scale * u[1],
        shift=(config.shift * u[2], config.shift * u[3]),
        # half of the windows are not blurred
        photometric=(*factors.tolist(), config.hue * u[7], config.blur * max(0.0, u[8])),
    )


# --------------------------------------------------------------------------------------- geometry


def rotation_about_z(angle: float) -> np.ndarray:
    """(3, 3): turns x towards y, which is clockwise on the screen and about the viewing axis."""
    return np.array([[cos(angle), -sin(angle), 0], [sin(angle), cos(angle), 0], [0, 0, 1]])


def crop_to_input(centre_px: np.ndarray, side_px: np.ndarray, drawn: Draw, size: int) -> np.ndarray:
    """Affine maps (F, 3, 3) from px of the crops to px of the square input of `size`.

    centre_px (F, 2), side_px (F,): the hand boxes, one per frame. Pixel centres are at integers,
    so the input spans −0.5 … size − 0.5.
    """
    centre = centre_px + side_px[:, None] * np.array(drawn.shift)
    zoom = size / (side_px * drawn.scale)
    affine = np.tile(rotation_about_z(drawn.angle), (len(side_px), 1, 1))
    affine[:, :2, :2] *= zoom[:, None, None]
    turned = affine[:, :2, :2] @ centre[..., None]
    affine[:, :2, 2] = (size - 1) / 2 - turned[..., 0]
    return affine


def warp_to_input(
    image: np.ndarray, affine: np.ndarray, size: int, interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """Warp an image (H, W, C) or (H, W) by an affine map (3, 3) of `crop_to_input` to the square
    input (size, size, C) or (size, size). Pixels outside the image are 0."""
    return cv2.warpAffine(image, affine[:2], (size, size), flags=interpolation)


def turn_intrinsics(K: np.ndarray, affine: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Intrinsics (…, 3, 3) that project the turned hand onto the input.

    affine (…, 3, 3): of `crop_to_input`; turn (…, 3, 3): the hand's `rotation_about_z`. With
    unequal focal lengths the result has a skew.
    """
    return affine @ K @ turn.swapaxes(-1, -2)


def turn_pose(pose_rotvec: np.ndarray, angles: Sequence[float]) -> np.ndarray:
    """Turn the global rotations of poses (B, T, 48), axis-angle, about the camera's axis, by one
    angle per window (B,)."""
    turned, rotvec = pose_rotvec.copy(), pose_rotvec[..., :3]
    angle = np.broadcast_to(np.array(angles)[:, None], rotvec.shape[:2])
    is_turned = (angle != 0) & ~np.isnan(rotvec).any(-1)
    if is_turned.any():
        turns = Rotation.from_rotvec(angle[is_turned, None] * [0, 0, 1])
        turned[is_turned, :3] = (turns * Rotation.from_rotvec(rotvec[is_turned])).as_rotvec()
    return turned


# ----------------------------------------------------------------------------------------- colours


def adjust_colours(images: Tensor, photometric: Tensor) -> Tensor:
    """Photometric augmentation of a batch of windows, each by its own draw.

    images (B, T, 3, H, W) float in [0, 1], photometric (B, 5) as in `Draw` → images likewise.
    A neutral draw changes a window by rounding only.
    """
    brightness, contrast, saturation, hue, blur = (
        value[:, None, None, None, None] for value in photometric.to(images).unbind(1)
    )
    x = images * brightness
    grey = _luma(x)
    x = (x - grey.mean((-3, -2, -1), keepdim=True)) * contrast + grey.mean((-3, -2, -1), True)
    grey = _luma(x)
    x = (x - grey) * saturation + grey
    x = _turn_hue(x, hue)
    return _blur(x, blur.flatten()).clamp(0, 1)


_LUMA = (0.299, 0.587, 0.114)


def _luma(images: Tensor) -> Tensor:
    channels = images.split(1, -3)
    return sum(weight * channel for weight, channel in zip(_LUMA, channels, strict=True))


def _turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn colours about the axis of greys: linear, unlike HSV's hue, but it looks alike."""
    angle = turns.flatten() * (2 * pi)
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    eye = torch.eye(3, device=images.device, dtype=images.dtype)
    third = torch.full_like(eye, 1 / 3)
    cross = (eye.roll(1, 0) - eye.roll(-1, 0)) / 3**0.5
    matrix = c * eye + (1 - c) * third + s * cross  # (B, 3, 3)
    return torch.einsum("bij,btjhw->btihw", matrix, images)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian blur by one standard deviation (B,) per window."""
    r = _BLUR_RADIUS
    steps = torch.arange(-r, r + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None].clamp(min=0.05)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)  # (B, 2r + 1)
    B, T, C, H, W = images.shape
    x = images.permute(1, 2, 0, 3, 4).reshape(T * C, B, H, W)  # one group per window
    x = functional.pad(x, (r, r, r, r), mode="reflect")
    x = functional.conv2d(x, kernel[:, None, None, :], groups=B)
    x = functional.conv2d(x, kernel[:, None, :, None], groups=B)
    return x.reshape(T, C, B, H, W).permute(2, 0, 1, 3, 4)

"""What a camera makes of light: defocus, shake, low resolution, colour, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from deformer.files.images import encode_jpeg
from pipelines.synthetic.render.film import tone_curves
from pipelines.synthetic.render.layer import line_kernel

_TILE_ROOM = 64


@dataclass(frozen=True, eq=False)
class Lens:
    """Of one camera in one sequence. sigma_px: of all blur; scale: of the resolution, 1 for all;
    shake_px (2,): of the camera, in part of the frames; table (256, 3): tone curves in BGR; mix
    (3, 3): of the colours; shading: how much darker corners are; noise (h, w, 3): a sheet of it;
    quality: of the JPEG."""

    sigma_px: float
    scale: float
    shake_px: np.ndarray
    shutter: float
    table: np.ndarray
    mix: np.ndarray
    shading: np.ndarray
    noise: np.ndarray
    quality: int


def draw_lens(rng: np.random.Generator, size: tuple[int, int]) -> Lens:
    """A phone, a webcam, a good camera, a bad one."""
    width, height = size
    sigma = rng.choice([rng.uniform(0.38, 0.75), rng.uniform(0.75, 2.4)], p=[0.82, 0.18])
    scale = rng.choice([1.0, rng.uniform(0.3, 0.8)], p=[0.86, 0.14])
    shake = rng.normal(0, 1, 2) * rng.uniform(0.5, 5) * (rng.random() < 0.2)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    shading = (1 - rng.uniform(0, 0.22) * (x * x + y * y) / 2).astype(np.float32)
    return Lens(
        sigma,
        scale,
        shake,
        rng.uniform(0.05, 0.7),
        _tone_curves(rng),
        _colour_mix(rng),
        cv2.merge([shading] * 3),
        _noise_sheet(rng, size),
        round(40 + 55 * rng.beta(2, 1.2)),
    )


def _tone_curves(rng) -> np.ndarray:
    gain = np.exp2(rng.choice([rng.normal(0.35, 0.35), rng.uniform(-1.5, 1.2)], p=[0.7, 0.3]))
    balance, gamma = np.exp(rng.normal(0, 0.07, 3)), np.exp(rng.normal(0, 0.12))
    contrast, low = rng.normal(0.2, 0.25), rng.uniform(0, 0.06)
    return tone_curves(gain * balance, gamma, contrast, low, 1 - rng.uniform(0, 0.04))


def _colour_mix(rng) -> np.ndarray:
    """Saturation, now and then none, (3, 3)."""
    saturation = 0.0 if rng.random() < 0.03 else rng.normal(1.0, 0.22)
    grey = np.array([[0.114, 0.587, 0.299]]).repeat(3, 0)
    return (grey + max(saturation, 0) * (np.eye(3) - grey)).astype(np.float32)


def _noise_sheet(rng, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    strength = np.exp(rng.uniform(np.log(0.3), np.log(6)))
    shape = (height + _TILE_ROOM, width + _TILE_ROOM)
    grey = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.7) * 2
    hue = cv2.resize(
        rng.standard_normal((shape[0] // 2, shape[1] // 2, 3), np.float32), shape[::-1]
    )
    sheet = strength * (0.8 * grey[..., None] + rng.uniform(0.2, 0.8) * hue)
    return np.clip(np.round(sheet), -90, 90).astype(np.int16)


def photograph(lens: Lens, image: np.ndarray, rng: np.random.Generator) -> bytes:
    """A drawn picture (H, W, 3) uint8 → a JPEG file."""
    height, width = image.shape[:2]
    shake = lens.shake_px * rng.random()
    if np.hypot(*shake) > 1:
        image = cv2.filter2D(image, -1, line_kernel(shake), borderType=cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(image, (0, 0), lens.sigma_px)
    image = cv2.LUT(image, lens.table)
    image = cv2.multiply(image, lens.shading, dtype=cv2.CV_8U)
    image = cv2.transform(image, lens.mix)
    x, y = rng.integers(0, _TILE_ROOM, 2)
    noise = lens.noise[y : y + height, x : x + width]
    if lens.scale < 1:
        small = (round(width * lens.scale), round(height * lens.scale))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.add(image, np.ascontiguousarray(noise[: small[1], : small[0]]), dtype=cv2.CV_8U)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    else:
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    return encode_jpeg(image, lens.quality)

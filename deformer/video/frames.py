"""Videos read frame by frame, and written.

    for path in find_videos("recordings"):
        video = Video(path)
        for frame in video:
            print(frame.index, frame.time_s, frame.image_rgb.shape)
        print(video.fault or "whole")

FFmpeg reads videos, by PyAV; OpenCV reads pictures.
"""

import glob
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from deformer.files.foreign import UnreadableFileError, describe_fault
from deformer.files.image_headers import TooLargeError, image_size
from deformer.files.images import decode_upright
from deformer.files.patient import (
    entries,
    is_file,
    is_folder,
    open_file,
    read_file,
    status,
)
from deformer.files.whole import whole_file
from deformer.video.ffmpeg import Converter, decoded, opened_video, video_stream

VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".gif", ".h264", ".h265", ".hevc", ".mjpeg", ".y4m"),
)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_OURS = ".hands.mp4"
ASSUMED_FPS = 30.0
"""Of pictures, and of videos that say nothing."""
_HEAD_BYTES = 1 << 16
"""Of a picture, in which its size stands almost always."""
_TAIL_S = 0.5
"""Sound may last this much longer than the pictures of a whole video."""
_TICKS = 90_000
"""Unit of time in written videos, per second."""
_BT709 = 1


# ------------------------------------------------------------------------------------- which videos


def find_videos(source: str) -> list[Path]:
    """The videos that a file, a folder or a pattern such as `clips/*.mp4` names, in natural order.

    A folder of pictures of one size is one video. Pictures of several sizes, and pictures that a
    pattern names, are videos of one frame each. What is neither in a folder of videos is left out,
    which a warning says. Raises `FileNotFoundError` when nothing is found.
    """
    path = Path(source)
    if is_file(path):
        return [path]
    if is_folder(path):
        return _videos_of(path)
    # pathlib takes no absolute patterns
    named = [Path(name) for name in glob.glob(source, recursive=True)]  # noqa: PTH207
    files = sorted((p for p in named if p.suffix.lower() in VIDEOS + PICTURES), key=_natural)
    files = [p for p in files if is_file(p) and not p.name.endswith(_OURS)]
    folders = sorted((p for p in named if is_folder(p)), key=_natural)
    videos = files + [video for folder in folders for video in _videos_of(folder)]
    if not videos:
        raise FileNotFoundError(
            f"{source}: there is no such file, folder, or video of this pattern"
        )
    return videos


def _videos_of(folder: Path) -> list[Path]:
    there = [p for p in entries(folder) if p.name[0] != "." and not p.name.endswith(_OURS)]
    videos = sorted((p for p in there if _is_file_of(p, VIDEOS)), key=_natural)
    pictures = _pictures_of(folder)
    if not (videos or pictures):
        raise FileNotFoundError(
            f"{folder} holds neither a video ({' '.join(VIDEOS[:4])} …) nor a picture "
            f"({' '.join(PICTURES[:3])} …): name another folder, or a file"
        )
    stray = sorted(p.name for p in set(there) - set(videos or pictures))
    if stray:
        more = f" and {len(stray) - 3} more" if len(stray) > 3 else ""
        logging.warning(f"left out of {folder}: {', '.join(stray[:3])}{more}")
    if videos:
        return videos
    return [folder] if len({_stored_size(p) for p in pictures}) == 1 else pictures


def _pictures_of(folder: Path) -> list[Path]:
    visible = [p for p in entries(folder) if p.name[0] != "." and _is_file_of(p, PICTURES)]
    return sorted(visible, key=_natural)


def _is_file_of(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.suffix.lower() in suffixes and is_file(path)


def _natural(path: Path) -> tuple:
    """Sorts frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return tuple(int(part) if k % 2 else part for k, part in enumerate(parts))


def _stored_size(picture: Path) -> tuple[int, int] | None:
    try:
        with open_file(picture) as file:
            head = file.read(_HEAD_BYTES)
            try:
                return image_size(head)
            except ValueError:  # which may stand farther behind
                return image_size(head + file.read())
    except ValueError:
        return None  # reading it says why


# ------------------------------------------------------------------------------------------ reading


class VideoInfo(NamedTuple):
    name: str
    """Of the file, or of the folder of pictures."""
    fps: float
    """Average; without time stamps the rate by which frames are timed."""
    width: int
    height: int
    """Upright."""
    num_frames: int | None
    """As the file says, before it is read; None where it does not."""
    is_timed: bool
    """Whether the frames have time stamps."""


class VideoFrame(NamedTuple):
    index: int
    time_s: float
    """From the first frame, rising."""
    image_rgb: np.ndarray
    """(H, W, 3) uint8, upright. Frames of another size are scaled to the first one's."""


class Video:
    """A video file, a picture, or a folder of pictures; each iteration reads it from its beginning.

    Frames are turned upright by the rotation that phones write. Their times are the file's;
    without time stamps, or where these do not rise, a frame comes 1 / fps after the one before.
    Frames that cannot be decoded are missing, and `fault` says so.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        """fps: of a source without time stamps; by default what the file says, or 30.

        Raises `FileNotFoundError` for a missing file, `UnreadableFileError` when no frame of it can
        be read.
        """
        if not (is_file(path) or is_folder(path)):
            if path.exists():  # opening one may wait for ever
                raise UnreadableFileError(f"{path} is a pipe, a socket or a device: name a file")
            raise FileNotFoundError(f"{path}: there is no such video")
        self.path = path
        self._faults: list[str] = []
        with closing(self._stored()) as frames:
            first = next(frames, None)
        if first is None:
            raise UnreadableFileError(self.fault or f"{path} holds no frame: name a video")
        is_timed = first.time_s is not None
        rate = float((None if is_timed else fps) or first.fps or ASSUMED_FPS)
        height, width, _ = first.image_rgb.shape
        self.info = VideoInfo(path.name, rate, width, height, first.num_frames, is_timed)

    @property
    def fault(self) -> str | None:
        """What is wrong with the file, in one line; known after it was read to its end."""
        more = f" (and {len(self._faults) - 1} more like it)" if len(self._faults) > 1 else ""
        return self._faults[0] + more if self._faults else None

    def __iter__(self) -> Iterator[VideoFrame]:
        info, time_s, first_s = self.info, 0.0, None
        for index, (image, stamp_s, *_) in enumerate(self._stored()):
            first_s = stamp_s if index == 0 else first_s
            if not info.is_timed:
                time_s = index / info.fps
            elif index:
                is_rising = stamp_s is not None and stamp_s - first_s > time_s
                time_s = stamp_s - first_s if is_rising else time_s + 1 / info.fps
            yield VideoFrame(index, time_s, _sized(image, (info.width, info.height)))

    def _stored(self) -> Iterator["_Stored"]:
        self._faults.clear()
        if is_folder(self.path):
            return _read_pictures(_pictures_of(self.path), self._faults)
        if _is_file_of(self.path, PICTURES):
            return _read_pictures([self.path], self._faults)
        return _read_file(self.path, self._faults)


def _sized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class _Stored(NamedTuple):
    """A frame, and what its file says."""

    image_rgb: np.ndarray
    time_s: float | None
    fps: float | None
    num_frames: int | None


def _read_pictures(paths: list[Path], faults: list[str]) -> Iterator[_Stored]:
    for path in paths:
        data = read_file(path)
        try:
            yield _Stored(decode_upright(data), None, None, len(paths))
        except TooLargeError as error:
            faults.append(f"{path} is not read: {error}")
        except ValueError as error:
            faults.append(f"{path} is no whole picture: {describe_fault(data, error, data[:3])}")


def _read_file(path: Path, faults: list[str]) -> Iterator[_Stored]:
    with opened_video(path) as container:
        stream = video_stream(container, path)
        rate, rgb = stream.average_rate or stream.guessed_rate, Converter()
        num_bad = num_frames = 0
        end_s = 0.0
        for frame in decoded(container, stream):
            if frame is None:
                num_bad += 1
                continue
            num_frames += 1
            if frame.time is not None:
                lasts = frame.duration * frame.time_base or (1 / rate if rate else 0)
                end_s = max(end_s, frame.time + float(lasts))
            yield _Stored(rgb(frame), frame.time, rate, stream.frames or None)
        begin, length = (
            (value or 0) / av.time_base for value in (container.start_time, container.duration)
        )
        is_short = num_frames > 0 and end_s and end_s - begin < length - _TAIL_S
        # FFmpeg decodes the rest of a cut packet by chance; transport streams have whole ones
        size, is_ts = status(path).st_size, container.format.name == "mpegts"
        if num_bad or is_short or (is_ts and all(size % packet for packet in (188, 192, 204))):
            found = f"{num_bad} of its packets are damaged; " if num_bad else ""
            found += f"its header says {length:.1f} s; " if is_short else ""
            faults.append(f"{path} is damaged or cut off: {found}{num_frames} frames could be read")


# ------------------------------------------------------------------------------------------ writing


@contextmanager
def video_writer(
    path: Path, fps: float, size: tuple[int, int], keyframe_every: int = 250
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Write an mp4 that browsers play: H.264, 4:2:0, its index first. Whole or not at all.

    Gives a function of an image (H, W, 3) uint8 and its time in seconds, which rises. size: (width,
    height) of the images; odd ones get a pixel more. keyframe_every: as many frames at
    most are decoded to reach one. Raises `NoRoomError` when the disk is full.
    """
    width, height = size
    right, below = width % 2, height % 2
    with (
        whole_file(path) as file,
        # by its path, because the index is put first by reading the file again
        av.open(file.name, "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width + right, height + below, "yuv420p"
        stream.options = {"preset": "superfast", "crf": "22"}
        context = stream.codec_context
        context.gop_size = keyframe_every
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        reformatter = VideoReformatter()

        def write(image_rgb: np.ndarray, time_s: float) -> None:
            if right or below:
                border = 0, below, 0, right
                image_rgb = cv2.copyMakeBorder(image_rgb, *border, cv2.BORDER_REPLICATE)
            frame = reformatter.reformat(
                av.VideoFrame.from_ndarray(image_rgb, "rgb24"), format="yuv420p",
                dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
            )  # fmt: skip
            frame.pts, frame.time_base = round(time_s * _TICKS), context.time_base
            container.mux(stream.encode(frame))

        yield write
        container.mux(stream.encode())

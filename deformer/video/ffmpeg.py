"""Video files as FFmpeg reads them: which are opened, and what may be wrong with them.

A video comes from anywhere, and FFmpeg knows formats that are lists of other files and of addresses
(playlists, `ffconcat`, SDP). So only formats that hold their own pictures are opened, and nothing
but the file itself. What a frame, and any other thing in a file, may take in memory is limited.
"""

import ctypes
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import av._core
import cv2
import numpy as np
from av.video.reformatter import ColorTrc, VideoReformatter

from deformer.files.foreign import UnreadableFileError, describe_fault, known_fault
from deformer.files.patient import open_file

MOST_PIXELS = 36_000_000
"""Of a frame: 8K has 33 million. The decoder keeps up to 17 frames."""
FORMATS = (
    *("mov", "matroska", "avi", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg", "gif", "ivf"),
    *("h264", "hevc", "vvc", "av1", "obu", "m4v", "mjpeg", "jpeg_pipe", "yuv4mpegpipe", "mxf"),
    *("nut", "dv", "rm", "h263", "apng", "wtv"),
)
"""Of FFmpeg."""
_REFUSED = "it is damaged, or of a format that is not read: convert it to mp4"
_HEAD_BYTES = 1 << 20
_MOST_BLOCK = 1 << 28
"""Bytes that FFmpeg may take at once. A file of a few bytes may claim an index of gigabytes."""

# PyAV does not offer it, but the FFmpeg that it has loaded does
ctypes.CDLL(av._core.__file__).av_max_alloc(ctypes.c_size_t(_MOST_BLOCK))


class _File:
    """What PyAV needs of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        """Negative, which is FFmpeg's way to say it, for a place that no file has."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


@contextmanager
def opened_video(path: Path) -> Iterator[av.container.InputContainer]:
    """A video file for reading. Raises `UnreadableFileError` for what is none.

    Opened as a file object, because FFmpeg would take "name:" in a path for a protocol.
    """
    with open_file(path) as file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        if not head:
            raise UnreadableFileError(f"{path} is no video: {describe_fault(head)}")
        allowed = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
        limits = {"max_pixels": str(MOST_PIXELS)}
        try:
            container = av.open(
                _File(file), metadata_errors="replace", container_options=allowed, options=limits
            )
        except av.error.FFmpegError as error:
            is_refused = isinstance(error, av.error.ArgumentError)
            said = describe_fault(head, error.strerror)
            fault = known_fault(head) or _REFUSED if is_refused else said
            raise UnreadableFileError(f"{path} is no video: {fault}") from None
        with container:
            yield container


def video_stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    """The stream of pictures. Raises `UnreadableFileError` if there is none that can be decoded."""
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        raise UnreadableFileError(f"{path} holds no pictures: name a video")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MOST_PIXELS:
        raise UnreadableFileError(
            f"{path} has frames of {width} × {height} px, and frames of up to {MOST_PIXELS:,} px "
            "are read: scale it down"
        )
    stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
    return stream


def decoded(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame | None]:
    """The frames; None for each damaged packet or frame. Slices, not frames, are decoded in
    parallel: so the same frames come out of a damaged file each time."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except av.error.FFmpegError:
            yield None
            continue
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            yield None
        yield from frames


class Converter:
    """Frames of any format → RGB (H, W, 3) uint8, upright."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        image = self._reformatter.reformat(frame, format="rgb24").to_ndarray()
        if frame.color_trc == ColorTrc.SMPTE2084:
            image = cv2.LUT(image, _PQ_TO_SDR)
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _pq_to_sdr() -> np.ndarray:
    """Table (256,) of HDR10's codes as a screen shows them whose white has 203 cd/m² (ITU-R
    BT.2408). FFmpeg's own conversion prepares for 12 s. HLG is made to be shown as it is."""
    m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128  # SMPTE ST 2084
    power = np.linspace(0, 1, 256) ** (1 / m2)
    light = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return np.rint(255 * np.minimum(light / 203, 1) ** (1 / 2.2)).astype(np.uint8)


_PQ_TO_SDR = _pq_to_sdr()

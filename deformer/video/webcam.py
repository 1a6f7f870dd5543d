"""A webcam, recorded to a file."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from deformer.video.frames import ASSUMED_FPS, video_writer


def record(number: int, path: Path, seconds: float | None = None) -> int:
    """Record a webcam until Ctrl-C, or for so many seconds. Returns the number of frames.

    Raises `ValueError` when the webcam gives no picture.
    """
    camera = cv2.VideoCapture(number)
    try:
        images = _images(camera, seconds)
        first = next(images, None)
        if first is None:
            raise ValueError(
                f"webcam {number} gives no picture: give another number, or name a video"
            )
        return _write(path, camera.get(cv2.CAP_PROP_FPS) or ASSUMED_FPS, first, images)
    finally:
        camera.release()


def _images(camera: cv2.VideoCapture, seconds: float | None) -> Iterator[tuple[np.ndarray, float]]:
    """RGB images and their times."""
    begin, time_s = None, 0.0
    while seconds is None or time_s < seconds:
        ok, image = camera.read()
        if not ok:
            return
        now = time.monotonic()
        begin = now if begin is None else begin
        time_s = now - begin
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time_s


def _write(
    path: Path, fps: float, first: tuple[np.ndarray, float],
    images: Iterator[tuple[np.ndarray, float]],
) -> int:  # fmt: skip
    height, width, _ = first[0].shape
    with video_writer(path, fps, (width, height)) as write:
        write(*first)
        num_frames = 1
        try:
            for image, time_s in images:
                write(image, time_s)
                num_frames += 1
        except KeyboardInterrupt:
            print(file=sys.stderr)  # after ^C
    return num_frames

"""Hands that are made up, seen in a video that is, instead of by MediaPipe."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deformer.video.detect import Detection
from deformer.video.hands import SeenHands
from tests.deformer.small_runs import VERY_SMALL

SIZE = VERY_SMALL.stream.size


def hand(x: float, y: float, side: str = "right", score: float = 0.9) -> Detection:
    """A hand of 40 px around a place."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (21, 2))
    points[:2] = [[-20, -20], [20, 20]]
    return Detection(side, score, points + [x, y])


def seen_hands(frames: list[int], is_left: list[bool], num_frames: int, **more) -> SeenHands:
    n = len(frames)
    landmarks = np.stack([hand(60, 50).landmarks_px] * n)
    inputs = np.random.default_rng(1).integers(0, 255, (n, SIZE, SIZE, 3), np.uint8)
    values = np.array(frames), np.array(is_left), landmarks, inputs
    return replace(SeenHands(*values, (160, 120), num_frames, 0), **more)


def write_video(folder: Path) -> Path:
    """Five frames at 20 per second, each of one grey."""
    path = folder / "vidéo of hands.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (160, 120))
    for k in range(5):
        writer.write(np.full((120, 160, 3), 40 * k, np.uint8))
    writer.release()
    return path


class FakeDetector:
    """Two hands in every frame but the fourth, one of them beyond the image in the first."""

    def __init__(self, mode: str) -> None:
        assert mode == "video"
        self.times: list[float] = []

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        assert self.times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])

    def detect(self, image: np.ndarray, time_s: float) -> list[Detection]:
        self.times.append(time_s)
        k = len(self.times) - 1
        assert abs(int(image.mean()) - 40 * k) <= 2
        return [] if k == 3 else [hand(10 if k == 0 else 50, 50), hand(100, 60, "left")]

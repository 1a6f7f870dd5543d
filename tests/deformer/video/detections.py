"""Detections of hands as MediaPipe gives them, made up: every hand is known, and so are the faults
of the detector."""

from dataclasses import dataclass, field

import numpy as np

from deformer.hand.conventions import SIDES
from deformer.video.detect import Detection

IMAGE_WH = (640, 480)
FPS = 30.0
_ANGLES = np.radians([140, 110, 92, 75, 55])
_REACH = np.array([0.25, 0.5, 0.75, 1.0])


def hand_shape(is_left: bool) -> np.ndarray:
    """Landmarks (21, 2) of a hand of size 1 about its middle: a wrist and five fingers."""
    fingers = np.stack([np.cos(_ANGLES), -np.sin(_ANGLES)], 1)[:, None] * _REACH[:, None]
    points = np.concatenate([np.zeros((1, 2)), fingers.reshape(20, 2)])
    if is_left:
        points = points * [-1, 1]
    points = points - (points.min(0) + points.max(0)) / 2
    return points / np.ptp(points, 0).max()


def detection(
    centre_px: np.ndarray, size_px: float, side: str = "right", score: float = 0.97,
    shape: np.ndarray | None = None, turn: float = 0.0,
) -> Detection:  # fmt: skip
    """One hand. shape: by default that of its side. turn: in the image, rad."""
    shape = hand_shape(side == "left") if shape is None else shape
    cos, sin = np.cos(turn), np.sin(turn)
    points = shape @ np.array([[cos, sin], [-sin, cos]]) * size_px + centre_px
    return Detection(side, score, points)


@dataclass
class Scene:
    """Detections by frame, and whose they are."""

    num_frames: int
    seed: int
    flips: float = 0.0
    """Share of detections with the wrong side."""
    lost: float = 0.0
    """Share of hands that are not found in a frame."""
    twice: float = 0.0
    """Share of hands that are found twice, once with each side."""
    owner: dict[tuple[int, bytes], int] = field(default_factory=dict)
    """By frame and box: the number of the hand; −1 for phantoms."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.detections: list[list[Detection]] = [[] for _ in range(self.num_frames)]

    @property
    def times_s(self) -> np.ndarray:
        return np.arange(self.num_frames) / FPS

    def add(self, frame: int, number: int, hand: Detection) -> None:
        self.owner[frame, hand.box_px.tobytes()] = number
        self.detections[frame].append(hand)

    def add_hand(
        self, number: int, is_left: bool, centres_px: np.ndarray, size_px: float,
        hidden: np.ndarray | None = None, frames: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """A hand on its way, centres (N, 2), with the scene's faults. hidden (N,) bool."""
        rng, shape = self.rng, hand_shape(is_left)
        turn, speed = rng.uniform(-0.6, 0.6), rng.normal(0, 0.02)
        frames = np.arange(len(centres_px)) if frames is None else frames
        hidden = np.zeros(len(frames), bool) if hidden is None else hidden
        for k, centre, is_hidden in zip(frames.tolist(), centres_px, hidden, strict=True):
            turn += speed
            if is_hidden or rng.random() < self.lost:
                continue
            is_wrong = rng.random() < self.flips
            said = SIDES[int(is_left ^ is_wrong)]
            score = rng.uniform(0.6, 0.9) if is_wrong else rng.uniform(0.8, 1.0)
            moved = shape + rng.normal(0, 0.01, (21, 2))
            found = detection(centre, size_px, said, score, moved, turn)
            self.add(k, number, found)
            if rng.random() < self.twice:
                other = SIDES[1 - SIDES.index(said)]
                points = found.landmarks_px + rng.normal(0, 0.02 * size_px, (21, 2))
                self.add(k, number, Detection(other, score * 0.95, points))

    def add_phantom(self, frames: np.ndarray, centre_px: np.ndarray, size_px: float) -> None:
        """Something that is no hand: it changes its side, and its size jumps."""
        for k in frames.tolist():
            side, score = SIDES[int(self.rng.integers(2))], self.rng.uniform(0.5, 0.9)
            size = size_px * np.exp(self.rng.normal(0, 0.3))
            centre = centre_px + self.rng.normal(0, 0.1 * size_px, 2)
            shape = hand_shape(side == "left") + self.rng.normal(0, 0.05, (21, 2))
            self.add(k, -1, detection(centre, size, side, score, shape, self.rng.uniform(-3, 3)))


def crossing(
    start_px: np.ndarray, end_px: np.ndarray, num_frames: int, rng: np.random.Generator
) -> np.ndarray:
    """A way (N, 2) from one place to another, first slow, then fast, then slow; a little bent."""
    share = (1 - np.cos(np.linspace(0, np.pi, num_frames))) / 2
    way = np.asarray(start_px) + share[:, None] * (np.asarray(end_px) - start_px)
    return way + np.sin(share * np.pi)[:, None] * rng.normal(0, 15, 2)

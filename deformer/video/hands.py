"""The hands of a video as MediaPipe finds them, and what a network says of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track

from deformer import inference
from deformer.data.augment import Draw, crop_to_input, warp_to_input
from deformer.data.batch import as_float
from deformer.data.windows import WindowConfig, clip_windows
from deformer.hand.box import hand_box, tight_box
from deformer.hand.conventions import SIDES
from deformer.network.model import Deformer, FrameFeatures
from deformer.video.detect import Detection, HandDetector

FOCAL_PER_SIDE = 1.2
"""Focal length of a camera that nothing is known of, in longer sides of its image."""
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class SeenHands:
    """N hands in a video by MediaPipe, right hands first, each side in the order of frames and once
    a frame at most."""

    frame: np.ndarray
    """(N,) int64."""
    is_left: np.ndarray
    """(N,) bool."""
    landmarks_px: np.ndarray
    """(N, 21, 2)."""
    inputs: np.ndarray
    """(N, size, size, 3) uint8: as the network takes them."""
    image_wh: tuple[int, int]
    num_frames: int
    num_left_out: int
    """Detections with a landmark outside the image, or a surer one of the same side beside them."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a network says of `SeenHands`."""

    joints_px: np.ndarray
    """(N, 21, 2): its 2D joints."""
    joints_cam_m: np.ndarray
    """(N, 21, 3), where they project onto `joints_px` as nearly as they can."""
    vertices_cam_m: np.ndarray
    """(N, 778, 3)."""


# ------------------------------------------------------------------------------ the hands to see


def read_frames(video: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The frames (H, W, 3) of a video, RGB uint8, and their times, s.

    They are upright: OpenCV turns them as the container's rotation says, which phones write.
    (Images of datasets are not turned: their labels belong to the pixels as stored.)

    Raises `FileNotFoundError` where there is no file, `ValueError` where no frame can be read.
    """
    if not video.is_file():
        raise FileNotFoundError(f"--video {video}: there is no such file")
    reader = cv2.VideoCapture(str(video))
    rate = reader.get(cv2.CAP_PROP_FPS)
    ok, frame = reader.read()
    if not ok or not rate > 0:
        raise ValueError(f"--video {video}: no frame of it can be read; name a video file")
    for k in count():
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), k / rate
        ok, frame = reader.read()
        if not ok:
            return


def see_hands(video: Path, size: int) -> SeenHands:
    """Find the hands and cut them out. Raises `ValueError` where there is none."""
    frames, is_left, landmarks, inputs = [], [], [], []
    num_detections = 0
    next(read_frames(video))  # a video that cannot be read is refused before MediaPipe starts
    with HandDetector("video") as detector:
        for k, (image, time_s) in enumerate(track(read_frames(video), "finding hands")):
            detections = detector.detect(image, time_s)
            num_detections += len(detections)
            for hand in surest(detections, image.shape[1::-1]):
                frames.append(k)
                is_left.append(hand.side == "left")
                landmarks.append(hand.landmarks_px)
                inputs.append(crop_hands(image, hand.box_px[None], size)[0])
    if not frames:
        raise ValueError(f"--video {video}: MediaPipe finds no hand that is whole in the image")
    order = np.argsort(is_left, kind="stable")
    seen = (np.array(value)[order] for value in (frames, is_left, landmarks, inputs))
    num_left_out = num_detections - len(frames)
    return SeenHands(*seen, image.shape[1::-1], k + 1, num_left_out)


def surest(detections: list[Detection], image_wh: tuple[int, int]) -> list[Detection]:
    """Of each side the one with the highest score among those that lie in the image."""
    last = np.array(image_wh) - 1
    inside = [
        hand
        for hand in detections
        if ((hand.landmarks_px >= 0) & (hand.landmarks_px <= last)).all()
    ]
    of_sides = [[hand for hand in inside if hand.side == side] for side in SIDES]
    return [max(hands, key=lambda hand: hand.score) for hands in of_sides if hands]


def crop_hands(image_rgb: np.ndarray, tight_boxes_px: np.ndarray, size: int) -> np.ndarray:
    """The input images (N, size, size, 3) uint8 of N hands in an image (H, W, 3) uint8, cut out
    just as the stream cuts training's.

    tight_boxes_px (N, 4): tight boxes of the 2D joints, px of the image, not clipped to it. An
    input shows the hand box, `hand_box` of these; what lies outside the image is black.
    """
    affine = crop_to_input(*hand_box(np.asarray(tight_boxes_px, np.float64)), Draw(), size)
    return np.stack([warp_to_input(image_rgb, matrix, size) for matrix in affine])


# ----------------------------------------------------------------------- what the network sees


def boxes_of_inputs(num: int, size: int) -> np.ndarray:
    """Where the hand box lies in inputs of `crop_hands`: all of them, (num, 4), x0 y0 x1 y1."""
    return np.tile(np.array([-0.5, -0.5, size - 0.5, size - 0.5], np.float32), (num, 1))


def boxes_in_image(tight_boxes_px: np.ndarray) -> np.ndarray:
    """The hand boxes in the image itself: (N, 4), x0 y0 x1 y1."""
    centre, side = hand_box(np.asarray(tight_boxes_px, np.float64))
    half = side[:, None] / 2
    return np.concatenate([centre - half, centre + half], 1)


def encode(model: Deformer, seen: SeenHands) -> FrameFeatures:
    """Every hand in every frame by itself."""
    device = next(model.parameters()).device
    is_left = torch.from_numpy(seen.is_left)
    features = []
    for i in track(range(0, len(seen.inputs), _AT_ONCE), "encoding hands"):
        part = slice(i, i + _AT_ONCE)
        images = as_float(torch.from_numpy(seen.inputs[part]).to(device))
        images = images.contiguous(memory_format=torch.channels_last)
        boxes = torch.from_numpy(boxes_of_inputs(len(images), images.shape[-1]))
        features.append(inference.encode(model, images, boxes, is_left[part]))
    return FrameFeatures(*(torch.cat(values) for values in zip(*features, strict=True)))


def make_windows(seen: SeenHands, config: WindowConfig) -> np.ndarray:
    """Places (N, T) among the hands: the window of each within its side. A frame in which its side
    was not seen is missing."""
    windows = []
    for is_left in (False, True):
        places = np.flatnonzero(seen.is_left == is_left)
        is_seen = np.zeros(seen.num_frames, bool)
        is_seen[seen.frame[places]] = True
        positions = clip_windows(is_seen, config)
        windows.append(places[np.searchsorted(seen.frame[places], positions)])
    return np.concatenate(windows)


def decode(
    model: Deformer, seen: SeenHands, features: FrameFeatures, config: WindowConfig
) -> Predicted:
    """Every hand as the centre of its window."""
    boxes = boxes_in_image(tight_box(seen.landmarks_px))
    K = np.broadcast_to(guess_intrinsics(seen.image_wh), (len(boxes), 3, 3))
    frames = inference.Frames(features, seen.is_left, boxes, K)
    found = inference.decode(model, frames, make_windows(seen, config), config.centre)
    wrist = found.wrist_cam_m[:, None]
    return Predicted(found.joints_px, found.joints_m + wrist, found.vertices_m + wrist)


def guess_intrinsics(image_wh: tuple[int, int]) -> np.ndarray:
    """K (3, 3) of a camera that nothing is known of."""
    width, height = image_wh
    focal = FOCAL_PER_SIDE * max(width, height)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])

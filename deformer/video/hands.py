"""The hands of a video: detection by MediaPipe, prediction by a network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from deformer import inference
from deformer.data.augment import Draw, crop_to_input, warp_to_input
from deformer.data.batch import as_float
from deformer.data.windows import WindowConfig, clip_windows
from deformer.hand.box import hand_box, tight_box
from deformer.hand.conventions import SIDES
from deformer.network.model import Deformer
from deformer.network.output import FrameFeatures
from deformer.video.detect import Detection, HandDetector
from deformer.video.frames import Video

FOCAL_PER_SIDE = 1.2
"""Assumed focal length of an unknown camera, in units of the image's longer side."""
_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class SeenHands:
    """N hands that MediaPipe detected in a video: right hands, then left hands, each in the order
    of frames, at most one per frame."""

    frame: np.ndarray
    """(N,) int64."""
    is_left: np.ndarray
    """(N,) bool."""
    landmarks_px: np.ndarray
    """(N, 21, 2)."""
    inputs: np.ndarray
    """(N, size, size, 3) uint8: input images of the network."""
    image_wh: tuple[int, int]
    num_frames: int
    num_left_out: int
    """Detections with a landmark outside the image, or less sure than another of the same side."""


@dataclass(frozen=True, eq=False)
class PredictedHands:
    """A network's predictions for `SeenHands`."""

    joints_px: np.ndarray
    """(N, 21, 2)."""
    joints_cam_m: np.ndarray
    """(N, 21, 3), placed so that they project best onto `joints_px`."""
    vertices_cam_m: np.ndarray
    """(N, 778, 3)."""


# ------------------------------------------------------------------------------ the hands to see


def see_hands(video: Path, size: int) -> SeenHands:
    """Detect the hands of a video and crop them. Raises `ValueError` if there are none."""
    frames, is_left, landmarks, inputs = [], [], [], []
    num_detections = 0
    recording = Video(video)
    with HandDetector("video") as detector:
        for k, time_s, image in track(recording, "finding hands", recording.info.num_frames):
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
    """For each side, the detection with the highest score among those inside the image."""
    last = np.array(image_wh) - 1
    inside = [
        hand
        for hand in detections
        if ((hand.landmarks_px >= 0) & (hand.landmarks_px <= last)).all()
    ]
    of_sides = [[hand for hand in inside if hand.side == side] for side in SIDES]
    return [max(hands, key=lambda hand: hand.score) for hands in of_sides if hands]


def crop_hands(image_rgb: np.ndarray, tight_boxes_px: np.ndarray, size: int) -> np.ndarray:
    """Crop N hands from an image (H, W, 3) uint8 → input images (N, size, size, 3) uint8, exactly
    as the stream does for training.

    tight_boxes_px (N, 4): tight boxes of the 2D joints, px of the image, not clipped to it. An
    input shows the `hand_box` of these; pixels outside the image are black.
    """
    affine = crop_to_input(*hand_box(np.asarray(tight_boxes_px, np.float64)), Draw(), size)
    return np.stack([warp_to_input(image_rgb, matrix, size) for matrix in affine])


# ----------------------------------------------------------------------- what the network sees


def boxes_of_inputs(num: int, size: int) -> np.ndarray:
    """Hand boxes in inputs of `crop_hands`, which they fill: (num, 4), x0 y0 x1 y1."""
    return np.tile(np.array([-0.5, -0.5, size - 0.5, size - 0.5], np.float32), (num, 1))


def boxes_in_image(tight_boxes_px: np.ndarray) -> np.ndarray:
    """Hand boxes in the image: (N, 4), x0 y0 x1 y1."""
    centre, side = hand_box(np.asarray(tight_boxes_px, np.float64))
    half = side[:, None] / 2
    return np.concatenate([centre - half, centre + half], 1)


def encode_crops(model: Deformer, crops: np.ndarray, is_left: torch.Tensor) -> FrameFeatures:
    """Features of crops (N, size, size, 3) uint8 of `crop_hands`; is_left (N,) bool."""
    images = as_float(torch.from_numpy(crops).to(next(model.parameters()).device))
    images = images.contiguous(memory_format=torch.channels_last)
    boxes = torch.from_numpy(boxes_of_inputs(len(images), images.shape[-1]))
    return inference.encode(model, images, boxes, is_left)


def encode_hands(model: Deformer, seen: SeenHands) -> FrameFeatures:
    """Features of all hands."""
    is_left = torch.from_numpy(seen.is_left)
    features = []
    for i in track(range(0, len(seen.inputs), _AT_ONCE), "encoding hands"):
        part = slice(i, i + _AT_ONCE)
        features.append(encode_crops(model, seen.inputs[part], is_left[part]))
    return FrameFeatures(*(torch.cat(values) for values in zip(*features, strict=True)))


def hand_windows(seen: SeenHands, config: WindowConfig) -> np.ndarray:
    """The window of each hand, (N, T) indices of hands of its side. A frame without a hand of that
    side counts as missing."""
    windows = []
    for is_left in (False, True):
        places = np.flatnonzero(seen.is_left == is_left)
        is_seen = np.zeros(seen.num_frames, bool)
        is_seen[seen.frame[places]] = True
        positions = clip_windows(is_seen, config)
        windows.append(places[np.searchsorted(seen.frame[places], positions)])
    return np.concatenate(windows)


def predict_hands(
    model: Deformer, seen: SeenHands, features: FrameFeatures, config: WindowConfig
) -> PredictedHands:
    """Decode every hand from the window around it."""
    boxes = boxes_in_image(tight_box(seen.landmarks_px))
    K = np.broadcast_to(guess_intrinsics(seen.image_wh), (len(boxes), 3, 3))
    frames = inference.Frames(features, seen.is_left, boxes, K)
    found = inference.decode(model, frames, hand_windows(seen, config), config.centre)
    wrist = found.wrist_cam_m[:, None]
    return PredictedHands(found.joints_px, found.joints_m + wrist, found.vertices_m + wrist)


def guess_intrinsics(image_wh: tuple[int, int]) -> np.ndarray:
    """Assumed K (3, 3) of an unknown camera."""
    width, height = image_wh
    focal = FOCAL_PER_SIDE * max(width, height)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])

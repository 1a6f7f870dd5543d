"""A window as arrays: decoded frames, warped to the network's input, labels turned with them."""

from collections import namedtuple
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from deformer.data.augment import (
    Draw,
    adjust_colours,
    crop_to_input,
    rotation_about_z,
    turn_intrinsics,
    turn_pose,
    warp_to_input,
)
from deformer.data.store import ClipReader, CorruptMemberError
from deformer.files.images import decode_jpeg
from deformer.hand.box import hand_box, tight_box


class Batch(NamedTuple):
    """B windows of T frames. Pixels are those of the input images, centres at integers."""

    images: Tensor
    """(B, T, H, W, 3) uint8, RGB; see `to_input`. Of frames that were encoded before (B, T, width +
    42) float32; see `features.unpack`."""
    photometric: Tensor
    """(B, 5): the colour augmentation that `to_input` applies."""
    boxes_px: Tensor
    """(B, T, 4): square hand boxes, x0 y0 x1 y1, not clipped to the image."""
    is_left: Tensor
    """(B,) bool."""
    occlusion: Tensor
    """(B, T): share of the hand that objects hide, in [0, 1]; NaN where it is not known."""
    pose_rotvec: Tensor
    """(B, T, 48): axis-angle of the 16 joints, mean pose included, radians, turned with the image.
    NaN where it is not known, as the labels below."""
    betas: Tensor
    """(B, 10): of the centre frame."""
    joints_cam_m: Tensor
    """(B, T, 21, 3): dataset order, camera frame, turned with the image."""
    joints_px: Tensor
    """(B, T, 21, 2)."""
    joints_in_image: Tensor
    """(B, T, 21) bool: inside the source image and inside the input."""
    K: Tensor
    """(B, T, 3, 3): projects `joints_cam_m` onto `joints_px`. It may have a skew."""
    rows: Tensor
    """(B, T) int64: the frames, as rows of `frames.parquet`."""
    is_repeat: Tensor
    """(B, T−1) bool: positions t and t+1 hold the same frame."""
    is_padding: Tensor
    """(B,) bool: windows that stand elsewhere in the epoch too."""
    skipped: tuple[str, ...]
    """Names of corrupt members met; windows that need one are replaced by padding."""


Window = namedtuple("Window", Batch._fields[: Batch._fields.index("is_padding")])
"""One window: the fields of `Batch` as arrays of numpy, without the dimension B."""


def collate(
    windows: Sequence[Window], is_padding: Sequence[bool], skipped: Sequence[str] = ()
) -> Batch:
    """Windows as a batch. Where their images are parts of one array, that array is taken."""
    images, *others = zip(*windows, strict=True)
    shared = images[0].base
    if shared is None or len(shared) != len(images) or any(i.base is not shared for i in images):
        shared = np.stack(images)
    columns = (shared, *(np.stack(column) for column in others), np.array(is_padding, bool))
    return Batch(*map(torch.from_numpy, columns), tuple(skipped))


def without_padding(batch: Batch) -> Batch:
    """Only the windows that count: each stands once in an epoch."""
    return Batch(*(value[~batch.is_padding] for value in batch[:-1]), batch.skipped)


def to_input(batch: Batch, device: torch.device | str | None = None) -> Tensor:
    """The images as the network takes them: (B, T, 3, H, W) float in [0, 1], channels last in
    memory, colours augmented."""
    images = as_float(batch.images.to(device, non_blocking=True))
    # Neutral draws are passed over, but where asking would wait for the device
    if batch.photometric.is_cuda or (batch.photometric != _NEUTRAL).any():
        images = adjust_colours(images, batch.photometric.to(device, non_blocking=True))
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(
        0, images.shape[:2]
    )  # fmt: skip


def as_float(images: Tensor) -> Tensor:
    """Images (…, H, W, 3) uint8 → (…, 3, H, W) float in [0, 1]."""
    return images.movedim(-1, -3).float() / 255


_NEUTRAL = torch.tensor(Draw().photometric)


def read_window(
    reader: ClipReader,
    rows: np.ndarray,
    centre: int,
    drawn: Draw,
    images: np.ndarray,
) -> Window:
    """One window, by its rows (T,) of `frames.parquet`.

    images (T, size, size, 3) uint8: filled, and part of the window. A frame that stands in the
    window more than once is decoded once. Raises `CorruptMemberError`.
    """
    index, size = reader.index, images.shape[1]
    distinct, first, where = np.unique(rows, return_index=True, return_inverse=True)
    clip = int(index.clip[rows[centre]])
    labels = reader.labels(clip, int(rows[centre]))
    i = index.numbers["clip_index"][distinct]  # (F,) positions in the clip

    def field_of(name: str, *shape: int) -> np.ndarray:
        return labels[name][i] if name in labels else np.full((len(i), *shape), np.nan, np.float32)

    def of_frames(values: np.ndarray) -> np.ndarray:
        return values[where].astype(np.float32)

    joints_px, K = field_of("joints_px", 21, 2), field_of("K", 3, 3)
    tight = labels["box_px"][i]
    affine = crop_to_input(*hand_box(tight.astype(np.float64)), drawn, size)
    for t, row, matrix in zip(first, distinct, affine, strict=True):
        _decode_and_warp(reader, int(row), matrix, images[t])
    for t, k in enumerate(where):
        if t != first[k]:
            images[t] = images[first[k]]

    crop_size = labels["crop_xywh"][i, None, 2:]
    is_inside = ((joints_px >= 0) & (joints_px <= crop_size - 1)).all(-1)
    moved = _transform(affine, joints_px)
    is_inside &= ((moved >= -0.5) & (moved <= size - 0.5)).all(-1)
    # Without joints the turned box's corners stand for them
    corners = _transform(affine, tight[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    centres, sides = hand_box(tight_box(corners if np.isnan(moved).any() else moved))
    half = sides[:, None] / 2
    return Window(
        images=images,
        photometric=np.array(drawn.photometric, np.float32),
        boxes_px=of_frames(np.concatenate([centres - half, centres + half], 1)),
        is_left=index.is_left[rows[centre]],
        occlusion=of_frames(field_of("occlusion")),
        pose_rotvec=of_frames(turn_pose(field_of("pose_rotvec", 48), drawn.angle)),
        betas=field_of("betas", 10)[where[centre]],
        joints_cam_m=of_frames(field_of("joints_cam_m", 21, 3) @ rotation_about_z(drawn.angle).T),
        joints_px=of_frames(moved),
        joints_in_image=is_inside[where],
        K=of_frames(turn_intrinsics(K, affine, drawn.angle)),
        rows=rows.astype(np.int64),
        is_repeat=rows[1:] == rows[:-1],
    )


def _transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine maps (F, 3, 3) on points (F, N, 2)."""
    return points @ affine[:, :2, :2].transpose(0, 2, 1) + affine[:, None, :2, 2]


def _decode_and_warp(reader: ClipReader, row: int, affine: np.ndarray, out: np.ndarray) -> None:
    """Fill the input image `out` (size, size, 3) with a frame; what lies outside its crop is 0."""
    jpeg = reader.image(row)
    try:
        # Four channels, the last unused: OpenCV warps them in half the time of three
        crop = decode_jpeg(jpeg, "RGBX")
    except ValueError as error:
        raise CorruptMemberError(f"{reader.member_name(row)}: {error}") from None
    warped = warp_to_input(crop, affine, len(out))
    cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)

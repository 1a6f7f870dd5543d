"""A window as arrays: frames decoded and warped to the network's input, labels turned alike."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
from deformer.data.crops import Crops, pack_crops
from deformer.data.store import ClipReader, CorruptMemberError
from deformer.files.images import decode_depth, decode_jpeg
from deformer.hand.box import hand_box, tight_box


class Batch(NamedTuple):
    """B windows of T frames. Pixels are those of the input images, centres at integers."""

    images: Tensor | Crops
    """(B, T, H, W, 3) uint8, RGB; or depth, (B, T, H, W, 1) uint16, mm, 0 where it is unknown; see
    `to_input`. Or features in their place; see `deformer.training.features.unpack`. `Crops` only
    between the readers and the device that warps them."""
    photometric: Tensor
    """(B, 5): the colour augmentation that `to_input` applies."""
    boxes_px: Tensor
    """(B, T, 4): square hand boxes, x0 y0 x1 y1, not clipped to the image."""
    is_left: Tensor
    """(B,) bool."""
    occlusion: Tensor
    """(B, T): share of the hand that objects hide, in [0, 1]; NaN where unknown."""
    pose_rotvec: Tensor
    """(B, T, 48): axis-angle of the 16 joints, mean pose included, radians, turned with the image.
    Unknown labels are NaN, here and below."""
    betas: Tensor
    """(B, 10) MANO shape of the centre frame."""
    joints_cam_m: Tensor
    """(B, T, 21, 3): dataset order, camera frame, turned with the image."""
    joints_px: Tensor
    """(B, T, 21, 2)."""
    joints_in_image: Tensor
    """(B, T, 21) bool: inside the source image and inside the input."""
    K: Tensor
    """(B, T, 3, 3): projects `joints_cam_m` onto `joints_px`; may have a skew."""
    rows: Tensor
    """(B, T) int64: the frames, as rows of `frames.parquet`."""
    is_repeat: Tensor
    """(B, T−1) bool: positions t and t+1 hold the same frame."""
    is_padding: Tensor
    """(B,) bool: windows that also stand elsewhere in the epoch."""
    skipped: tuple[str, ...]
    """Names of corrupt members; padding replaces the windows that need one."""


class Window(NamedTuple):
    """Stored labels of one window, and the warp of its images."""

    rows: np.ndarray
    """(T,) rows of `frames.parquet`."""
    drawn: Draw
    affine: np.ndarray
    """(T, 3, 3): px of the crops → px of the input."""
    size: int
    """Side of the input, px."""
    is_left: bool
    betas: np.ndarray
    """(10,) MANO shape of the centre frame."""
    labels: dict[str, np.ndarray]
    """(T, …) by field name; NaN where the dataset has no value."""


def collate(
    images: np.ndarray | Sequence[Sequence[np.ndarray]],
    windows: Sequence[Window],
    is_padding: Sequence[bool],
    skipped: Sequence[str] = (),
) -> Batch:
    """Make a batch of windows and their images (B, T, H, W, C), or of what `read_crops` gave for
    each of them; labels turn with the images.

    All windows are computed at once: one by one takes as long as decoding.
    """
    size = windows[0].size
    rows, affine = (np.stack([getattr(w, name) for w in windows]) for name in ("rows", "affine"))
    labels = {name: np.stack([w.labels[name] for w in windows]) for name in windows[0].labels}
    angles = [window.drawn.angle for window in windows]
    turns = np.stack([rotation_about_z(angle) for angle in angles])[:, None]  # (B, 1, 3, 3)

    joints_px, crop_size = labels["joints_px"], labels["crop_xywh"][:, :, None, 2:]
    is_inside = ((joints_px >= 0) & (joints_px <= crop_size - 1)).all(-1)
    moved = _transform(affine, joints_px)
    is_inside &= ((moved >= -0.5) & (moved <= size - 0.5)).all(-1)
    # Without joints, use the corners of the turned box
    corners = _transform(affine, labels["box_px"][:, :, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    is_known = ~np.isnan(moved).any((1, 2, 3))[:, None, None]
    centres, sides = hand_box(np.where(is_known, tight_box(moved), tight_box(corners)))
    half = sides[..., None] / 2
    fields = {
        "photometric": np.array([window.drawn.photometric for window in windows], np.float32),
        "boxes_px": np.concatenate([centres - half, centres + half], -1),
        "is_left": np.array([window.is_left for window in windows], bool),
        "occlusion": labels["occlusion"],
        "pose_rotvec": turn_pose(labels["pose_rotvec"], angles),
        "betas": np.stack([window.betas for window in windows]),
        "joints_cam_m": labels["joints_cam_m"] @ turns.swapaxes(-1, -2),
        "joints_px": moved,
        "joints_in_image": is_inside,
        "K": turn_intrinsics(labels["K"], affine, turns),
        "rows": rows.astype(np.int64),
        "is_repeat": rows[:, 1:] == rows[:, :-1],
        "is_padding": np.array(is_padding, bool),
    }
    kept = (np.int64, bool)
    arrays = {k: v if v.dtype in kept else v.astype(np.float32) for k, v in fields.items()}
    is_warped = isinstance(images, np.ndarray)
    return Batch(
        images=torch.from_numpy(images) if is_warped else pack_crops(images, rows, affine),
        **{k: torch.from_numpy(v) for k, v in arrays.items()},
        skipped=tuple(skipped),
    )


def _transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply affine maps (…, 3, 3) to points (…, N, 2)."""
    return points @ affine[..., :2, :2].swapaxes(-1, -2) + affine[..., None, :2, 2]


def without_padding(batch: Batch) -> Batch:
    """The batch without padding, so that an epoch has each window once."""
    return Batch(*(value[~batch.is_padding] for value in batch[:-1]), batch.skipped)


def to_input(batch: Batch, device: torch.device | str | None = None) -> Tensor:
    """The network's input, float, channels last: (B, T, 3, H, W) in [0, 1], colours augmented; of
    depth images (B, T, 1, H, W), m."""
    images = batch.images.to(device, non_blocking=True)
    is_depth = images.dtype == torch.uint16
    images = images.movedim(-1, -3).float() / 1000 if is_depth else as_float(images)
    # Skip neutral draws; on a GPU the test itself would wait for the device
    if not is_depth and (batch.photometric.is_cuda or (batch.photometric != _NEUTRAL).any()):
        images = adjust_colours(images, batch.photometric.to(device, non_blocking=True))
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(
        0, images.shape[:2]
    )  # fmt: skip


def as_float(images: Tensor) -> Tensor:
    """Images (…, H, W, 3) uint8 → (…, 3, H, W) float in [0, 1]."""
    return images.movedim(-1, -3).float() / 255


_NEUTRAL = torch.tensor(Draw().photometric)


_SHAPES = {
    "occlusion": (), "pose_rotvec": (48,), "betas": (10,), "joints_cam_m": (21, 3),
    "joints_px": (21, 2), "K": (3, 3),
}  # fmt: skip
"""Shapes per frame of the fields that a dataset may lack."""


def empty_images(shape: tuple[int, ...], size: int, kind: Literal["rgb", "depth"]) -> np.ndarray:
    """Room for images of a kind, shape + (size, size, C), as `Batch.images`."""
    channels, dtype = (1, np.uint16) if kind == "depth" else (3, np.uint8)
    return np.empty((*shape, size, size, channels), dtype)


def read_window(
    reader: ClipReader, rows: np.ndarray, centre: int, drawn: Draw, images: np.ndarray
) -> Window:
    """Read one window by its rows (T,) of `frames.parquet`; fills images (T, size, size, C), of
    `empty_images`, by their kind. Raises `CorruptMemberError`."""
    window = read_labels(reader, rows, centre, drawn, images.shape[1])
    fill_images(reader, window, images)
    return window


def read_labels(
    reader: ClipReader, rows: np.ndarray, centre: int, drawn: Draw, size: int
) -> Window:
    """A window by its rows (T,) of `frames.parquet`. Raises `CorruptMemberError`."""
    index = reader.index
    of_clip = reader.labels(int(index.clip[rows[centre]]))
    i = index.numbers["clip_index"][rows]  # (T,) positions in the clip
    labels = {
        name: of_clip[name][i] if name in of_clip else np.full((len(i), *shape), np.nan, np.float32)
        for name, shape in _SHAPES.items()
    }
    labels |= {name: of_clip[name][i] for name in ("box_px", "crop_xywh")}
    boxes = hand_box(labels["box_px"].astype(np.float64))
    affine = crop_to_input(*boxes, drawn, size)
    is_left, betas = bool(index.is_left[rows[centre]]), labels.pop("betas")[centre]
    return Window(rows, drawn, affine, size, is_left, betas, labels)


def fill_images(reader: ClipReader, window: Window, images: np.ndarray) -> None:
    """Fill images (T, size, size, C), of `empty_images`, by their kind; pixels outside a crop are
    0. A repeated frame is decoded once. Raises `CorruptMemberError`."""
    fill = _decode_and_warp if images.dtype == np.uint8 else _decode_and_warp_depth
    first: dict[int, int] = {}
    for t, row in enumerate(window.rows.tolist()):
        if first.setdefault(row, t) == t:
            fill(reader, row, window.affine[t], images[t])
        else:
            images[t] = images[first[row]]


def read_crops(reader: ClipReader, window: Window) -> list[np.ndarray]:
    """The crops (h, w, 3), uint8 RGB, of a window's distinct frames, in the order of their rows.
    Raises `CorruptMemberError`."""
    return [_decode(reader, row, "RGB") for row in np.unique(window.rows).tolist()]


def _decode(reader: ClipReader, row: int, colours: str) -> np.ndarray:
    jpeg = reader.image(row)
    try:
        return decode_jpeg(jpeg, colours)
    except ValueError as error:
        raise CorruptMemberError(f"{reader.member_name(row)}: {error}") from None


def _decode_and_warp(reader: ClipReader, row: int, affine: np.ndarray, out: np.ndarray) -> None:
    """Fill the input image `out` (size, size, 3) with a frame; pixels outside its crop are 0."""
    # Four channels, the last unused: OpenCV warps them in half the time of three
    warped = warp_to_input(_decode(reader, row, "RGBX"), affine, len(out))
    cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB, dst=out)


def _decode_and_warp_depth(
    reader: ClipReader, row: int, affine: np.ndarray, out: np.ndarray
) -> None:
    """As `_decode_and_warp`, for a frame's depth image and `out` (size, size, 1). Values are not
    blended: between two surfaces there is none."""
    png = reader.depth(row)
    try:
        crop = decode_depth(png)
    except ValueError as error:
        raise CorruptMemberError(f"{reader.member_name(row, 'depth_')}: {error}") from None
    out[..., 0] = warp_to_input(crop, affine, len(out), cv2.INTER_NEAREST)

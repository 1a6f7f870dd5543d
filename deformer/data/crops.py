"""Decoded crops of a batch, warped to the network's input by the device that trains.

A crop is smaller than the input at 512², and a frame that a window repeats travels once. So readers
have less to do and to send.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 16
"""Frames warped at a time: bounds the memory of their floats."""


class Crops(NamedTuple):
    """The frames of B windows of T frames, before the warp."""

    pixels: tuple[Tensor, ...]
    """M crops (h, w, 3) uint8, RGB, of different sizes. A window has each of its frames once."""
    input_to_crop: Tensor
    """(M, 2, 3): affine maps, px of the input → px of the crop."""
    places: Tensor
    """(B, T) int64: the crop of each frame."""


def pack_crops(
    pixels: Sequence[Sequence[np.ndarray]], rows: np.ndarray, affine: np.ndarray
) -> Crops:
    """Crops of windows.

    pixels: for each window the crops (h, w, 3) of its distinct frames, in the order of their rows.
    rows (B, T); affine (B, T, 3, 3): px of the crop → px of the input.
    """
    places, kept, count = [], [], 0
    for of_window, maps in zip(rows, affine, strict=True):
        distinct, first, place = np.unique(of_window, return_index=True, return_inverse=True)
        places.append(count + place)
        kept.append(maps[first])
        count += len(distinct)
    back = np.linalg.inv(np.concatenate(kept))[:, :2]
    return Crops(
        tuple(torch.from_numpy(crop) for crops in pixels for crop in crops),
        torch.from_numpy(back.astype(np.float32)),
        torch.from_numpy(np.stack(places)),
    )


def warp_crops(crops: Crops, size: int, device: torch.device) -> Tensor:
    """The input images (B, T, size, size, 3) uint8, on the device.

    They are those of `warp_to_input`, to a grey level: bilinear, 0 outside the crop. OpenCV 4
    rounds positions to 1/32 px, so its images differ by more.
    """
    maps = crops.input_to_crop.to(device, non_blocking=True)
    pixels = [crop.to(device, non_blocking=True) for crop in crops.pixels]
    images = [
        _warp(pixels[i : i + _AT_ONCE], maps[i : i + _AT_ONCE], size)
        for i in range(0, len(pixels), _AT_ONCE)
    ]
    return torch.cat(images)[crops.places.to(device, non_blocking=True)]


def _warp(pixels: list[Tensor], maps: Tensor, size: int) -> Tensor:
    """Crops, and maps (m, 2, 3) from the input → images (m, size, size, 3) uint8."""
    height, width = (max(crop.shape[axis] for crop in pixels) for axis in (0, 1))
    padded = maps.new_zeros(len(pixels), 3, height, width)
    for room, crop in zip(padded, pixels, strict=True):
        room[:, : crop.shape[0], : crop.shape[1]] = crop.movedim(-1, 0)
    along = torch.arange(size, dtype=maps.dtype, device=maps.device)
    # Not as a product of matrices: on a GPU that may be rounded to ten bits
    a, b, c = maps[..., None, None].unbind(2)  # (m, 2, 1, 1)
    at_px = a * along + b * along[:, None] + c  # (m, 2, size, size)
    x, y = at_px.unbind(1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    warped = functional.grid_sample(padded, grid, padding_mode="zeros", align_corners=False)
    return warped.round().to(torch.uint8).movedim(1, -1)

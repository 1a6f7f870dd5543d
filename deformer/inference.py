"""Frames → features; windows of features → hands. It knows neither datasets nor files.

Windows overlap, so each frame is encoded once, and windows are decoded from the features.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from deformer.hand.camera import fit_translation
from deformer.hand.rotations import rot6d_to_rotmat, rotmat_to_rot6d, rotmat_to_rotvec
from deformer.network.network import Network, Output
from deformer.network.output import FrameFeatures, Maps, View

Combine = Literal["centre", "overlap"]
_WINDOWS_AT_ONCE = 64
_MAPS_AT_ONCE = 64


class Frames(NamedTuple):
    """Features of N frames, and the other inputs of their windows."""

    features: FrameFeatures
    is_left: np.ndarray
    """(N,) bool."""
    boxes_px: np.ndarray
    """(N, 4): square hand boxes, x0 y0 x1 y1, in the image that K belongs to."""
    K: np.ndarray
    """(N, 3, 3)."""
    occlusion: np.ndarray | None = None
    """(N,) in [0, 1]; only the fusion `occlusion` needs it."""


class Predicted(NamedTuple):
    """Hands of the M frames that are centres of windows."""

    place: np.ndarray
    """(M,) index into `Frames`, rising."""
    num_windows: np.ndarray
    """(M,) number of windows whose predictions are averaged below."""
    joints_px: np.ndarray
    """(M, 21, 2)."""
    joints_m: np.ndarray
    """(M, 21, 3), relative to the wrist, in the camera's axes."""
    wrist_cam_m: np.ndarray
    """(M, 3): where the joints project best onto `joints_px` and fill the hand box as they should
    (`fit_translation`)."""
    vertices_m: np.ndarray | None = None
    """(M, V, 3) as the joints; V as in the model's hand layer. None: it predicts no mesh."""
    pose_rotvec: np.ndarray | None = None
    """(M, 48); averaged as rot6d, then made orthonormal. None: it does not predict MANO."""
    betas: np.ndarray | None = None
    """(M, 10), likewise."""
    weights: np.ndarray | None = None
    """(M, T): weight of each frame of the window around this frame in its pose. None: it does not
    fuse."""


@torch.no_grad()
def encode(
    model: Network, images: Tensor, boxes_px: Tensor, is_left: Tensor,
    autocast: AbstractContextManager | None = None,
) -> FrameFeatures:  # fmt: skip
    """Images (N, 3, H, W) as `model.encode_frames` takes them, boxes (N, 4), is_left (N,) → float32
    features on the CPU, whatever the precision they were computed in."""
    with autocast or nullcontext():
        features = model.encode_frames(
            images, boxes_px.to(images.device), is_left.to(images.device)
        )
    return FrameFeatures(*(value.float().cpu() for value in features))


@torch.no_grad()
def crop_maps(
    model: Network, images: Tensor, boxes_px: Tensor, is_left: Tensor,
    autocast: AbstractContextManager | None = None,
) -> Maps:  # fmt: skip
    """As `encode`, but only to what the backbone sees, in half precision."""
    with autocast or nullcontext():
        maps = model.crop_maps(images, boxes_px.to(images.device), is_left.to(images.device))
    return Maps(maps.half().cpu())


@torch.no_grad()
def encode_maps(model: Network, maps: Tensor) -> FrameFeatures:
    """Maps (N, …) of `crop_maps` → float32 features on the CPU."""
    device = next(model.parameters()).device
    parts = [
        model.encode_maps(maps[i : i + _MAPS_AT_ONCE].float().to(device))
        for i in track(range(0, len(maps), _MAPS_AT_ONCE), "encoding maps")
    ]
    return FrameFeatures(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


@torch.no_grad()
def decode(
    model: Network, frames: Frames, windows: np.ndarray, centre: int, combine: Combine = "centre",
    autocast: AbstractContextManager | None = None,
) -> Predicted:  # fmt: skip
    """Decode windows (W, T), indices into `frames` → hands of their centre frames.

    combine: "centre" takes a frame's hand from the window around it, "overlap" averages over all
    windows that contain it.
    """
    N, (_, T) = len(frames.is_left), windows.shape
    count, is_centre = np.zeros(N), np.zeros(N, bool)  # overlap also covers other frames
    weights: np.ndarray | None = None
    sums: dict[str, np.ndarray] = {}
    for part in _decoded(model, frames, windows, centre, autocast):
        chosen = part.windows
        is_centre[chosen[:, centre]] = True
        if part.weights is not None:
            weights = np.zeros((N, T), np.float32) if weights is None else weights
            weights[chosen[:, centre]] = part.weights
        if combine == "overlap":  # a frame that a window repeats counts once
            counts = np.diff(chosen, axis=1, prepend=-1) != 0
        else:
            counts = np.zeros(chosen.shape, bool)
            counts[:, centre] = True
        np.add.at(count, chosen[counts], 1)
        for name, value in part.values.items():
            total = sums.setdefault(name, np.zeros((N, *value.shape[2:])))
            np.add.at(total, chosen[counts], value[counts])
    count = count[is_centre]
    means = {
        name: value[is_centre] / count.reshape(-1, *[1] * (value.ndim - 1))
        for name, value in sums.items()
    }
    if "rot6d" in means:
        rotmats = rot6d_to_rotmat(torch.from_numpy(means.pop("rot6d")))
        means["pose_rotvec"] = rotmat_to_rotvec(rotmats).numpy().reshape(-1, 48)
    if weights is not None:
        means["weights"] = weights[is_centre]
    return Predicted(place=np.flatnonzero(is_centre), num_windows=count.astype(np.int64), **means)


class _Decoded(NamedTuple):
    """A batch of decoded windows."""

    windows: np.ndarray  # (B, T)
    values: dict[str, np.ndarray]  # (B, T, …), of all frames
    weights: np.ndarray | None  # (B, T), for the centre frame


def _decoded(
    model: Network, frames: Frames, windows: np.ndarray, centre: int,
    autocast: AbstractContextManager | None,
) -> Iterator[_Decoded]:  # fmt: skip
    device = next(model.parameters()).device
    for i in track(range(0, len(windows), _WINDOWS_AT_ONCE), "decoding windows"):
        chosen = windows[i : i + _WINDOWS_AT_ONCE]
        features = FrameFeatures(*(value[chosen].to(device) for value in frames.features))
        is_left = torch.from_numpy(frames.is_left[chosen[:, 0]]).to(device)
        occlusion = None
        if frames.occlusion is not None:
            occlusion = torch.from_numpy(frames.occlusion[chosen]).to(device)
        boxes_px, K = frames.boxes_px[chosen], frames.K[chosen]
        view = View(*(torch.from_numpy(value).float().to(device) for value in (boxes_px, K)))
        with autocast or nullcontext():
            output = model.decode_windows(features, is_left, occlusion, view)
        weights = getattr(output, "weights", None)
        if weights is not None:
            weights = weights[:, :, centre].float().cpu().numpy()
        yield _Decoded(chosen, _values(output, boxes_px, K), weights)


def _values(output: Output, boxes_px: np.ndarray, K: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (B, T, …) of all frames; boxes_px (B, T, 4), K (B, T, 3, 3)."""
    B, T, _ = boxes_px.shape
    hands = output.hands
    joints = hands.joints_m.double().cpu().numpy()
    corner, opposite = np.split(boxes_px[:, :, None], 2, -1)  # (B, T, 1, 2)
    joints_px = corner + output.joints_2d.double().cpu().numpy() * (opposite - corner)
    wrist = fit_translation(
        joints.reshape(B * T, 21, 3),
        joints_px.reshape(B * T, 21, 2),
        K.reshape(B * T, 3, 3).astype(np.float64),
        boxes_px.reshape(B * T, 4).astype(np.float64),
    )
    values = {
        "joints_px": joints_px, "joints_m": joints, "wrist_cam_m": wrist.reshape(B, T, 3)
    }  # fmt: skip
    optional = {"vertices_m": hands.vertices_m, "betas": hands.betas}
    if hands.rotmats is not None:
        optional["rot6d"] = rotmat_to_rot6d(hands.rotmats)
    known = {name: value for name, value in optional.items() if value is not None}
    return values | {name: value.double().cpu().numpy() for name, value in known.items()}

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
from deformer.hand.mano import HandLayer, Hands
from deformer.hand.rotations import rot6d_to_rotmat, rotmat_to_rot6d, rotmat_to_rotvec
from deformer.network.model import (
    Deformer,
    DeformerConfig,
    DeformerOutput,
    FrameFeatures,
)
from deformer.network.state_dict import load_state

Combine = Literal["centre", "overlap"]
_WINDOWS_AT_ONCE = 64


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
    vertices_m: np.ndarray
    """(M, V, 3) likewise; V as in the model's hand layer."""
    wrist_cam_m: np.ndarray
    """(M, 3): where the joints project best onto `joints_px` and fill the hand box as they should
    (`fit_translation`)."""
    pose_rotvec: np.ndarray
    """(M, 48); averaged as rot6d, then made orthonormal."""
    betas: np.ndarray
    """(M, 10)."""
    weights: np.ndarray
    """(M, T): weight of each frame of the window around this frame in its pose."""


def open_network(
    config: DeformerConfig, tensors: dict[str, Tensor], hands: Hands, device: torch.device | str,
    source: object, vertex_stride: int = 1,
) -> Deformer:  # fmt: skip
    """A network with these weights, for inference.

    source: their origin, for the `ValueError` about weights of another network. vertex_stride: as
    in `HandLayer`.
    """
    model = Deformer(config, HandLayer(hands, vertex_stride=vertex_stride))
    load_state(model, tensors, f"{source} is of another network")
    return model.to(device, memory_format=torch.channels_last).eval()


@torch.no_grad()
def encode(
    model: Deformer, images: Tensor, boxes_px: Tensor, is_left: Tensor,
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
def decode(
    model: Deformer, frames: Frames, windows: np.ndarray, centre: int, combine: Combine = "centre",
    autocast: AbstractContextManager | None = None,
) -> Predicted:  # fmt: skip
    """Decode windows (W, T), indices into `frames` → hands of their centre frames.

    combine: "centre" takes a frame's hand from the window around it, "overlap" averages over all
    windows that contain it.
    """
    N, (_, T) = len(frames.is_left), windows.shape
    count, is_centre = np.zeros(N), np.zeros(N, bool)  # overlap also covers other frames
    weights = np.zeros((N, T), np.float32)
    sums: dict[str, np.ndarray] = {}
    for part in _decoded(model, frames, windows, centre, autocast):
        chosen = part.windows
        is_centre[chosen[:, centre]] = True
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
    rotmats = rot6d_to_rotmat(torch.from_numpy(means.pop("rot6d")))
    return Predicted(
        place=np.flatnonzero(is_centre),
        num_windows=count.astype(np.int64),
        pose_rotvec=rotmat_to_rotvec(rotmats).numpy().reshape(-1, 48),
        weights=weights[is_centre],
        **means,
    )


class _Decoded(NamedTuple):
    """A batch of decoded windows."""

    windows: np.ndarray  # (B, T)
    values: dict[str, np.ndarray]  # (B, T, …), of all frames
    weights: np.ndarray  # (B, T), for the centre frame


def _decoded(
    model: Deformer, frames: Frames, windows: np.ndarray, centre: int,
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
        with autocast or nullcontext():
            output = model.decode_windows(features, is_left, occlusion)
        values = _values(output, frames.boxes_px[chosen], frames.K[chosen])
        yield _Decoded(chosen, values, output.weights[:, :, centre].float().cpu().numpy())


def _values(output: DeformerOutput, boxes_px: np.ndarray, K: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays (B, T, …) of all frames; boxes_px (B, T, 4), K (B, T, 3, 3)."""
    B, T, _ = boxes_px.shape
    joints = output.fused.joints_m.double().cpu().numpy()
    corner, opposite = np.split(boxes_px[:, :, None], 2, -1)  # (B, T, 1, 2)
    joints_px = corner + output.joints_2d.double().cpu().numpy() * (opposite - corner)
    wrist = fit_translation(
        joints.reshape(B * T, 21, 3),
        joints_px.reshape(B * T, 21, 2),
        K.reshape(B * T, 3, 3).astype(np.float64),
        boxes_px.reshape(B * T, 4).astype(np.float64),
    )
    return {
        "joints_px": joints_px,
        "joints_m": joints,
        "vertices_m": output.fused.vertices_m.double().cpu().numpy(),
        "wrist_cam_m": wrist.reshape(B, T, 3),
        "rot6d": rotmat_to_rot6d(output.fused.rotmats).double().cpu().numpy(),
        "betas": output.fused.betas.double().cpu().numpy(),
    }

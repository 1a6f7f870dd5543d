"""Hands of one track, frame by frame: a frame is encoded once, and its features are kept as long as
windows need them.

    stream = DeformerStream(model, is_left=False, K=K, window=WindowConfig(7, 10))
    for image in images:
        features = encode(model, ...)  # or None where the hand is not seen
        hand = stream.push(features, box_px)
    rest = stream.finish()

A hand is ready `delay` frames after its own frame. With the longest delay its window lies around it
as in training; with less the window slides back, so that it ends with the newest frame that the
delay allows: every frame of a window has a fused pose, the last one too.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deformer.data.windows import WindowConfig
from deformer.hand.camera import fit_translation
from deformer.hand.rotations import rot6d_to_rotmat, rotmat_to_rotvec
from deformer.network.model import Deformer
from deformer.network.output import DeformerOutput, FrameFeatures

_FPS_OF_TRAINING = 30


class ReadyWindow(NamedTuple):
    """A window that can be decoded into the hand of one of its frames."""

    frame: int
    """Number of this frame in its stream, from 0."""
    place: int
    """Its position in the window."""
    features: FrameFeatures
    """(T, …)."""
    is_left: bool
    box_px: np.ndarray
    """(4,): square hand box of this frame, in the image that K belongs to."""
    K: np.ndarray
    """(3, 3)."""


class StreamHands(NamedTuple):
    """N hands, as `inference.Predicted` has them, and what filling gaps needs."""

    frame: np.ndarray
    """(N,) int64."""
    joints_px: np.ndarray
    """(N, 21, 2)."""
    joints_m: np.ndarray
    """(N, 21, 3), relative to the wrist, in the camera's axes."""
    wrist_cam_m: np.ndarray
    """(N, 3)."""
    pose_rotvec: np.ndarray
    """(N, 48)."""
    betas: np.ndarray
    """(N, 10)."""
    weights: np.ndarray
    """(N, T)."""
    spread_mm: np.ndarray
    """(N,)."""
    rot6d: np.ndarray
    """(N, 16, 6): the fused pose, not orthonormal."""
    ahead: np.ndarray
    """(N, 16, 6): its motion to the next position of the window; 0 where there is none."""
    back: np.ndarray
    """(N, 16, 6): likewise to the one before."""

    def at(self, chosen: np.ndarray | slice) -> "StreamHands":
        return StreamHands(*(value[chosen] for value in self))


def rate_of(times_s: list[float], stated_fps: float) -> float:
    """Frames per second by the median of their distances; as the file states it, if that is the
    same within a twentieth (files may round times to ms), or if there are no distances."""
    apart = np.diff(times_s)
    if not (apart > 0).any():
        return stated_fps
    fps = 1 / float(np.median(apart[apart > 0]))
    return stated_fps if abs(fps / stated_fps - 1) < 0.05 else fps


def window_at(config: WindowConfig, fps: float) -> WindowConfig:
    """The window that spans as much time at this frame rate as in training, at 30 frames/s."""
    gap = max(1, round(config.gap * fps / _FPS_OF_TRAINING))
    return WindowConfig(config.num_frames, gap, config.edge)


def place_in_window(window: WindowConfig, delay: int | None) -> int:
    """The position whose hand is taken, for a delay in frames; None: the longest, which puts it in
    the centre."""
    if delay is not None and delay < 0:
        raise ValueError(f"the delay is {delay} frames, must be 0 or more")
    after = window.num_frames - 1 - window.centre
    return window.num_frames - 1 - (after if delay is None else min(after, delay // window.gap))


class WindowStream:
    """The windows of one track, each as soon as its last frame is there. Memory: the frames of one
    window."""

    def __init__(
        self, is_left: bool, K: np.ndarray, window: WindowConfig, delay: int | None = None
    ) -> None:
        self._is_left, self._K, self._window = is_left, K, window
        self._place = place_in_window(window, delay)
        before, after = self._place, window.num_frames - 1 - self._place
        self._wait = after * window.gap
        """Frames from a hand's own to the last of its window."""
        self._before = range(-window.gap, -(before + 1) * window.gap, -window.gap)
        self._after = range(window.gap, (after + 1) * window.gap, window.gap)
        length = before * window.gap + 1 + self._wait
        self._kept = deque([None] * length, maxlen=length)
        self._num = 0
        self._num_finished = 0

    def push(self, features: FrameFeatures | None, box_px: np.ndarray | None) -> ReadyWindow | None:
        """features: of one frame, (1, …) as `encode` returns them, and its square box; None for
        both where the hand is not seen. Returns the window of the frame `delay` frames ago, if the
        hand was seen in that one."""
        self._kept.append(None if features is None else (features, box_px))
        self._num += 1
        return self._ready()

    def finish(self) -> list[ReadyWindow]:
        """The windows that would have gone on after the last frame. The stream is empty then."""
        windows = []
        for _ in range(self._wait):
            self._kept.append(None)
            self._num_finished += 1
            windows.append(self._ready())
        return [window for window in windows if window is not None]

    def _ready(self) -> ReadyWindow | None:
        own = len(self._kept) - 1 - self._wait
        if self._kept[own] is None:
            return None
        before, after = self._walk(own, self._before), self._walk(own, self._after)
        chosen = [self._kept[k] for k in (*reversed(before), own, *after)]
        features = (torch.cat(values) for values in zip(*(f for f, _ in chosen), strict=True))
        return ReadyWindow(
            self._num + self._num_finished - 1 - self._wait, self._place,
            FrameFeatures(*features), self._is_left, self._kept[own][1], self._K,
        )  # fmt: skip

    def _walk(self, own: int, steps: range) -> list[int]:
        """Away from the own frame by the window's edge rule, as `clip_windows` does."""
        found, last, has_ended = [], own, False
        for step in steps:
            if self._kept[own + step] is not None and not has_ended:
                last = own + step
            elif self._window.edge == "hold":
                has_ended = True
            found.append(last)
        return found


class DeformerStream:
    """The hands of one track, each as soon as its window is there."""

    def __init__(
        self, model: Deformer, is_left: bool, K: np.ndarray, window: WindowConfig,
        delay: int | None = None,
    ) -> None:  # fmt: skip
        """window: its gap in frames of this video (`window_at`). delay: in frames, 0 for the pose
        of the newest frame; None: as long as a window around the frame needs."""
        self._model = model
        self._windows = WindowStream(is_left, K, window, delay)

    def push(self, features: FrameFeatures | None, box_px: np.ndarray | None) -> StreamHands | None:
        """As `WindowStream.push`; returns one hand."""
        window = self._windows.push(features, box_px)
        return None if window is None else decode_ready(self._model, [window])

    def finish(self) -> StreamHands | None:
        """The hands still missing, None if there are none."""
        windows = self._windows.finish()
        return decode_ready(self._model, windows) if windows else None


@torch.no_grad()
def decode_ready(model: Deformer, windows: list[ReadyWindow]) -> StreamHands:
    """Decode one or more windows, of any streams with equal windows, in one batch."""
    device, place = next(model.parameters()).device, windows[0].place
    features = zip(*(window.features for window in windows), strict=True)
    features = FrameFeatures(*(torch.stack(values).to(device) for values in features))
    is_left = torch.tensor([window.is_left for window in windows], device=device)
    output = model.decode_windows(features, is_left)
    boxes = np.stack([window.box_px for window in windows]).astype(np.float64)
    joints = output.fused.joints_m[:, place].double().cpu().numpy()
    joints_px = output.joints_2d[:, place].double().cpu().numpy()
    corner, opposite = np.split(boxes[:, None], 2, -1)  # (B, 1, 2)
    joints_px = corner + joints_px * (opposite - corner)
    K = np.stack([window.K for window in windows]).astype(np.float64)
    rotmats = output.fused.rotmats[:, place].double()
    fused, ahead, back = _motions(output, place)
    return StreamHands(
        frame=np.array([window.frame for window in windows]),
        joints_px=joints_px,
        joints_m=joints,
        wrist_cam_m=fit_translation(joints, joints_px, K, boxes),
        pose_rotvec=rotmat_to_rotvec(rotmats).flatten(1).cpu().numpy(),
        betas=output.fused.betas[:, place].double().cpu().numpy(),
        weights=output.weights[:, :, place].float().cpu().numpy(),
        spread_mm=_spread_mm(model, output, is_left, place),
        rot6d=fused,
        ahead=ahead,
        back=back,
    )


def _motions(output: DeformerOutput, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fused pose of a position before Gram-Schmidt, and its motions by one step, (B, 16, 6)."""
    deformed = output.deformed.double()
    T = deformed.shape[1]
    fused = torch.einsum(
        "bi,bikc->bkc", output.weights[:, :, place].double(), deformed[:, :, place]
    )
    own = deformed[:, place, place]
    ahead = deformed[:, place, place + 1] - own if place + 1 < T else torch.zeros_like(own)
    back = deformed[:, place, place - 1] - own if place > 0 else torch.zeros_like(own)
    return tuple(value.cpu().numpy() for value in (fused, ahead, back))


def _spread_mm(
    model: Deformer, output: DeformerOutput, is_left: Tensor, place: int
) -> np.ndarray:  # fmt: skip
    """(B,): see `HandRows.spread_mm`."""
    B, T = output.weights.shape[:2]
    rotmats = rot6d_to_rotmat(output.deformed[:, :, place]).flatten(0, 1)
    betas = output.fused.betas[:, place].repeat_interleave(T, 0)
    _, joints = model.hand_layer(rotmats, betas, is_left.repeat_interleave(T), model.config.tips)
    joints = (joints - joints[:, :1]).unflatten(0, (B, T))
    square = (joints - output.fused.joints_m[:, None, place]).square().sum(-1).mean(-1)  # (B, T)
    spread = (output.weights[:, :, place] * square).sum(1).sqrt()
    return spread.double().cpu().numpy() * 1000

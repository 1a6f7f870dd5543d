"""MANO's parameters, a file per track, named as smplx's `forward` takes them."""

import io
from pathlib import Path

import numpy as np

from deformer.files.whole import write_whole
from deformer.video.export.clip import Clip, Track, arrays_of


def write(clip: Clip, out: Path) -> list[Path]:
    """Write `<stem>.<track>.npz` for each track."""
    return [
        write_arrays(
            out / f"{clip.stem}.{track.name}.npz",
            mano_parameters(clip, track) | dict(arrays_of(clip, track)),
        )
        for track in clip.tracks
    ]


def mano_parameters(clip: Clip, track: Track) -> dict[str, np.ndarray]:
    """MANO's parameters, for points scale · MANO(global_orient, hand_pose, betas) + transl in the
    camera frame. MANO turns the hand about its wrist J₀(β): it is at scale · J₀(β) + transl."""
    hands = track.hands
    offset = hands.scale[:, None] * clip.model_of(track).wrist_m(hands.betas)
    return {
        "global_orient": hands.pose_rotvec[:, :3],
        "hand_pose": hands.pose_rotvec[:, 3:],
        "betas": hands.betas,
        "transl": (hands.wrist_cam_m - offset).astype(np.float32),
        "scale": hands.scale,
    }


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write an npz that loads without pickle."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())
    return path

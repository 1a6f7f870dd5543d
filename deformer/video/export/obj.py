"""Meshes, a file per frame and hand. x right, y up, z towards the camera; metres."""

from pathlib import Path

import numpy as np

from deformer.files.whole import whole_folder, write_part
from deformer.video.export.clip import Y_UP, Clip


def write(clip: Clip, out: Path, frame: int | None = None) -> list[Path]:
    """Write the folder `<stem>.hands.obj`, which replaces an older one whole.

    frame: only this one. Raises `ValueError` when it has no hand.
    """
    chosen = clip.hands.frame == frame
    if frame is not None and not chosen.any():
        raise ValueError(
            f"--frame {frame}: {clip.path} has no hand in this frame, but in "
            f"{len(np.unique(clip.hands.frame))} of {clip.info.num_frames} others"
        )
    folder = out.resolve() / f"{clip.stem}.hands.obj"
    with whole_folder(folder) as unfinished:
        for track in clip.tracks:
            hands = track.hands if frame is None else track.hands.at(track.hands.frame == frame)
            faces = _lines("f", "{}", clip.model_of(track).faces + 1)
            for number, vertices in zip(hands.frame, clip.vertices(hands) * Y_UP, strict=True):
                text = f"# {clip.info.source}, frame {number}, {track.name}; m; y up, z to camera\n"
                name = f"frame{number:06d}_{track.name}.obj"
                text += _lines("v", "{:.6f}", vertices) + faces
                write_part(unfinished / name, text.encode())
    return [folder]


def _lines(kind: str, form: str, rows: np.ndarray) -> str:
    line = f"{kind} {form} {form} {form}\n"
    return "".join(line.format(*row) for row in rows.tolist())

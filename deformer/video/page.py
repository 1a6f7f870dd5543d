"""`<stem>.hands.html`: the hands of a video in one file that needs no network.

The video's frames beside turning meshes, curves below, and a slider that moves all three. A mesh is
778 places in steps of 0.1 mm, from its wrist, as differences from the track's row before, gzipped.
Frames are small JPEGs, of a long video only every 2nd, 4th, … one.
"""

import base64
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deformer.files.images import encode_jpeg
from deformer.files.whole import write_whole
from deformer.hand.conventions import JOINT_PARENTS, SIDES
from deformer.hand.mano import HandLayer
from deformer.video.frames import VideoFrame
from deformer.video.hands_file import HandRows, HandsInfo
from deformer.video.ink import track_rgb
from deformer.video.meshes import hand_vertices

PAGE_SUFFIX = ".hands.html"
MOST_FRAMES, MOST_BYTES = 400, 12_000_000
"""Of a page's frames: their number, and the bytes of their JPEGs."""
_FOLDER, _SCRIPTS = Path(__file__).parent, ("page_space.js", "page.js")
_LONGER_SIDE, _QUALITY = 512, 72
_STEP_M = 1e-4
_PARTS_PER_PX = 16
_TIPS, _THUMB, _INDEX = np.array([4, 8, 12, 16, 20]), 4, 8


class Shown(NamedTuple):
    """M frames of a video, evenly spaced."""

    index: np.ndarray
    """(M,) int64."""
    time_s: np.ndarray
    """(M,)."""
    jpegs: list[bytes]
    every: int
    """1: all frames; n: every n-th."""
    width: int
    height: int


def write_page(
    path: Path, frames: Iterable[VideoFrame], hands: HandRows, info: HandsInfo, layer: HandLayer,
    faces: np.ndarray,
) -> None:  # fmt: skip
    """Write the page whole or not at all.

    frames: all frames of the video, in order; one is held at a time. layer, faces (F, 3): of the
    hand model that the rows were predicted with. Raises `ValueError` if there are no frames.
    """
    shown = thin(frames, MOST_FRAMES, MOST_BYTES)
    rows = hands.at(np.isin(hands.frame, shown.index))
    rows = rows.at(np.lexsort([rows.frame, rows.track]))  # so that a row follows its track's last
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html").render(
        info=info,
        # the name of a file may be bytes that are no text
        source=info.source.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        every=shown.every,
        num_shown=len(shown.jpegs),
        num_rows=len(hands.frame),
        num_filled=int((~hands.is_observed).sum()),
        num_tracks=len(np.unique(hands.track)),
        script="".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        content=_content(shown, rows, info, layer, faces),
    )
    write_whole(path, page)


def thin(frames: Iterable[VideoFrame], most_frames: int, most_bytes: int) -> Shown:
    """All frames, or so evenly every 2nd, 4th, … one that few enough of them are left."""
    kept: list[tuple[int, float, bytes]] = []
    every, shape = 1, None
    for k, frame in enumerate(frames):
        if k % every:
            continue
        small = _small(frame.image_rgb)
        shape = shape or small.shape
        jpeg = encode_jpeg(np.ascontiguousarray(small[..., ::-1]), _QUALITY)
        kept.append((frame.index, frame.time_s, jpeg))
        while len(kept) > most_frames or sum(len(jpeg) for *_, jpeg in kept) > most_bytes:
            if len(kept) == 1:
                break
            every, kept = 2 * every, kept[::2]
    if not kept:
        raise ValueError("a video without frames has no page: look at the video")
    index, time_s, jpegs = zip(*kept, strict=True)
    height, width, _ = shape
    return Shown(np.array(index), np.array(time_s), list(jpegs), every, width, height)


def _small(image: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    share = min(1, _LONGER_SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


# --------------------------------------------------------------------------- what the script reads


def _content(
    shown: Shown, rows: HandRows, info: HandsInfo, layer: HandLayer, faces: np.ndarray
) -> dict:
    tracks, track = np.unique(rows.track, return_inverse=True)
    is_left = {int(k): bool(left) for k, left in zip(rows.track, rows.is_left, strict=True)}
    share = np.array([shown.width / info.width, shown.height / info.height])
    joints_px = (rows.joints_px + 0.5) * share  # a canvas's pixels have their centres at halves
    vertices = hand_vertices(rows, layer) - rows.joints_cam_m[:, :1]
    return {
        "times": shown.time_s.round(4).tolist(),
        "numbers": shown.index.tolist(),
        "jpegs": [base64.b64encode(jpeg).decode() for jpeg in shown.jpegs],
        "size": [shown.width, shown.height],
        "tracks": [
            {"name": f"{k} {SIDES[is_left[k]]}", "rgb": "#" + bytes(track_rgb(k)).hex()}
            for k in tracks.tolist()
        ],
        "parents": JOINT_PARENTS,
        "faces": faces.ravel().tolist(),
        "rows": {
            "place": np.searchsorted(shown.index, rows.frame).tolist(),
            "track": track.tolist(),
            "observed": rows.is_observed.tolist(),
            "wrist": rows.joints_cam_m[:, 0].astype(float).round(4).tolist(),
        },
        "step": _STEP_M,
        "width": 3 * layer.num_vertices,
        "vertices": pack(vertices / _STEP_M),
        "parts": _PARTS_PER_PX,
        "joints": pack(joints_px * _PARTS_PER_PX),
        "curves": _curves(rows),
    }


def _curves(rows: HandRows) -> list[dict]:
    joints = rows.joints_cam_m.astype(float)
    reach = np.linalg.norm(joints[:, _TIPS] - joints[:, :1], axis=-1).mean(-1)
    pinch = np.linalg.norm(joints[:, _THUMB] - joints[:, _INDEX], axis=-1)
    curves = (
        ("Distance from the camera", "wrist, cm", joints[:, 0, 2] * 100),
        ("Opening of the hand", "fingertips from the wrist on average, mm", reach * 1000),
        ("Pinch", "tip of the thumb from tip of the index finger, mm", pinch * 1000),
        ("Disagreement", "between the frames of a window, mm", rows.spread_mm.astype(float)),
    )
    return [
        {"name": name, "unit": unit, "values": values.round(2).tolist()}
        for name, unit, values in curves
    ]


def pack(values: np.ndarray) -> str:
    """Numbers (N, …), rounded to int16 and clipped, as base64: gzip of each row's difference from
    the row before, modulo 2¹⁶."""
    limits = np.iinfo(np.int16)
    whole = np.rint(values).clip(limits.min, limits.max).astype("<i2")
    differences = np.concatenate([whole[:1], np.diff(whole, axis=0)])  # int16 wraps around
    return base64.b64encode(gzip.compress(differences.tobytes(), 6, mtime=0)).decode()

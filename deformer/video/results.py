"""The files of one video: its hands, its overlay, its page; what is finished is not made again."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path

from deformer.files.foreign import UnreadableFileError
from deformer.files.patient import entries, is_file, is_folder, open_file, status
from deformer.hand.mano import HandLayer
from deformer.training.checkpoint import file_sha256
from deformer.video.draw import OVERLAY_SUFFIX, draw_video
from deformer.video.frames import Video
from deformer.video.hands_file import HANDS_SUFFIX, HandRows, HandsInfo, read_hands, write_hands
from deformer.video.intrinsics import Camera, camera_of
from deformer.video.network import VideoNetwork
from deformer.video.page import PAGE_SUFFIX, write_page
from deformer.video.predictor import (
    HandOptions,
    Progress,
    find_tracks,
    fitted,
    predict_tracks,
    silent,
    size_of,
    smoothed,
)

RAW_SUFFIX = ".raw.parquet"
_METHOD = 2
"""Counted up when the same options give other rows."""
_END_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ResultOptions(HandOptions):
    """What shapes the hands of a video, and which files are written."""

    render: bool = True
    """Draw the overlay and write the page; --no-render writes the numbers only."""
    overwrite: bool = False
    """Replace results that were made with other options."""


@dataclass(frozen=True)
class Outcome:
    """What became of a video."""

    video: Path
    is_new: bool
    """Whether hands were predicted; otherwise they were there."""
    num_frames: int
    num_hands: int
    num_tracks: int
    K_from: str
    fault: str | None = None
    """What is wrong with the video, whose readable frames were used."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage: "finding hands", "predicting hands", "drawing", "page"."""


def predict_video(
    path: Path,
    out: Path,
    options: ResultOptions,
    network: VideoNetwork,
    progress: Progress = silent,
) -> Outcome:
    """Predict the hands of one video and write its files, each whole or not at all. What is there
    already, of the same options, is kept.

    Raises `ValueError` for results of other options unless `options.overwrite`, for a camera of
    another video, and for boxes of another video; `UnreadableFileError` for no video.
    """
    seconds: dict[str, float] = {}
    video = Video(path, options.fps)
    camera = camera_of(options.intrinsics, options.fov, size_of(video.info))
    config = config_sha256(path, options, network, camera)
    stem = out / stem_of(path)
    table = Path(f"{stem}{HANDS_SUFFIX}")
    known = _known(table, config, options)
    if known is None:
        rows, info = _predict(video, stem, config, camera, options, network, progress, seconds)
    else:
        rows, info = known
    if options.render:
        _render(video, stem, rows, info, network, progress, seconds)
    return Outcome(
        path, known is None, info.num_frames, len(rows.frame), len(set(rows.track.tolist())),
        info.K_from, video.fault, seconds,
    )  # fmt: skip


def stem_of(path: Path) -> str:
    return path.name if is_folder(path) else path.stem


def config_sha256(
    path: Path, options: ResultOptions, network: VideoNetwork, camera: Camera
) -> str:  # fmt: skip
    """Hash of everything that shapes the rows of a video."""
    shaping = {f.name: getattr(options, f.name) for f in fields(HandOptions)}
    shaping |= {
        "method": _METHOD,
        "intrinsics": camera.K.tolist(),
        "fov": None,
        "boxes": options.boxes and file_sha256(options.boxes),
        "detector": detector_of(options),
        "weights": network.sha256,
        "hand": network.hands.sha256,
        "window": asdict(network.window),
        "video": _mark(path),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def detector_of(options: HandOptions) -> str:
    if options.boxes is not None:
        return f"boxes of {options.boxes.name}"
    return f"mediapipe {version('mediapipe')}"


def _mark(path: Path) -> list:
    """Tells a video from another of the same name: its size, and a hash of its ends."""
    if is_folder(path):
        return [[p.name, status(p).st_size] for p in entries(path) if is_file(p)]
    size = status(path).st_size
    with open_file(path) as file:
        ends = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        ends += file.read()
    return [size, hashlib.sha256(ends).hexdigest()]


def _known(table: Path, config: str, options: ResultOptions) -> tuple[HandRows, HandsInfo] | None:
    """The hands that are there already, of the same options."""
    if not is_file(table):
        return None
    try:
        rows, info = read_hands(table)
    except UnreadableFileError as error:
        logging.warning(f"made again: {error}")
        return None
    if info.config_sha256 == config:
        return rows, info
    if not options.overwrite:
        raise ValueError(
            f"{table} was made with other options or from another video: replace it by "
            "--overwrite, or give another --out"
        )
    return None


def _predict(
    video: Video, stem: Path, config: str, camera: Camera, options: ResultOptions,
    network: VideoNetwork, progress: Progress, seconds: dict[str, float],
) -> tuple[HandRows, HandsInfo]:  # fmt: skip
    with _timed(seconds, "finding hands"):
        found = find_tracks(video, network, options, progress)
    with _timed(seconds, "predicting hands"):
        rows = predict_tracks(video, found, network, camera.K, options, progress)
    if options.fit:
        with _timed(seconds, "fitting"):
            rows = fitted(rows, found.tracks, network, camera.K)
    info = HandsInfo(
        source=video.path.name, fps=found.fps, width=video.info.width,
        height=video.info.height, num_frames=found.num_frames,
        K=tuple(map(tuple, camera.K.tolist())), K_from=camera.K_from, checkpoint=network.name,
        checkpoint_sha256=network.sha256, licence=network.licence, hand_model=network.hands.name,
        hand_model_sha256=network.hands.sha256, detector=detector_of(options),
        fitted=options.fit and options.boxes is None, smoothed=False,
        config_sha256=config, tips=network.model.config.tips,
    )  # fmt: skip
    for suffix in (OVERLAY_SUFFIX, PAGE_SUFFIX, RAW_SUFFIX):  # of other options
        Path(f"{stem}{suffix}").unlink(missing_ok=True)
    if options.smooth:
        write_hands(Path(f"{stem}{RAW_SUFFIX}"), rows, info)
        rows, info = smoothed(rows, network), HandsInfo(**asdict(info) | {"smoothed": True})
    write_hands(Path(f"{stem}{HANDS_SUFFIX}"), rows, info)
    return rows, info


def _render(
    video: Video, stem: Path, rows: HandRows, info: HandsInfo, network: VideoNetwork,
    progress: Progress, seconds: dict[str, float],
) -> None:  # fmt: skip
    """Draw what is not there yet."""
    overlay, page = Path(f"{stem}{OVERLAY_SUFFIX}"), Path(f"{stem}{PAGE_SUFFIX}")
    layer, faces = HandLayer(network.hands), network.hands.right.faces
    if not is_file(overlay):
        with _timed(seconds, "drawing"):
            draw_video(
                progress(video, "drawing", info.num_frames), rows, info, layer, faces, overlay
            )
    if not is_file(page):
        with _timed(seconds, "page"):
            frames = progress(video, "writing the page", info.num_frames)
            write_page(page, frames, rows, info, layer, faces)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - begin

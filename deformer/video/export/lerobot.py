"""A LeRobotDataset v3.0: an episode per video, a row per frame, one right and one left hand.

Values of a hand that is not there are 0, and its `is_valid` is false; statistics leave them out.
"""

import json
import logging
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deformer.files.whole import whole_folder, write_part
from deformer.hand.conventions import JOINT_NAMES, MANO_JOINT_NAMES, SIDES
from deformer.video.export.clip import Clip
from deformer.video.export.lerobot_stats import Stats, combine, of_histogram, of_values
from deformer.video.frames import Video, video_writer
from deformer.video.hands_file import HandRows

TASK = "move the hands as in the video"
CAMERA = "observation.images.camera"
_CHUNK = 1000
_DATA, _EPISODES = "data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_PIXELS_EVERY = 4
"""Every n-th row and column counts in the statistics of images."""


_KEYFRAME_EVERY = 2
"""As in LeRobot: frames are read one by one, in any order."""


def _axes(names: Sequence[str]) -> list[str]:
    return [f"{name}_{axis}" for name in names for axis in "xyz"]


_OF_HANDS: dict[str, tuple[str, list[str] | None]] = {
    "joints_cam_m": ("observation.{}.joints_cam_m", _axes(JOINT_NAMES)),
    "wrist_cam_m": ("observation.{}.wrist_cam_m", _axes(["wrist"])),
    "pose_rotvec": ("observation.{}.pose_rotvec", _axes(MANO_JOINT_NAMES)),
    "betas": ("observation.{}.betas", [f"beta_{k}" for k in range(10)]),
    "scale": ("observation.{}.scale", None),
    "is_observed": ("{}.is_observed", None),
    "track": ("{}.track", None),
}
"""Name of the feature of each side, and names of its values."""


def write(clips: list[Clip], out: Path, videos: Path | None = None, task: str = TASK) -> list[Path]:
    """Write the dataset, the folder `out` itself, whole or not at all.

    videos: the folder of the videos, whose frames become a part of the dataset. Raises `ValueError`
    for a folder that is not empty and for videos of different rates or sizes,
    `FileNotFoundError` for a missing video.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out} is not empty, and a dataset is a folder of its own: "
                         "name a new one")  # fmt: skip
    fps = _common_fps(clips)
    sources = [_find_video(clip, videos) for clip in clips] if videos else []
    if len({(clip.info.width, clip.info.height) for clip in clips}) > 1 and sources:
        sizes = ", ".join(f"{clip.stem} {clip.info.width}x{clip.info.height}" for clip in clips)
        raise ValueError(f"a dataset's videos have one size, these have several ({sizes}): export "
                         "each size by itself, or leave out --videos")  # fmt: skip
    with whole_folder(out) as folder:
        _write_dataset(folder, clips, sources, fps, task)
    return [out]


def _write_dataset(
    folder: Path, clips: list[Clip], sources: list[Path], fps: float, task: str
) -> None:
    episodes: list[dict] = []
    described: list[dict[str, Stats]] = []
    num_rows = 0
    (folder / _DATA).parent.mkdir(parents=True)
    with ExitStack() as stack:
        writer = None
        for number, clip in enumerate(clips):
            columns, counted = _columns(clip, number, num_rows, fps)
            table = _table(columns)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(folder / _DATA, table.schema))
                features = {name: _feature(name, values) for name, values in columns.items()}
                features |= {CAMERA: _camera_feature(clip, fps)} if sources else {}
            writer.write_table(table)
            stats = {name: of_values(values, counted.get(name)) for name, values in columns.items()}
            if sources:
                stats[CAMERA] = _write_video(folder, sources[number], clip, number, fps)
            episode = _episode(number, len(table), num_rows, task)
            episodes.append(episode | _of_episode(number, len(table) / fps, stats))
            described.append(stats)
            num_rows += len(table)
    totals = {name: combine([stats[name] for stats in described]) for name in features}
    info = _info(features, len(clips), num_rows, fps, bool(sources))
    _write_parquet(folder / _EPISODES, pa.Table.from_pylist(episodes))
    _write_parquet(folder / "meta/tasks.parquet", _tasks(task))
    for name, content in (
        ("info", info), ("stats", totals), ("hands", [asdict(clip.info) for clip in clips]),
    ):  # fmt: skip
        write_part(folder / f"meta/{name}.json", json.dumps(content, indent=1).encode())


# ------------------------------------------------------------------------------------------ rows


def _columns(
    clip: Clip, episode: int, first_row: int, fps: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arrays of a video's frames, and which rows of them count in statistics."""
    F = clip.info.num_frames
    frames = np.arange(F)
    columns, counted = {}, {}
    for side in SIDES:
        rows = _of_side(clip, side == "left")
        is_valid = np.zeros(F, bool)
        is_valid[rows.frame] = True
        for name, (feature, _) in _OF_HANDS.items():
            values = getattr(rows, name)
            values = values.reshape(len(values), math.prod(values.shape[1:]))
            kind = {"b": bool, "i": np.int64}.get(values.dtype.kind, np.float32)
            columns[key := feature.format(side)] = np.zeros((F, values.shape[1]), kind)
            columns[key][rows.frame] = values
            counted[key] = is_valid
        columns[f"{side}.is_valid"] = is_valid[:, None]
    columns["observation.camera_K"] = np.tile(clip.K.reshape(1, 9).astype(np.float32), (F, 1))
    columns["timestamp"] = (frames / fps).astype(np.float32)[:, None]
    columns["frame_index"] = frames[:, None]
    columns["episode_index"] = np.full((F, 1), episode)
    columns["index"] = first_row + frames[:, None]
    columns["task_index"] = np.zeros((F, 1), np.int64)
    return columns, counted


def _of_side(clip: Clip, is_left: bool) -> HandRows:
    """At most one hand of a side in a frame: that of the longest track."""
    tracks = [track for track in clip.tracks if track.hands.is_left[0] == is_left]
    tracks.sort(key=lambda track: -len(track.hands.frame))
    is_taken = np.zeros(clip.info.num_frames, bool)
    chosen, num_left_out = np.zeros(len(clip.hands.frame), bool), 0
    for track in tracks:
        rows = np.flatnonzero(clip.hands.track == track.hands.track[0])
        is_free = ~is_taken[clip.hands.frame[rows]]
        chosen[rows[is_free]] = True
        is_taken[clip.hands.frame[rows]] = True
        num_left_out += int((~is_free).sum())
    if num_left_out:
        logging.warning(
            f"{clip.path}: {num_left_out} {SIDES[int(is_left)]} hands are left out, because a "
            "frame of the dataset has one of each side"
        )
    return clip.hands.at(chosen)


def _table(columns: dict[str, np.ndarray]) -> pa.Table:
    def column(values: np.ndarray) -> pa.Array:
        flat = pa.array(values.reshape(-1))
        width = values.shape[1]
        return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)

    return pa.table({name: column(values) for name, values in columns.items()})


def _common_fps(clips: list[Clip]) -> float:
    """LeRobot's rate: a whole number where the videos' rate is within 1 % of one."""
    rates = {clip.stem: clip.info.fps for clip in clips}
    fps = next(iter(rates.values()))
    fps = round(fps) if abs(fps / max(round(fps), 1) - 1) < 0.01 else fps
    if any(abs(rate / fps - 1) > 0.01 for rate in rates.values()):
        found = ", ".join(f"{name} {rate:.4g}" for name, rate in rates.items())
        raise ValueError(f"a dataset has one frame rate, these videos have several ({found} "
                         "frames/s): export each rate by itself")  # fmt: skip
    for clip in clips:
        late_s = np.abs(clip.hands.time_s - clip.hands.frame / fps).max(initial=0)
        if late_s > 1 / fps:
            logging.warning(
                f"{clip.path}: LeRobot's timestamps, frame / {fps:.4g}, are up to {late_s:.2f} s "
                "off the video's own, which do not rise evenly"
            )
    return fps


# ---------------------------------------------------------------------------------------- videos


def _find_video(clip: Clip, folder: Path) -> Path:
    path = folder / clip.info.source
    if not path.exists():
        raise FileNotFoundError(
            f"--videos {folder} has no {clip.info.source}, the video of {clip.path}: name the "
            "folder that holds it, or leave out --videos"
        )
    return path


def _write_video(folder: Path, source: Path, clip: Clip, episode: int, fps: float) -> Stats:
    """Write a video at an even rate, frame for frame; the statistics of its pixels."""
    chunk, file = divmod(episode, _CHUNK)
    path = folder / "videos" / CAMERA / f"{_FILE.format(chunk_index=chunk, file_index=file)}.mp4"
    video, F = Video(source), clip.info.num_frames
    histogram, num_frames = np.zeros((3, 256), np.int64), 0
    size = video.info.width, video.info.height
    with video_writer(path, fps, size, _KEYFRAME_EVERY) as write_frame:
        for frame in video:
            write_frame(frame.image_rgb, frame.index / fps)
            seen = frame.image_rgb[::_PIXELS_EVERY, ::_PIXELS_EVERY]
            histogram += [np.bincount(seen[..., k].ravel(), minlength=256) for k in range(3)]
            num_frames += 1
    if (found := (num_frames, video.info.width, video.info.height)) != (
        wanted := (F, clip.info.width, clip.info.height)
    ):
        raise ValueError(f"{source} is not the video of {clip.path}: it has {found} frames, width, "
                         f"height, there are {wanted}: name another --videos")  # fmt: skip
    return of_histogram(histogram, num_frames)


def _camera_feature(clip: Clip, fps: float) -> dict:
    width, height = (side + side % 2 for side in (clip.info.width, clip.info.height))
    about = {"height": height, "width": width, "codec": "h264", "pix_fmt": "yuv420p"}
    about |= {"is_depth_map": False, "fps": fps, "channels": 3}
    return {
        "dtype": "video",
        "shape": [height, width, 3],
        "names": ["height", "width", "channels"],
        "info": {f"video.{key}": value for key, value in about.items()} | {"has_audio": False},
    }


# ------------------------------------------------------------------------------------------ meta


def _feature(name: str, values: np.ndarray) -> dict:
    named = {feature.format(side): names for feature, names in _OF_HANDS.values() for side in SIDES}
    return {"dtype": str(values.dtype), "shape": [values.shape[1]], "names": named.get(name)}


def _episode(episode: int, num_frames: int, first_row: int, task: str) -> dict:
    return {
        "episode_index": episode,
        "tasks": [task],
        "length": num_frames,
        "data/chunk_index": 0,
        "data/file_index": 0,
        "dataset_from_index": first_row,
        "dataset_to_index": first_row + num_frames,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def _of_episode(episode: int, length_s: float, stats: dict[str, Stats]) -> dict:
    """Where an episode's video is, and its statistics."""
    row = {f"stats/{name}/{key}": v for name, values in stats.items() for key, v in values.items()}
    if CAMERA in stats:
        place = dict(zip(("chunk_index", "file_index"), divmod(episode, _CHUNK), strict=True))
        place |= {"from_timestamp": 0.0, "to_timestamp": length_s}
        row |= {f"videos/{CAMERA}/{key}": value for key, value in place.items()}
    return row


def _info(features: dict, num_episodes: int, num_rows: int, fps: float, has_videos: bool) -> dict:
    return {
        "codebase_version": "v3.0",
        "robot_type": "human_hands",
        "total_episodes": num_episodes,
        "total_frames": num_rows,
        "total_tasks": 1,
        "chunks_size": _CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{num_episodes}"},
        "data_path": f"data/{_FILE}.parquet",
        "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if has_videos else None,
        "features": features,
    }


def _tasks(task: str) -> pa.Table:
    """Tasks by number; LeRobot reads their names as the index of a pandas table."""
    described = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": pandas,
            "numpy_type": numpy,
            "metadata": None,
        }
        for name, pandas, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    index = {"index_columns": ["task"], "column_indexes": [], "columns": described}
    table = pa.table({"task_index": [0], "task": [task]})
    return table.replace_schema_metadata(
        {"pandas": json.dumps(index | {"pandas_version": "2.0.0"})}
    )


def _write_parquet(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_part(path, sink.getvalue().to_pybytes())

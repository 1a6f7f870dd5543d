"""Predict the hands of all videos of a folder and its subfolders, on many processes or machines.

    python -m pipelines.predict_videos --root recordings --out hands
    python -m pipelines.predict_videos --root recordings --out recordings --no-render
    python -m pipelines.predict_videos --root recordings --out hands --scheduler tcp://head:8786

Each video has the files of `python -m deformer.predict`, in a folder of --out as the video's in
--root, and a row in videos.csv, with the reason if it could not be read. With --out as --root the
hands lie beside their videos, where --dataset videos of pipelines.build_shards looks for them.

Stop it at any moment and run the same command again: it goes on, and ends with the same files.
Videos that failed are tried again.

Exit status: 0 every video has a row, 1 all failed, or input or output cannot be used, 2 an option
is wrong, 130 interrupted.
"""

import csv
import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path

import tyro
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from deformer.files.foreign import UnreadableFileError, check_folder_name, read_json
from deformer.files.patient import is_file, is_folder, read_file
from deformer.files.sealed import SEAL, UNSEALED, parse_sealed_json, write_json
from deformer.files.whole import NoRoomError, write_whole
from deformer.program.console import PlainConsole, print_labelled, run_program
from deformer.program.lock import LockError, locked
from deformer.program.pool import single_threaded
from deformer.video.detect import HandDetector
from deformer.video.folders import hands_beside, videos_below
from deformer.video.frames import Video
from deformer.video.hands_file import read_hands_info
from deformer.video.network import VideoNetwork, open_for_videos
from deformer.video.predictor import HandOptions
from deformer.video.results import ResultOptions, detector_of, predict_video
from pipelines.building.cluster import WorkerOptions, dask_client
from pipelines.building.plan import describe_changes
from pipelines.datasets.source import UnusableInputError

TABLE_FILE = "videos.csv"
MARKS_FOLDER = ".deformer-videos"
"""In --out: what is done, and with which options."""
_SHOWN = 10
"""Failed videos named on the console."""
_WAIT_FOR_LOCK_S = 60
"""A worker of an earlier run may still be at a video for a while."""


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions, WorkerOptions):
    """Which videos, where to, which network, and on how many workers."""

    root: Path
    """The folder of the videos, with subfolders."""
    out: Path
    """The folder of the results; it may be the same."""
    boxes: tyro.conf.Suppress[Path | None] = None
    checkpoint: str = "lite"
    """The name of weights that ship, a file of weights, or a run."""
    which: str = "best"
    """Which checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for networks trained with MANO; by default the folder in
    $MANO_DIR."""
    device: str | None = None
    """cpu or cuda; by default a GPU if there is one."""

    def __post_init__(self) -> None:
        HandOptions.__post_init__(self)
        WorkerOptions.__post_init__(self)


@dataclass(frozen=True)
class Row:
    """A video in videos.csv."""

    video: str
    """Its path below --root."""
    state: str
    """"done" or "failed"."""
    reason: str = ""
    """Why it failed, or what is wrong with it."""
    frames: int | None = None
    hands: int | None = None
    tracks: int | None = None
    camera: str = ""
    """"given", or how it was assumed."""


def predict_videos(options: Options) -> list[Row]:
    """Predict all videos, or go on; returns the rows of the table.

    Raises `ValueError` or `OSError` with one line that says what to do.
    """
    root, out = options.root.resolve(), options.out.resolve()
    options = replace(options, root=root, out=out)
    if not is_folder(root):
        raise UnusableInputError(f"--root {root} is not a folder: name that of the videos")
    check_folder_name(out)
    videos = videos_below(root, without=None if out == root else out)
    network = _network(options)
    with HandDetector():  # say at once what is not installed
        pass
    with locked(out, "prediction of videos"):
        _begin(out, options, network)
        names, rows = _one_per_stem([video.relative_to(root).as_posix() for video in videos])
        rows += _run_all(names, options)
        rows.sort(key=lambda row: row.video)
        write_whole(out / TABLE_FILE, _as_csv(rows))
    return rows


def _begin(out: Path, options: Options, network: VideoNetwork) -> None:
    """Refuse to go on with other options."""
    path = out / MARKS_FOLDER / "parameters.json"
    parameters = {
        f.name: getattr(options, f.name) for f in fields(HandOptions) if f.name != "boxes"
    }
    parameters |= {
        "checkpoint": network.sha256,
        "hand": network.hands.sha256,
        "detector": detector_of(options),
    }
    if is_file(path) and not options.overwrite:
        try:
            before = read_json(path)
        except UnreadableFileError as error:
            raise UnreadableFileError(f"{error}; replace the results by --overwrite") from None
        if difference := describe_changes(before, parameters):
            raise UnusableInputError(
                f"{out} holds hands of other options ({difference}); give another --out, or "
                "replace them by --overwrite"
            )
    write_json(path, parameters)


def _one_per_stem(names: list[str]) -> tuple[list[str], list[Row]]:
    """The videos that have files of their own, and rows of those that would write another's."""
    first: dict[Path, str] = {}
    rows = []
    for name in names:
        other = first.setdefault(hands_beside(Path(name)), name)
        if other != name:
            reason = f"its files would be those of {other}: rename one of the two"
            rows.append(Row(name, "failed", reason))
    return list(first.values()), rows


def _as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue()


# --------------------------------------------------------------------------------------- one video


@cache
def _network(options: Options) -> VideoNetwork:
    """Once per worker."""
    return open_for_videos(options.checkpoint, options.which, options.mano_dir, options.device)


def predict_one(name: str, options: Options) -> Row:
    """Predict the video of this path below `options.root`, unless that is done, and mark it."""
    single_threaded()
    if not is_folder(options.root):
        raise FileNotFoundError(
            f"{options.root} is not a folder on this worker; every worker must see videos and "
            "output under the same paths"
        )
    network = _network(options)
    video, folder = options.root / name, (options.out / name).parent
    marks = options.out / MARKS_FOLDER / name
    try:
        with _locked_soon(marks):
            row = _predict(name, video, folder, marks / "done.json", options, network)
    except NoRoomError:
        raise
    except Exception as error:  # whatever a library raises on one video, the others go on
        reason = " ".join(str(error).split()).replace(str(video), name)
        if not isinstance(error, ValueError | OSError):
            reason = f"{type(error).__name__}: {reason}"
        return Row(name, "failed", reason)
    return row


def _predict(
    name: str, video: Path, folder: Path, mark: Path, options: Options, network: VideoNetwork
) -> Row:
    outcome = predict_video(video, folder, options, network)
    config = read_hands_info(folder / hands_beside(video).name).config_sha256
    if not outcome.is_new and (row := _read_mark(mark, config)):
        return row
    fault = outcome.fault
    if not outcome.is_new:  # stopped before its mark: read it again to its end
        whole = Video(video, options.fps)
        for _ in whole:
            pass
        fault = whole.fault
    row = Row(
        name, "done", (fault or "").replace(str(video), name), outcome.num_frames,
        outcome.num_hands, outcome.num_tracks, outcome.K_from,
    )  # fmt: skip
    write_json(mark, {"config": config, "row": asdict(row), **UNSEALED})
    return row


def _read_mark(path: Path, config: str) -> Row | None:
    try:
        content = parse_sealed_json(read_file(path))
        is_whole = SEAL in content and content["config"] == config
        return Row(**content["row"]) if is_whole else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # absent, or damaged
        return None


@contextmanager
def _locked_soon(folder: Path) -> Iterator[None]:
    """As `locked`, after a wait for a worker that was presumed dead."""
    end = time.monotonic() + _WAIT_FOR_LOCK_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder, "prediction"))
                break
            except LockError:
                if time.monotonic() > end:
                    raise
                time.sleep(1)
        yield


# -------------------------------------------------------------------------------------- all of them


def _run_all(names: list[str], options: Options) -> list[Row]:
    rows = []
    with _bar(len(names)) as advance:
        for row in _rows(names, options):
            rows.append(row)
            advance()
    return rows


def _rows(names: list[str], options: Options) -> Iterator[Row]:
    """As they come."""
    if options.workers == 0:
        yield from (predict_one(name, options) for name in names)
        return
    from dask.distributed import KilledWorker, as_completed

    with dask_client(options, len(names)) as client:
        videos = {client.submit(predict_one, name, options, pure=False): name for name in names}
        try:
            for future in as_completed(videos):
                try:
                    yield future.result()
                except KilledWorker:
                    reason = "its worker was killed again and again: probably out of memory"
                    yield Row(videos[future], "failed", reason)
                future.release()
        finally:
            client.cancel(list(videos))


@contextmanager
def _bar(num_videos: int) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("predicting"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,} videos"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=PlainConsole()) as progress:
        bar = progress.add_task("predicting", total=num_videos)
        yield partial(progress.advance, bar)


def _print_summary(rows: list[Row], out: Path) -> None:
    console = PlainConsole(stderr=False)
    done = [row for row in rows if row.state == "done"]
    frames, hands = (sum(getattr(row, name) for row in done) for name in ("frames", "hands"))
    empty = sum(row.hands == 0 for row in done)
    faulty = sum(bool(row.reason) for row in done)
    console.print(
        f"{len(rows):,} videos: {len(done):,} done ({empty:,} without a hand, {faulty:,} damaged), "
        f"{len(rows) - len(done):,} failed; {hands:,} hands in {frames:,} frames",
        soft_wrap=True,
    )
    for row in [row for row in rows if row.state == "failed"][:_SHOWN]:
        print_labelled(f"{row.video}:", row.reason, console, "yellow")
    for camera, number in sorted(Counter(row.camera for row in done).items()):
        console.print(f"camera of {number:,}: {camera}", soft_wrap=True)
    console.print(f"a row for each: {out / TABLE_FILE}", soft_wrap=True)


def main() -> int:
    def run(options: Options) -> int:
        rows = predict_videos(options)
        _print_summary(rows, options.out)
        return int(all(row.state == "failed" for row in rows))

    going_on = "interrupted; what is finished is kept: run the same command to go on"
    return run_program(run, Options, "pipelines.predict_videos", __doc__, going_on)


if __name__ == "__main__":
    # imported under its own name, so that workers can import what is sent to them
    from pipelines.predict_videos import main as imported_main

    sys.exit(imported_main())

"""Predict the hands of videos: 3D joints, MANO poses and shapes, a row per frame and hand.

    python -m deformer.predict clip.mp4
    python -m deformer.predict recordings/ --out hands --intrinsics camera.json --hand-length 185
    python -m deformer.predict 0 --seconds 20        # webcam number 0

SOURCE is a video, a picture, a folder or a pattern of these, or the number of a webcam. In --out it
writes for each video:

- STEM.hands.parquet: all numbers; its footer says where they come from;
- STEM.hands.mp4: the video with meshes, skeletons and track numbers, and a side view;
- STEM.hands.html: the video beside turning meshes, in a browser, without a network;
- STEM.raw.parquet, with --smooth: the hands before smoothing.

A video that is finished with the same options is skipped, so the same command goes on where it was
stopped. MediaPipe finds the hands, unless --boxes gives them.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from deformer.files.patient import is_file
from deformer.files.whole import NoRoomError, check_folder
from deformer.program.console import PlainConsole, print_error, print_labelled, run_program
from deformer.video import predictor
from deformer.video.detect import HandDetector
from deformer.video.frames import find_videos
from deformer.video.hands_file import HANDS_SUFFIX
from deformer.video.network import open_for_videos
from deformer.video.results import Outcome, ResultOptions, predict_video, stem_of
from deformer.video.webcam import record

_ASSUMED = "; distances are only as good as that: give --intrinsics or --fov"
_GO_ON = "stopped; finished videos are kept: the same command goes on"


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Which videos, which network, and what is known of the camera."""

    source: tyro.conf.Positional[str]
    """A video, a picture, a folder or a pattern of these, or the number of a webcam."""
    checkpoint: str = "lite"
    """The name of weights that ship, a file of weights, or a run."""
    out: Path = Path("hands")
    """The folder of the results."""
    which: str = "best"
    """Which checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for networks trained with MANO; by default the folder in
    $MANO_DIR."""
    device: str | None = None
    """cpu or cuda; by default a GPU if there is one."""
    seconds: float | None = None
    """How long a webcam records; by default until Ctrl-C."""


def run(options: Options) -> int:
    """Predict all videos. Returns 1 if one of them failed."""
    console = PlainConsole()
    network = open_for_videos(options.checkpoint, options.which, options.mano_dir, options.device)
    if options.boxes is None:
        with HandDetector():  # say at once what is not installed
            pass
    elif not is_file(options.boxes):
        raise FileNotFoundError(f"--boxes {options.boxes}: there is no such file")
    videos = _videos(options, console)
    check_folder(options.out)
    num_failed, cameras = 0, set()
    for path in videos:
        try:
            with _bars(path.name, console) as progress:
                outcome = predict_video(path, options.out, options, network, progress)
        except NoRoomError:
            raise
        except Exception as error:  # whatever a library raises on one video, the others go on
            if len(videos) == 1:
                raise
            num_failed += 1
            kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
            print_error(f"{path.name}: {kind}{error}", console)
        else:
            _print_outcome(outcome, options, console)
            cameras.add(outcome.K_from)
    for camera in sorted(cameras - {"given"}):
        advice = _ASSUMED if camera.startswith("assumed") else ""
        print_labelled("camera:", camera + advice, console, "yellow")
    if num_failed:
        console.print(f"{num_failed} of {len(videos)} videos failed", soft_wrap=True)
    return min(num_failed, 1)


def _videos(options: Options, console: PlainConsole) -> list[Path]:
    if options.source.isdecimal() and not Path(options.source).exists():
        path = options.out / time.strftime(f"webcam{options.source}_%Y%m%d_%H%M%S.mp4")
        console.print(f"recording {path}; Ctrl-C ends it", soft_wrap=True)
        num_frames = record(int(options.source), path, options.seconds)
        console.print(f"recorded {num_frames} frames", soft_wrap=True)
        return [path]
    videos = find_videos(options.source)
    if options.boxes is not None and len(videos) > 1:
        raise ValueError(
            f"--boxes {options.boxes} is of one video, and SOURCE {options.source} has "
            f"{len(videos)}: name one"
        )
    by_stem: dict[str, Path] = {}
    for path in videos:
        if (other := by_stem.setdefault(stem_of(path), path)) != path:
            raise ValueError(
                f"{other} and {path} would write the same files, {stem_of(path)}{HANDS_SUFFIX}: "
                "rename one, or predict them one by one with another --out"
            )
    return videos


def _print_outcome(outcome: Outcome, options: Options, console: PlainConsole) -> None:
    name, stem = outcome.video.name, options.out / stem_of(outcome.video)
    if outcome.fault:
        print_labelled("warning:", outcome.fault, console, "yellow")
    if outcome.num_hands == 0:
        found = f"no hand was found in {outcome.num_frames} frames; {stem}{HANDS_SUFFIX} is empty"
    else:
        found = (
            f"{outcome.num_hands} hands in {outcome.num_tracks} tracks, {outcome.num_frames} frames"
        )
    speed = ""
    if outcome.seconds:
        total = sum(outcome.seconds.values())
        stages = ", ".join(f"{name} {value:.1f} s" for name, value in outcome.seconds.items())
        speed = f"; {outcome.num_frames / total:.1f} frames/s ({stages})"
    if not outcome.is_new:
        found = f"finished before, {found}"
    console.print(f"{name}: {found}{speed} → {stem}.hands.*", soft_wrap=True)


class _Speed(ProgressColumn):
    def render(self, task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} frames/s" if speed else "– frames/s")


@contextmanager
def _bars(name: str, console: PlainConsole) -> Iterator[predictor.Progress]:
    """A bar per stage of a video, with frames/s and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} frames"),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def passed(items: Iterable, title: str, total: int | None) -> Iterable:
            bar = progress.add_task(f"{name}: {title}", total=total)
            for item in items:
                yield item
                progress.advance(bar)
            progress.update(bar, total=progress.tasks[bar].completed)

        yield passed


def main() -> int:
    return run_program(run, Options, "deformer.predict", __doc__, _GO_ON)


if __name__ == "__main__":
    sys.exit(main())

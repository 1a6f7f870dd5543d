"""Draw the hands of a video again, without the network.

    python -m deformer.draw hands/clip.hands.parquet
    python -m deformer.draw hands/clip.hands.parquet --video recordings/clip.mp4 --out drawn.mp4

It reads the video and the file that `python -m deformer.predict` wrote of it, which may have been
corrected since.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import track

from deformer.hand.mano import HandLayer, load_same_hands
from deformer.program.console import PlainConsole, print_labelled, run_program
from deformer.video.draw import OVERLAY_SUFFIX, draw_video
from deformer.video.frames import Video
from deformer.video.hands_file import HANDS_SUFFIX, HandsInfo, read_hands


@dataclass(frozen=True)
class Options:
    """Which hands, and where their video is."""

    file: tyro.conf.Positional[Path]
    """STEM.hands.parquet."""
    video: Path | None = None
    """The video of the hands; by default the one of its name beside FILE or in this folder."""
    out: Path | None = None
    """The mp4 to write; by default STEM.hands.mp4 beside FILE."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for hands of a network trained with MANO; by default the
    folder in $MANO_DIR."""


def find_video(file: Path, video: Path | None, info: HandsInfo) -> Path:
    """The video of the hands in `file`. Raises `FileNotFoundError`."""
    places = [file.parent / info.source, Path(info.source)] if video is None else [video]
    for place in places:
        if place.exists():
            return place
    where = " or ".join(map(str, places))
    raise FileNotFoundError(f"{where} does not exist, the video of {file}: name it by --video")


def run(options: Options) -> None:
    """Draw, and print the path of the overlay."""
    console = PlainConsole()
    hands, info = read_hands(options.file)
    video = Video(find_video(options.file, options.video, info), info.fps)
    made = f"{options.file} was predicted"
    model = load_same_hands(info.hand_model, info.hand_model_sha256, made, options.mano_dir)
    stem = options.file.name.removesuffix(HANDS_SUFFIX)
    out = options.out or options.file.with_name(f"{stem}{OVERLAY_SUFFIX}")
    frames = track(video, "drawing", total=info.num_frames, console=console)
    draw_video(frames, hands, info, HandLayer(model), model.right.faces, out)
    if video.fault:
        print_labelled("warning:", video.fault, console, "yellow")
    console.print(f"→ {out}", soft_wrap=True)


def main() -> int:
    return run_program(run, Options, "deformer.draw", __doc__)


if __name__ == "__main__":
    sys.exit(main())

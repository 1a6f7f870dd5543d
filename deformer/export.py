"""Write the hands of videos as files of other tools.

    python -m deformer.export FILE.hands.parquet --format npz --out DIR

- npz: MANO's parameters, a file per track
- obj: meshes, a file per frame and hand
- glb: an animated scene for 3D viewers
- lerobot: a LeRobot v3.0 dataset, an episode per file
- retarget: keypoints and wrist poses for dex-retargeting, a file per track

docs/exports.md says what is in each, with axes, units and order.

Exit status: 0 done, 1 unusable input, 2 wrong option.
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deformer.program.console import PlainConsole, run_program
from deformer.video.export import glb, lerobot, npz, obj, retarget
from deformer.video.export.clip import Clip

Format = Literal["npz", "obj", "glb", "lerobot", "retarget"]
_OF_ONE_FORMAT = {"frame": "obj", "videos": "lerobot", "task": "lerobot"}


@dataclass(frozen=True)
class Options:
    """Which files, and what to make of them."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """Files of hands (.hands.parquet)."""
    format: Annotated[Format, tyro.conf.arg(prefix_name=False)]
    """npz, obj, glb, lerobot or retarget."""
    out: Path
    """The folder to write to. For lerobot, the dataset itself: a new folder."""
    frame: int | None = None
    """obj: only this frame."""
    videos: Path | None = None
    """lerobot: the folder of the videos, to put their frames into the dataset."""
    task: str | None = None
    """lerobot: what is done in the videos, in words."""
    mano_dir: Path | None = None
    """The folder with MANO's files, for hands predicted with MANO; by default $MANO_DIR."""

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("no FILE is given: name one or more .hands.parquet")
        for name, kind in _OF_ONE_FORMAT.items():
            if getattr(self, name) is not None and self.format != kind:
                raise ValueError(f"--{name} is for --format {kind}, not {self.format}")


def export(options: Options) -> list[Path]:
    """Write what is asked for; the files or folders written. Raises `ValueError`, `OSError`."""
    clips = [Clip.read(path, options.mano_dir) for path in options.files]
    if options.format == "lerobot":
        return lerobot.write(clips, options.out, options.videos, options.task or lerobot.TASK)
    stem, count = Counter(clip.stem for clip in clips).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} files are named {stem}: export them into folders of their own")
    if options.format == "obj":
        return [path for clip in clips for path in obj.write(clip, options.out, options.frame)]
    write = {"npz": npz.write, "glb": glb.write, "retarget": retarget.write}[options.format]
    return [path for clip in clips for path in write(clip, options.out)]


def run(options: Options) -> None:
    """Export, and print what was written."""
    console = PlainConsole()
    paths = export(options)
    for path in paths:
        console.print(f"{path}", soft_wrap=True)
    if not paths:
        console.print("no file is written, because there is no hand in any video")


def main() -> int:
    return run_program(run, Options, "deformer.export", __doc__)


if __name__ == "__main__":
    sys.exit(main())

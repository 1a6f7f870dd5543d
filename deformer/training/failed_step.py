"""A step whose gradient was not finite: saved with the weights before it, so that it can be
repeated and looked at anywhere.

    from deformer.training.failed_step import repeat
    repeat("runs/lite/failed/step-00000120-rank-1")   # raises the same NonFiniteError

The folder is a checkpoint with two more files: `batch.safetensors`, and `step.json` that names the
windows.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from deformer.data.batch import Batch
from deformer.data.index import FrameIndex
from deformer.files.sealed import UNSEALED, read_sealed_json, write_json
from deformer.files.whole import whole_folder
from deformer.hand.mano import load_same_hands
from deformer.training.checkpoint import Content, load_checkpoint, write_folder
from deformer.training.distributed import Place
from deformer.training.learner import Learner, NonFiniteError
from deformer.training.motion import MotionDraw

_BATCH, _MOTION, _ABOUT = "batch/", "motion/", "step.json"
_NAMES = ("rate", "rank", "processes", "windows", "terms")
_SHOWN = 4


def name_windows(index: FrameIndex, rows: Tensor) -> list[str]:
    """CLIP:FRAME,FRAME,… of each of B windows. rows: (B, T) of `frames.parquet`."""
    clips, frames = index.clip[rows.numpy()], index.numbers["frame"][rows.numpy()]
    return [
        f"{index.clips[clip[0]]}:{','.join(map(str, frame))}"
        for clip, frame in zip(clips, frames.tolist(), strict=True)
    ]


def save_step(
    run: Path, content: Content, learner: Learner, batch: Batch, rate: float,
    windows: list[str], error: NonFiniteError,
) -> Path:  # fmt: skip
    """Write a step that `learner` refused, as `Learner.step` got it; returns the folder.

    content: a checkpoint of the learner before this step. Raises `OSError`.
    """
    place, num = learner.place, len(batch.images)
    tensors = {
        f"{_BATCH}{name}": value
        for name, value in batch._asdict().items()
        if isinstance(value, Tensor)
    }
    if learner.motion is not None:
        drawn = learner.motion.draw(content.step, num * place.num_ranks)
        ours = slice(num * place.rank, num * (place.rank + 1))
        mine = MotionDraw(drawn.pose_rotvec[ours], drawn.is_left[ours], drawn.noise[:, ours])
        tensors |= {f"{_MOTION}{name}": value for name, value in mine._asdict().items()}
    about = {
        "rate": rate, "rank": place.rank, "processes": place.num_ranks, "windows": windows,
        "terms": {name: str(value) for name, value in error.terms.items()},
    }  # fmt: skip
    folder = run / "failed" / f"step-{content.step:08d}-rank-{place.rank}"
    with whole_folder(folder) as unfinished:
        write_json(unfinished / _ABOUT, about | UNSEALED)
        write_folder(unfinished, replace(content, tensors=content.tensors | {"batch": tensors}))
    return folder


def say_windows(windows: list[str]) -> str:
    """The first of them, for a message."""
    more = len(windows) - _SHOWN
    return " ".join(windows[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def repeat(
    folder: str | Path, device: str = "cpu", mano_dir: Path | None = None
) -> dict[str, Tensor]:
    """Repeat a step of `save_step`, with the windows of its process alone. Returns its unweighted
    loss terms, or raises `NonFiniteError` as the training did.

    mano_dir: as in `load_hands_of`. Raises as `load_checkpoint`.
    """
    learner, batch, step, rate = open_step(folder, device, mano_dir)
    return learner.step(batch, step, rate)


def open_step(
    folder: str | Path, device: str = "cpu", mano_dir: Path | None = None
) -> tuple[Learner, Batch, int, float]:
    """A learner as it was before the step, and what `Learner.step` got: batch, step and rate."""
    saved = load_checkpoint(folder)
    tensors = saved.tensors["batch"]
    batch = Batch(**_part(tensors, _BATCH), skipped=())
    drawn = _part(tensors, _MOTION)
    learner = Learner(
        # Instead of the backbone's first weights, it gets those of the folder
        replace(saved.experiment, start_from=str(folder)),
        load_same_hands(saved.hand["name"], saved.hand["sha256"], f"{folder} was made", mano_dir),
        Place(torch.device(device)),
        _Drawn(MotionDraw(**drawn)) if drawn else None,
        bf16=saved.origin.get("precision") == "bf16",
    )
    learner.load(saved.tensors)
    about = read_sealed_json(saved.folder / _ABOUT, _NAMES)
    return learner, batch, saved.step, float(about["rate"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


@dataclass(frozen=True)
class _Drawn:
    """In place of `RealMotion`: what that drew at the step."""

    motion: MotionDraw

    def draw(self, step: int, num: int) -> MotionDraw:
        return self.motion

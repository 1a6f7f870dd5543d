"""Evaluations with their frames in memory: predictions, truth and errors side by side.

Claims and figures are made from these; the model is not needed. Methods without a checkpoint have
no stored frames.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.evaluation.predictions import PREDICTIONS_FILE, joints_cam_m, read_predictions
from benchmarks.evaluation.protocol import Comparison, frame_values
from benchmarks.evaluation.result import EVALUATION_FILE, Evaluation, Run
from benchmarks.evaluation.truth import Truth, compare, pair_predictions, read_truth
from deformer.data.dataset import DATASET_FILE, dataset_sha256
from deformer.data.index import FrameIndex, make_windows, read_index
from deformer.program.console import print_labelled
from deformer.training.checkpoint import load_experiment


class NoFramesError(ValueError):
    """The frames of an evaluation are not available; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One evaluation of a run, frame by frame: the M frames that `benchmarks.evaluate` scored."""

    name: str
    """The path of its folder, relative to the folder of all results."""
    evaluation: Evaluation
    data: Path
    """The dataset's folder."""
    truth: Truth
    predictions: dict[str, np.ndarray]
    """Columns of `predictions.parquet`, P rows sorted by `row`."""
    at: np.ndarray
    """(M,) positions in `truth`."""
    source: np.ndarray
    """(M,) rows of the predictions."""
    is_borrowed: np.ndarray
    """(M,) bool: the frame has no image and takes the prediction of the nearest frame."""
    windows: np.ndarray | None
    """(P, T) rows of `frames.parquet`: the window around each predicted frame; None if the windows
    are not known, or the network fuses no poses."""
    centre: int
    """The window's column that holds the predicted frame itself."""

    @cached_property
    def comparison(self) -> Comparison:
        joints = joints_cam_m(self.predictions, self.source)
        return compare(self.truth, self.at, joints, None, None)

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """Metrics per frame (M,), or per frame and joint (M, 21): `protocol.frame_values`."""
        return frame_values(self.comparison)

    @cached_property
    def pa_mm(self) -> np.ndarray:
        """(M,) Procrustes-aligned error, mean over joints."""
        return self.values["pa_mpjpe_mm"].mean(1)

    @property
    def occlusion(self) -> np.ndarray:
        """(M,) 0-1, NaN if not known."""
        return self.comparison.occlusion

    @property
    def row(self) -> np.ndarray:
        """(M,) rows of `frames.parquet`."""
        return self.truth.row[self.at]

    @cached_property
    def window_weights(self) -> np.ndarray:
        """(M, T) the weight of each frame of the window; NaN for a frame that borrows."""
        weights = self.predictions["weights"][self.source].astype(np.float64)
        weights[self.is_borrowed] = np.nan
        return weights

    @cached_property
    def window_rows(self) -> np.ndarray | None:
        """(M, T) rows of `frames.parquet`."""
        return None if self.windows is None else self.windows[self.source]


# ---------------------------------------------------------------------------------------- reading


def find_dataset(evaluation: Evaluation, datasets: Iterable[Path]) -> Path:
    """The folder of the evaluated dataset, out of `datasets` and `shards/NAME`.

    Raises `NoFramesError` if none of them is that build.
    """
    data, others = evaluation.data, []
    for folder in (*datasets, Path("shards") / data.name):
        if folder.name != data.name or not (folder / DATASET_FILE).is_file():
            continue
        if dataset_sha256(folder) == data.sha256:
            return folder
        others.append(str(folder))
    if others:
        raise NoFramesError(
            f"{others[0]} is another build of {data.name} than the one that was evaluated: "
            "evaluate again"
        )
    raise NoFramesError(f"the dataset {data.name} is not here: name its folder by --data")


def load_scored(
    evaluations: dict[Path, Evaluation], results: Path, datasets: Iterable[Path] = ()
) -> tuple[list[Scored], dict[str, str]]:
    """Evaluations by path → the runs whose frames are here; and for each other run, by name, the
    reason why they are not."""
    datasets = tuple(datasets)
    scored, problems = [], {}
    for path, evaluation in evaluations.items():
        if not isinstance(evaluation.run, Run):
            continue
        name = result_name(path, results)
        try:
            folder = find_dataset(evaluation, datasets)
            scored.append(_load_one(name, path.parent, evaluation, folder))
        except NoFramesError as error:
            problems[name] = str(error)
    return scored, problems


def print_problems(problems: dict[str, str], console: Console) -> None:
    """Print a line for each problem of `load_scored`."""
    for name, problem in problems.items():
        print_labelled(f"{name}:", problem, console, "yellow")


def result_name(path: Path, results: Path) -> str:
    """The folder of an `evaluation.json`, relative to the folder of all results."""
    name = path.parent.relative_to(results).as_posix()
    return path.parent.resolve().name if name == "." else name


def _load_one(name: str, folder: Path, evaluation: Evaluation, data: Path) -> Scored:
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        raise NoFramesError(
            f"{path} is not there, so only the means of {EVALUATION_FILE} are known: "
            f"{evaluation.command} makes it"
        )
    predictions = read_predictions(path)
    split, is_part = parse_split(evaluation.data.split)
    truth = _read_truth(data, split)
    paired = pair_predictions(truth, predictions["row"])
    keep = paired.source >= 0
    if is_part:
        keep &= ~paired.is_borrowed
    if keep.sum() != evaluation.data.frames:
        raise NoFramesError(
            f"{path} has {keep.sum():,} frames that count, {EVALUATION_FILE} says "
            f"{evaluation.data.frames:,}: evaluate again"
        )
    at, source, borrowed = (x[keep] for x in (paired.at, paired.source, paired.is_borrowed))
    windows, centre = _windows(evaluation.run, predictions, data)
    return Scored(
        name, evaluation, data, truth, predictions, at, source, borrowed, windows, centre
    )  # fmt: skip


def parse_split(text: str) -> tuple[str, bool]:
    """`data.split` of an evaluation, such as `s0_test where occlusion > 0.5 limit 100` → the
    split's name, and whether only a part of it was evaluated."""
    name, *part = re.split(r" (?:where|limit) ", text, maxsplit=1)
    return name, bool(part)


def _windows(
    run: Run, predictions: dict[str, np.ndarray], data: Path
) -> tuple[np.ndarray | None, int]:
    """The windows around the predicted frames, as the checkpoint shapes them, and their centre."""
    if "weights" not in predictions:
        return None, 0
    try:
        config = load_experiment(run.checkpoint, str(run.step)).experiment.stream.window
    except (OSError, ValueError):  # the checkpoint is gone
        return None, 0
    index = read_dataset(data)
    is_centre = np.isin(np.arange(len(index.clip)), predictions["row"])
    table = make_windows(index, config, is_centre)
    is_its = table.rows.shape == predictions["weights"].shape
    is_its &= np.array_equal(table.centre_rows, predictions["row"])
    return (table.rows, table.centre) if is_its else (None, 0)


@lru_cache(4)
def _read_truth(folder: Path, split: str) -> Truth:
    """Cached, because several runs share a split."""
    return read_truth(folder, split)


@lru_cache(4)
def read_dataset(folder: Path) -> FrameIndex:
    """`deformer.data.index.read_index`, cached for the next run on the same dataset."""
    return read_index(folder)

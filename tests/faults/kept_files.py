"""Every kind of file that the project keeps: small ones, and what reads or verifies them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import save

from benchmarks.evaluation.predictions import as_rows, read_predictions
from benchmarks.evaluation.result import read_evaluation, write_evaluation
from deformer.data.dataset import ANNOTATIONS_FILE, FRAMES_FILE, read_info, read_table
from deformer.data.store import ClipReader, open_store
from deformer.files.sealed import UNSEALED, write_json, write_parquet
from deformer.hand.mano import HandLayer, Hands
from deformer.inference import Predicted
from deformer.training.checkpoint import Content, file_sha256, load_checkpoint, save_checkpoint
from deformer.training.features import FEATURES_FILE, SPATIAL_FILE, open_features
from deformer.training.weights_file import FOLDER, read_weights, write_weights
from deformer.video.hands_file import read_hands, read_hands_info, write_hands
from pipelines.build_shards import Options, build
from tests.benchmarks.evaluations import make_evaluation
from tests.conftest import CLIPS
from tests.deformer.small_runs import VERY_SMALL
from tests.deformer.video.hand_rows import INFO, two_hands
from tests.pipelines.dexycb_root import write_root
from tests.pipelines.rewriting import problems

FIELDS = ("K", "joints_cam_m", "joints_px", "pose_rotvec", "betas", "occlusion", "box_px")


@dataclass(frozen=True)
class Kept:
    """Files, and what is made of them."""

    files: tuple[Path, ...]
    read: Callable[[], Any]
    """Raises for a damaged file, or gives what is in it."""
    problems: Callable[[], list[str]] = list
    """What `verify` finds; it may raise too."""


def small_dataset(folder: Path, hands: Hands, layer: HandLayer) -> tuple[Path, Path]:
    """A raw dataset of two clips of six frames, and two shards built from it."""
    raw, built = folder / "raw", folder / "built"
    write_root(raw, hands, layer, CLIPS[:2])
    build(Options("dexycb", root=raw, out=built, workers=0, frames_per_shard=6))
    return raw, built


def dataset(folder: Path, *names: str) -> Kept:
    """Files of a built dataset."""

    def read() -> list:
        store, index = open_store(folder)
        reader = ClipReader(store, index, 1)
        images = [reader.image(row) for row in np.flatnonzero(index.numbers["valid"])]
        labels = [reader.labels(clip) for clip in range(len(index.clips))]
        tables = [read_table(folder / name) for name in (FRAMES_FILE, ANNOTATIONS_FILE)]
        return [read_info(folder), images, labels, tables]

    return Kept(tuple(folder / name for name in names), read, lambda: problems(folder))


def _content(step: int, error: float) -> Content:
    tensors = {
        name: {"a": torch.rand(3, 5), "b.c": torch.arange(4)}
        for name in ("model", "discriminator", "optimizer")
    }
    hand, stream = {"name": "standin", "sha256": "5" * 64}, {"dataset": "dexycb", "step": step}
    return Content(
        step=step, experiment=VERY_SMALL, hand=hand, stream=stream, tensors=tensors,
        metrics={"pa_mpjpe_mm": error}, origin={"total_steps": 9}, command="deformer.train",
    )  # fmt: skip


def checkpoint(folder: Path) -> Kept:
    """A run whose best checkpoint is not its last."""
    save_checkpoint(folder, _content(4, 8.5), keep=3)
    save_checkpoint(folder, _content(6, 9.25), keep=3)
    best = folder / "checkpoints" / "step-00000004"
    return Kept(
        (folder / "best.json", *sorted(best.iterdir())), lambda: load_checkpoint(folder, "best")
    )


def weights(folder: Path) -> Kept:
    """Weights as `deformer.weights` writes them, without a card."""
    save_checkpoint(folder / "run", _content(4, 8.5), keep=1)
    path = folder / "mine.safetensors"
    write_weights(path, load_checkpoint(folder / "run"))
    return Kept((path,), lambda: read_weights(path))


def shipped_weights(folder: Path) -> Kept:
    """A file with no sum of its own, but one on its card."""
    path = folder / "lite.safetensors"
    folder.mkdir()
    path.write_bytes((FOLDER / path.name).read_bytes())
    path.with_suffix(".md").write_bytes((FOLDER / path.name).with_suffix(".md").read_bytes())
    return Kept((path,), lambda: read_weights(path))


def hands_of_a_video(folder: Path) -> Kept:
    path = folder / "clip.hands.parquet"
    write_hands(path, two_hands(), INFO)
    return Kept((path,), lambda: (read_hands(path), read_hands_info(path)))


def predictions(folder: Path, built: Path) -> Kept:
    path, rng = folder / "predictions.parquet", np.random.default_rng(0)
    _, index = open_store(built)
    row = np.arange(10)
    predicted = Predicted(
        place=row, num_windows=np.ones(10, int), joints_px=None, joints_m=rng.random((10, 21, 3)),
        wrist_cam_m=rng.random((10, 3)), pose_rotvec=rng.random((10, 48)),
        betas=rng.random((10, 10)), vertices_m=None, weights=rng.random((10, 3)),
    )  # fmt: skip
    write_parquet(path, as_rows(index, row, predicted))
    return Kept((path,), lambda: read_predictions(path))


def evaluation(folder: Path) -> Kept:
    path = folder / "evaluation.json"
    write_evaluation(path, make_evaluation())
    return Kept((path,), lambda: read_evaluation(path))


def features(folder: Path) -> Kept:
    """As `deformer.encode` writes them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {"rows": torch.arange(6), "hand": torch.from_numpy(rng.random((6, 8)))}
    names = ("s0_train-0.safetensors", SPATIAL_FILE)
    for name in names:
        (folder / name).write_bytes(save(arrays))
    info = {
        "format": 1, "level": "frames", "spatial_sha256": "0" * 64, "size": 32, "seed": 0,
        "network": {"width": 8}, "dataset_sha256": "1" * 64, "augment": {"flip": 0.5},
        "copies": {"s0_train": 1}, "files": {name: file_sha256(folder / name) for name in names},
    }  # fmt: skip
    write_json(folder / FEATURES_FILE, info | UNSEALED)

    def read() -> tuple:
        opened = open_features(folder)
        return opened.info, opened.read("s0_train", 0), opened.spatial()

    return Kept((folder / FEATURES_FILE, *(folder / name for name in names)), read)


def is_same(one: Any, other: Any) -> bool:
    """Whether two things that were read hold the same values."""
    if isinstance(one, torch.Tensor):
        return is_same(one.numpy(), other.numpy())
    if isinstance(one, np.ndarray) and one.dtype == object:
        return one.tolist() == other.tolist()
    if isinstance(one, np.ndarray):  # by their bytes, as NaN is not NaN
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, pa.Table):
        return one.equals(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    if hasattr(one, "__dict__"):
        return is_same(vars(one), vars(other))
    return json.dumps(one, default=str) == json.dumps(other, default=str)

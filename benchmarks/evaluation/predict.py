"""Checkpoint + shards → predictions, a row per frame.

Windows overlap, so each frame is encoded once. All processes encode frames and keep them in parts,
which survive an interruption. Then the first process decodes all windows from the encoded frames.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.progress import track

import benchmarks.rivals  # noqa: F401 (so that `network_class` finds them)
from benchmarks.evaluation.predictions import PREDICTIONS_FILE, as_rows
from deformer.data.augment import NO_AUGMENTATION
from deformer.data.dataset import tips_of
from deformer.data.stream import Stream
from deformer.files.foreign import one_line
from deformer.files.sealed import write_parquet
from deformer.files.tables import DAMAGE
from deformer.files.wellformed import read_npz
from deformer.files.whole import claim_folder, whole_file
from deformer.hand.conventions import NUM_VERTICES
from deformer.hand.mano import Hands
from deformer.inference import Combine, Frames, decode
from deformer.network.config import DeformerConfig
from deformer.network.network import Network
from deformer.network.output import FrameFeatures
from deformer.training.checkpoint import Checkpoint
from deformer.training.distributed import Place
from deformer.training.features import (
    encode_maps,
    encode_stream,
    open_features,
    single_frames,
)
from deformer.training.weights_file import open_network

Precision = Literal["float32", "bf16"]
_INPUTS_KEY = "deformer.job"
_STEPS_PER_PART = 64


@dataclass(frozen=True)
class Inputs:
    """Everything the predictions depend on; the number of processes is not part of it."""

    weights: str
    """Hash of the model's weights."""
    network: str
    """Hash of the model's configuration, with the dataset's fingertips, and of its image size."""
    precision: Precision
    windows: str
    """Hash of the windows and of the shards that hold them."""
    combine: Combine


def predict(
    checkpoint: Checkpoint, hands: Hands, stream: Stream, place: Place, out: Path,
    combine: Combine = "centre", precision: Precision = "float32", features: Path | None = None,
) -> Path:  # fmt: skip
    """Predict every window of a stream made by `StreamConfig.for_evaluation`; returns the path of
    `predictions.parquet`, which appears only when it is complete.

    features: a folder of frames that this checkpoint's spatial half encoded before; None: encode
    them here.

    After an interruption the same call goes on, given the same number of processes and the same
    batch. If all is done, it does nothing. A complete file from other inputs stays until the new
    one is complete.
    """
    path, parts = out / PREDICTIONS_FILE, out / "parts"
    config = _config_for(checkpoint, stream.index.info)
    inputs = _inputs_of(checkpoint, config, stream, combine, precision)
    if not _is_done(path, inputs):
        if place.is_first:
            _keep_parts(parts, inputs, stream, place)
        place.wait_for_all()
        # Only joints and poses are kept, so of the mesh only the fingertips are needed
        model = open_network(checkpoint, hands, place.device, NUM_VERTICES, config.tips)
        autocast = torch.autocast(place.device.type, torch.bfloat16, enabled=precision == "bf16")
        if features is None:
            singles = single_frames(stream, NO_AUGMENTATION, place.rank, place.num_ranks)
            _encode_parts(model, singles, place, parts, autocast)
        place.wait_for_all()
        if place.is_first:
            if features is None:
                frames = _read_parts(parts)
            else:
                frames = _read_features(features, checkpoint, model, stream)
            table = _decode(model, stream, frames, combine, autocast)
            metadata = {_INPUTS_KEY: json.dumps(asdict(inputs))}
            write_parquet(path, table.replace_schema_metadata(metadata))
            shutil.rmtree(parts)
    place.wait_for_all()
    return path


def _config_for(checkpoint: Checkpoint, info: dict) -> DeformerConfig:
    """The checkpoint's network with this dataset's fingertips: the network predicts poses, and each
    dataset says which vertices are the tips."""
    return replace(checkpoint.experiment.model, tips=tips_of(info))


def _inputs_of(
    checkpoint: Checkpoint, config: DeformerConfig, stream: Stream, combine: Combine,
    precision: Precision,
) -> Inputs:  # fmt: skip
    about = [asdict(config), stream.config.size, checkpoint.experiment.network]
    network = json.dumps(about, sort_keys=True).encode()
    windows = hashlib.sha256(np.ascontiguousarray(stream.windows.rows).tobytes())
    windows.update(json.dumps(stream.index.info["shards"], sort_keys=True).encode())
    return Inputs(
        checkpoint.model_sha256, hashlib.sha256(network).hexdigest(), precision,
        windows.hexdigest(), combine,
    )  # fmt: skip


def _is_done(path: Path, inputs: Inputs) -> bool:
    """Whether a complete file from these inputs is there."""
    if not path.exists():
        return False
    try:
        schema = pq.read_schema(path)
    except DAMAGE:
        raise ValueError(f"{path} is damaged: delete it and predict again") from None
    return (schema.metadata or {}).get(_INPUTS_KEY.encode()) == json.dumps(asdict(inputs)).encode()


def _keep_parts(parts: Path, inputs: Inputs, stream: Stream, place: Place) -> None:
    """Keep parts from the same inputs, processes and batch; delete other parts."""
    order = stream.config.order
    cut = {"num_ranks": place.num_ranks, "global_batch": order.global_batch}
    note, text = parts / "job.json", json.dumps(asdict(inputs) | cut)
    if not claim_folder(note, text):
        shutil.rmtree(parts)
        claim_folder(note, text)


# ------------------------------------------------------------------------------- frames, encoded


def _encode_parts(
    model: Network, frames: Stream, place: Place, parts: Path, autocast: torch.autocast
) -> None:
    steps = range(0, frames.steps_per_epoch, _STEPS_PER_PART)
    names = [(s, parts / f"rank-{place.rank:03d}-step-{s:08d}.npz") for s in steps]
    todo = [(first, path) for first, path in names if not path.exists()]
    for first, path in track(todo, "encoding frames", disable=not place.is_first):
        last = min(first + _STEPS_PER_PART, frames.steps_per_epoch)
        encoded = encode_stream(model, frames, first, last, place.device, autocast)
        with whole_file(path) as file:
            np.savez(file, **encoded)


def _read_parts(parts: Path) -> dict[str, np.ndarray]:
    """All encoded frames, sorted by row."""
    read = [_read_part(path) for path in sorted(parts.glob("rank-*.npz"))]
    if not (read := [part for part in read if part]):
        raise ValueError("no frame could be read: python -m pipelines.verify says what is whole")
    order = np.argsort(np.concatenate([part["rows"] for part in read]))
    return {name: np.concatenate([part[name] for part in read])[order] for name in read[0]}


def _read_part(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_npz(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({one_line(error)}): delete it, and the same command makes it again"
        ) from None


def _read_features(
    folder: Path, checkpoint: Checkpoint, model: Network, stream: Stream
) -> dict[str, np.ndarray]:
    """Frames of the stream's split from a folder, after checking that they are the frames that
    would be encoded here."""
    features = open_features(folder)
    features.check(checkpoint.experiment, stream.store.folder)
    features.check_made_by(checkpoint.tensors["model"], "the checkpoint")
    frames = features.plain(stream.config.split)
    return encode_maps(model, frames) if features.level == "maps" else frames


def _decode(
    model: Network, stream: Stream, frames: dict[str, np.ndarray], combine: Combine,
    autocast: torch.autocast,
) -> pa.Table:  # fmt: skip
    """All windows → the rows of their centre frames, without windows that lack a readable frame."""
    place = np.searchsorted(frames["rows"], stream.windows.rows)
    place = np.minimum(place, len(frames["rows"]) - 1)  # (W, T): places in `frames`
    place = place[(frames["rows"][place] == stream.windows.rows).all(1)]
    if not len(place):
        raise ValueError("no window could be read: python -m pipelines.verify says what is whole")
    known = Frames(
        FrameFeatures(*(torch.from_numpy(frames[name]) for name in FrameFeatures._fields)),
        frames["is_left"],
        frames["boxes_px"],
        frames["K"],
        frames["occlusion"] if model.config.fusion == "occlusion" else None,
    )
    predicted = decode(model, known, place, stream.windows.centre, combine, autocast)
    return as_rows(stream.index, frames["rows"][predicted.place], predicted)

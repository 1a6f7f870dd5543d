"""Predict a split and score it by the official protocols.

    python -m benchmarks.evaluate --checkpoint runs/dexycb --data shards/dexycb --split s0_test \\
        --out results/dexycb
    torchrun --nproc-per-node 8 -m benchmarks.evaluate …            # the same, on 8 GPUs
    python -m benchmarks.evaluate --predictions FILE --method NAME --data … --split … --out …

The first two forms write `predictions.parquet`. The third reads a file that another program made:
DexYCB's HPE text or HO-3D's pred.json, depending on the dataset. All write `evaluation.json`, which
`benchmarks.tables` reads. After an interruption the same command goes on. If the predictions are
complete, it only computes the scores again; the number of processes may differ.

Exit status: 0 done, 1 something cannot be used, 2 an option is wrong.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console

from benchmarks.evaluation.predict import Precision, predict
from benchmarks.evaluation.predictions import add_vertices, joints_cam_m, read_predictions
from benchmarks.evaluation.protocol import score
from benchmarks.evaluation.result import (
    EVALUATION_FILE,
    Counts,
    Evaluation,
    Method,
    Run,
    config_hash,
    write_evaluation,
)
from benchmarks.evaluation.truth import (
    Truth,
    compare,
    data_of,
    pair_predictions,
    pose_meshes,
    predicted_meshes,
    read_truth,
    true_meshes,
)
from benchmarks.submissions.conventions import check_meshes
from benchmarks.submissions.file_order import order_of
from benchmarks.submissions.official import read_submission, write_submission
from deformer.data.order import OrderConfig
from deformer.data.store import Store, open_store
from deformer.data.stream import Stream
from deformer.files.foreign import check_folder_name
from deformer.hand.camera import is_at_nearest
from deformer.hand.mano import Hands, load_hands_of
from deformer.inference import Combine
from deformer.network.registry import check_input
from deformer.program.console import PlainConsole, run_program, this_command
from deformer.program.least import check_least
from deformer.training.checkpoint import Checkpoint, check_hand
from deformer.training.distributed import Place, process_group
from deformer.training.weights_file import open_trained
from deformer.variants import choices_of


@dataclass(frozen=True)
class Options:
    """What to evaluate, on what, and where the result goes."""

    data: str
    """A built dataset: a folder, or any fsspec URL."""
    split: str
    """s0_test, evaluation, …"""
    out: Path
    """The folder of the result."""
    checkpoint: Path | None = None
    """A run, one of its checkpoints, a file of weights, or the name of weights that ship."""
    which: str = "best"
    """Which checkpoint of a run: best, last, or a step. Without validation, best is the last."""
    predictions: Path | None = None
    """Instead of a checkpoint: a file that another program made."""
    method: str | None = None
    """The name of its method, as a row of the tables."""
    root: Path | None = field(
        default_factory=lambda: Path(found) if (found := os.environ.get("HO3D_DIR")) else None
    )
    """HO-3D's raw folder; its evaluation.txt gives the order of rows in pred.json. By default the
    folder in $HO3D_DIR."""
    combine: Combine = "centre"
    """centre: the window around a frame predicts it. overlap: the mean of all windows that hold the
    frame."""
    where: str | None = None
    """A filter on the frames, such as "occlusion > 0.25"."""
    limit: int | None = None
    """At most this many frames, spread evenly over the split."""
    mesh: bool | None = None
    """Score vertices too (20 KB of memory and 3 ms per frame); by default for HO-3D only."""
    vertices: bool = False
    """Also write the vertices of every frame to predictions.parquet, 9 KB each."""
    features: Path | None = None
    """Instead of images: frames encoded by deformer.encode with the checkpoint's spatial half."""
    mano_dir: Path | None = None
    """The folder with MANO's files; by default the folder in $MANO_DIR."""
    batch: int = 8
    """Windows per process and step."""
    workers: int = 2
    """Processes per rank that read ahead."""
    device: Literal["cpu", "cuda"] | None = None
    """By default a GPU if there is one."""
    precision: Precision = "float32"
    """bf16 is faster on a GPU; the tables use float32."""

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.predictions is None):
            raise ValueError("give one of --checkpoint and --predictions")
        if (self.predictions is None) != (self.method is None):
            raise ValueError("--predictions FILE and --method NAME belong together")
        if self.predictions is not None and (self.where or self.limit):
            raise ValueError("--where and --limit are for checkpoints: a file is scored whole")
        check_least(self, "--", batch=1)


def evaluate(options: Options, place: Place, console: Console) -> Evaluation | None:
    """Predict and score. Returns the result on the first process; None on others, and None without
    ground truth. Raises `ValueError` and `OSError` that say what to do."""
    check_folder_name(options.out)
    if options.predictions is not None:
        return _evaluate_file(options, console) if place.is_first else None
    checkpoint = open_trained(options.checkpoint, options.which)
    check_input(checkpoint.experiment.network, checkpoint.experiment.stream.input)
    store, index = open_store(options.data)
    hands = load_hands_of(index.info, options.mano_dir)
    check_hand(checkpoint, hands)
    num_ranks = place.num_ranks
    order = OrderConfig(global_batch=options.batch * num_ranks, streams=num_ranks)
    config = checkpoint.experiment.stream.for_evaluation(
        options.split, limit=options.limit, where=options.where, order=order
    )
    stream = Stream(
        config, store, index, rank=place.rank, num_ranks=num_ranks, workers=options.workers
    )
    path = predict(
        checkpoint, hands, stream, place, options.out, options.combine, options.precision,
        options.features,
    )  # fmt: skip
    if not place.is_first:
        return None
    is_part = options.where is not None or options.limit is not None
    rows = stream.windows.centre_rows if is_part else None
    truth = read_truth(store.folder, options.split, rows)
    predictions = read_predictions(path)
    if options.vertices and "vertices_m" not in predictions and "pose_rotvec" in predictions:
        pose, betas = predictions["pose_rotvec"], predictions["betas"]
        is_left = index.is_left[predictions["row"]]
        add_vertices(path, pose_meshes(hands, pose, betas, is_left))
    return _score_run(options, store, checkpoint, hands, truth, predictions, console)


# ---------------------------------------------------------------------------------- a checkpoint


def _score_run(
    options: Options, store: Store, checkpoint: Checkpoint, hands: Hands, truth: Truth,
    predictions: dict, console: Console,
) -> Evaluation | None:  # fmt: skip
    paired = pair_predictions(truth, predictions["row"])
    if not len(paired.at):
        return _without_truth(options, truth, predictions, hands, console)
    at, source = paired.at[paired.source >= 0], paired.source[paired.source >= 0]
    if not len(at):
        raise ValueError(f"no labelled frame of {options.split} could be predicted")
    joints, meshes = joints_cam_m(predictions, source), (None, None)
    counts = replace(paired.counts, behind=int(is_at_nearest(joints).sum()))
    _warn(console, *counts.sentences(options.data))
    wants_mesh = truth.dataset == "ho3d" if options.mesh is None else options.mesh
    vertices = None
    if wants_mesh:
        vertices = predicted_meshes(predictions, source, hands, truth.is_left[at])
    if vertices is not None:
        meshes = vertices, _known(true_meshes(truth, at, hands), console)
    metrics = score(compare(truth, at, joints, *meshes))
    run = _run_of(options, checkpoint, hands)
    evaluation = _write(options, store, run, truth, counts, metrics)
    _write_submission(options, truth, at, joints, meshes[0], console)
    return evaluation


def _run_of(options: Options, checkpoint: Checkpoint, hands: Hands) -> Run:
    experiment = checkpoint.experiment
    return Run(
        experiment=experiment.name,
        checkpoint=str(options.checkpoint),
        step=checkpoint.step,
        seed=experiment.stream.seed,
        network=experiment.network,
        hand=hands.name,
        **choices_of(experiment),
        trained_on=f"{checkpoint.stream['dataset']} {experiment.stream.split}",
        precision=options.precision,
        config=config_hash(checkpoint),
    )


def _warn(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(sentence, soft_wrap=True, style="yellow")


def _known(vertices: np.ndarray, console: Console) -> np.ndarray | None:
    """The true vertices (M, 778, 3); None, with a warning, if any frame has none."""
    if (known := np.isfinite(vertices).all((1, 2))).all():
        return vertices
    lacking = f"{(~known).sum()} of {len(known)} frames have no true vertices"
    _warn(console, f"{lacking}: the mesh is not scored")
    return None


_NO_TRUTH = (
    "no frame of {} has labelled joints, so nothing can be scored: for HO-3D's evaluation set put "
    "evaluation_xyz.json and evaluation_verts.json into the raw folder and build again"
)


def _without_truth(
    options: Options, truth: Truth, predictions: dict, hands: Hands, console: Console
) -> None:
    """HO-3D's evaluation set without ground truth: write the file that its server scores."""
    if truth.dataset != "ho3d" or options.root is None:
        raise ValueError(
            f"{_NO_TRUTH.format(options.split)}; --root RAW alone writes a file for its server"
        )
    is_there = np.isin(truth.row, predictions["row"])
    if not is_there.all():
        is_corrupt = truth.frames["valid"].to_numpy() & ~is_there
        raise ValueError(
            f"{(~is_there).sum()} frames of {options.split} are not predicted, and HO-3D's server "
            f"wants a prediction for each: {is_corrupt.sum()} need a corrupt member, which python "
            f"-m pipelines.verify {options.data} names; the others are not valid, and python -m "
            f"pipelines.inspect {options.data} says why"
        )
    source = np.searchsorted(predictions["row"], truth.row)
    joints = joints_cam_m(predictions, source)
    vertices = predicted_meshes(predictions, source, hands, truth.is_left)
    _write_submission(options, truth, np.arange(len(source)), joints, vertices, console)
    console.print(
        "the ground truth of HO-3D's evaluation set is not there: upload pred.zip to the "
        "challenge's server for its score, or put evaluation_xyz.json and evaluation_verts.json "
        "into the root and build again",
        soft_wrap=True,
    )


def _write_submission(
    options: Options, truth: Truth, at: np.ndarray, joints: np.ndarray,
    vertices: np.ndarray | None, console: Console,
) -> None:  # fmt: skip
    """Write the file that the dataset's own evaluator reads, if all its frames are predicted."""
    if options.where or options.limit:
        return
    order = order_of(truth.dataset, truth.frames, options.split, options.root)
    if order is None:
        return
    not_written = write_submission(options.out, order, truth, at, joints, vertices)
    for note in filter(None, (order.note, not_written)):
        console.print(note, soft_wrap=True)


# ----------------------------------------------------------------- files that other programs made


def _evaluate_file(options: Options, console: Console) -> Evaluation:
    store, _ = open_store(options.data)
    truth = read_truth(store.folder, options.split)
    order, predictions = read_submission(options.predictions, truth, options.split, options.root)
    if not (is_scored := truth.is_labelled[order.is_required]).any():
        raise ValueError(_NO_TRUTH.format(options.split))
    notes = filter(None, (order.note, *predictions.warnings))
    _warn(console, *(f"{options.predictions}: {note}" for note in notes))
    at, meshes = np.flatnonzero(order.is_required)[is_scored], (None, None)
    if predictions.vertices_m is not None:
        true_vertices = _known(true_meshes(truth, at, None), console)
        meshes = predictions.vertices_m[is_scored], true_vertices
    metrics = score(compare(truth, at, predictions.joints_m[is_scored], *meshes))
    check_meshes(options.predictions, metrics["all"])
    method = Method(options.method, str(options.predictions))
    return _write(options, store, method, truth, Counts(len(at)), metrics)


def _write(
    options: Options, store: Store, run: Run | Method, truth: Truth, counts: Counts, metrics: dict
) -> Evaluation:
    split = options.split + (f" where {options.where}" if options.where else "")
    split += f" limit {options.limit}" if options.limit else ""
    data = data_of(store, truth, split, counts.scored)
    evaluation = Evaluation(run, data, counts, this_command("benchmarks.evaluate"), metrics)
    write_evaluation(options.out / EVALUATION_FILE, evaluation)
    return evaluation


def main() -> int:
    going_on = "interrupted; the same command goes on"
    return run_program(run, Options, "benchmarks.evaluate", __doc__, going_on)


def run(options: Options) -> None:
    """Predict and score, and print the headline."""
    console = PlainConsole()
    try:
        with process_group(options.device) as place:
            evaluation = evaluate(options, place, console)
    except torch.OutOfMemoryError:
        raise ValueError("the GPU is out of memory: lower --batch") from None
    if evaluation is not None:
        path = options.out / EVALUATION_FILE
        console.print(f"{evaluation.headline} → {path}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

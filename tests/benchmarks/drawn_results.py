"""Results of runs that never ran: predictions made from the truth, for tests of figures."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.evaluation.predictions import SCHEMA
from benchmarks.evaluation.protocol import score
from benchmarks.evaluation.result import Counts, Data, Evaluation, Run, write_evaluation
from benchmarks.evaluation.scored import dataset_sha256
from benchmarks.evaluation.truth import compare, pair_predictions, read_truth
from deformer.training.checkpoint import Content, save_checkpoint
from deformer.training.distributed import Machine
from tests.deformer.small_runs import VERY_SMALL

SPLIT = "s0_train"
MACHINE = Machine("NVIDIA H100", processes=2, processor="a processor", torch="2.9")


def write_run(
    folder: Path, steps: int = 40, name: str = "tiny", seed: int = 0, start: str | None = None
) -> Path:
    """A run: a log, and a checkpoint with an empty model, of the command `train FOLDER`."""
    stream = replace(VERY_SMALL.stream, seed=seed)
    experiment = replace(VERY_SMALL, name=name, stream=stream, start_from=start)
    content = Content(
        step=steps, experiment=experiment, hand={"name": "standin", "sha256": ""}, stream={},
        tensors={"model": {}}, machine=MACHINE, command=f"train {folder}",
    )  # fmt: skip
    save_checkpoint(folder, content, keep=1)
    lines = []
    for step in range(10, steps + 1, 10):
        values = {"total": 1000 / step, "rate": 1.0, "windows_per_s": 3.0, "discriminator": 0.3,
                  "adversarial": 0.5, "saturation": 0.4}  # fmt: skip
        lines.append({"step": step, "kind": "train", **values})
    for step, error in ((0, 20.0), (steps, 12.0)):
        lines.append({"step": step, "kind": "validation", "pa_mpjpe_mm": error})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_result(
    folder: Path, data: Path, run: Path, seed: int = 0, synthetic: bool = True, **changed
) -> Evaluation:
    """predictions.parquet and evaluation.json: the truth with errors of some millimetres.

    changed: fields of `Run`.
    """
    truth = read_truth(data, SPLIT)
    row = truth.row[truth.frames["valid"].to_numpy()]
    at = np.searchsorted(truth.row, row)
    rng = np.random.default_rng(seed)
    joints = truth.joints_m[at] + rng.normal(scale=0.004, size=(len(at), 21, 3))
    weights = rng.dirichlet(np.ones(3), len(at))
    columns = {
        "clip": truth.frames["clip"].take(at),
        "frame": truth.frames["frame"].take(at),
        "row": pa.array(row),
        "num_windows": pa.array(np.ones(len(at), np.int32)),
        "joints_m": _vectors(joints - joints[:, :1]),
        "wrist_cam_m": _vectors(joints[:, 0]),
        "pose_rotvec": _vectors(truth.pose_rotvec[at] + rng.normal(scale=0.1, size=(len(at), 48))),
        "betas": _vectors(truth.betas[at]),
        "weights": pa.array(list(weights.astype(np.float32)), pa.list_(pa.float32())),
    }
    folder.mkdir(parents=True)
    table = pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
    pq.write_table(table, folder / "predictions.parquet")
    paired = pair_predictions(truth, row)
    keep = paired.source >= 0
    metrics = score(compare(truth, paired.at[keep], joints[paired.source[keep]], None, None))
    fields = {
        "experiment": "tiny", "row": folder.name, "checkpoint": str(run), "step": 40, "seed": seed,
        "hand": "standin", "fusion": "dynamic", "point_loss": "max_mse", "adversarial": True,
        "precision": "float32", "config": "0", "trained_on": "demo s0_train",
    }  # fmt: skip
    about = Data(
        data.name, "dexycb", SPLIT, synthetic, int(keep.sum()), dataset_sha256(data)
    )  # fmt: skip
    command = f"python -m benchmarks.evaluate --out {folder.name}"
    evaluation = Evaluation(Run(**fields | changed), about, Counts(about.frames), command, metrics)
    write_evaluation(folder / "evaluation.json", evaluation)
    return evaluation


def _vectors(values: np.ndarray) -> pa.Array:
    flat = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def made_up(pa_mm: list[float], occlusion: list[float], own_weight: list[float]) -> SimpleNamespace:
    """What the choice of examples needs of a `Scored`: windows of three different frames."""
    N = len(pa_mm)
    own = np.array(own_weight)
    return SimpleNamespace(
        pa_mm=np.array(pa_mm),
        occlusion=np.array(occlusion),
        row=10 * np.arange(N) + 1,
        window_rows=10 * np.arange(N)[:, None] + np.arange(3),
        window_weights=np.stack([(1 - own) / 2, own, (1 - own) / 2], 1),
        centre=1,
        is_borrowed=np.zeros(N, bool),
        comparison=SimpleNamespace(sequence=np.array([f"recording {i // 2}" for i in range(N)])),
    )

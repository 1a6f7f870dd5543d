"""Results of runs that never ran, for tests of figures and of the report."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.evaluation.result import (
    EVALUATION_FILE,
    Data,
    read_evaluation,
    write_evaluation,
)
from deformer.training.checkpoint import Content, save_checkpoint
from tests.deformer.small_runs import VERY_SMALL

MACHINE = {"device": "NVIDIA H100", "processes": 2, "processor": "a processor"}


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


def write_result(folder: Path, result: Path, run: Path, synthetic: bool = True, **changed) -> Data:
    """The predictions of `result` as if they were of another run, of 40 steps. changed: fields of
    `Run`."""
    folder.mkdir(parents=True)
    shutil.copy(result / "predictions.parquet", folder)
    evaluation = read_evaluation(result / EVALUATION_FILE)
    fields = {"checkpoint": str(run), "step": 40, "config": "0"} | changed
    evaluation = replace(
        evaluation,
        run=replace(evaluation.run, **fields),
        data=replace(evaluation.data, synthetic=synthetic),
        command=f"python -m benchmarks.evaluate --out {folder.name}",
    )
    write_evaluation(folder / EVALUATION_FILE, evaluation)
    return evaluation.data


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

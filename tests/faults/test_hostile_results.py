"""Hostile bytes to the readers of runs and results: checkpoints, weights, features, evaluations,
logs, others' predictions, cameras."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from benchmarks.evaluation.predict import _read_parts
from benchmarks.evaluation.result import config_hash, read_evaluation, write_evaluation
from benchmarks.evaluation.training_log import read_log
from benchmarks.speed.networks import read_costs
from benchmarks.submissions.file_order import FileOrder
from benchmarks.submissions.hpe import read_hpe
from benchmarks.submissions.pred_json import read_pred_json
from benchmarks.tables.rows import fill_tables
from deformer.files.sealed import UNSEALED, write_json
from deformer.hand.conventions import DATASET_TO_MANO, OPENGL_TO_OPENCV
from deformer.hand.mano import HandLayer
from deformer.network.registry import network_class
from deformer.network.state_dict import read_tensors
from deformer.training.checkpoint import (
    Content,
    from_state,
    load_checkpoint,
    save_checkpoint,
    state_of,
)
from deformer.training.experiment import differences
from deformer.training.features import open_features
from deformer.training.weights_file import open_network, read_weights
from deformer.video.intrinsics import camera_of
from pipelines.building.marks import BUILD_FOLDER, ShardMark, read_mark
from pipelines.predict_videos import Row, _read_mark
from tests.benchmarks.evaluations import make_evaluation
from tests.deformer.small_runs import VERY_SMALL
from tests.faults.crafted import HOSTILE_JSON, HOSTILE_PICKLES
from tests.faults.damage import as_json, changed, damaged, json_values, of_json, one_of, rebuilt
from tests.faults.hostile import SEEDS, Reader, assert_harmless, from_path, fuzz
from tests.faults.wholes import (
    HOSTILE_SAFETENSORS,
    npz,
    safetensors_of,
    zip_bomb,
    zip_members,
    zip_of,
)

FEW, MANY = 50, 500
HAND = {"name": "standin", "sha256": "0" * 64}


def run_readers(folder: Path, hands) -> list[Reader]:
    tensors = {"model": {"a.weight": torch.ones(4, 3)}, "optimizer": {"x/step": torch.ones(())}}
    content = Content(
        step=7, experiment=VERY_SMALL, hand=HAND, stream={"step": 7, "windows": 10},
        tensors=tensors, metrics={"pa_mpjpe_mm": 9.5}, origin={"total_steps": 9},
    )  # fmt: skip
    step = save_checkpoint(folder, content, 1)
    state, best = (step / "state.json").read_bytes(), (folder / "best.json").read_bytes()
    model = (step / "model.safetensors").read_bytes()

    def use(checkpoint) -> None:
        differences(checkpoint.experiment, VERY_SMALL)
        config_hash(checkpoint)
        json.dumps([checkpoint.hand["sha256"], checkpoint.origin.get("precision")])
        f"{checkpoint.step:,} {checkpoint.hand['name']} {checkpoint.metrics.get('a')}"

    def read_best(path: Path) -> None:
        load_checkpoint(folder, "best")

    def read_model(path: Path) -> None:
        data = path.read_bytes()
        sums = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        stated = json.loads(state)
        stated["files"] = {"model.safetensors": sums}
        (step / "state.json").write_text(json.dumps(stated))
        load_checkpoint(step)

    weights = save(tensors["model"], {"deformer": json.dumps(state_of(content))})

    def with_header(header: bytes) -> bytes:
        array = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        metadata = {"deformer": header.decode("latin1")}
        return safetensors_of({"__metadata__": metadata, "a": array}, content=bytes(4))

    whole = safetensors_of(
        {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}, content=bytes(16)
    )
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    shapes = json_values(header, lambda value: safetensors_of(value, content=bytes(16)))
    read_state = from_path(step / "state.json", lambda path: use(load_checkpoint(step)))
    read_file = from_path(folder / "w.safetensors", lambda path: use(read_weights(path)))
    return [
        Reader("state.json", of_json(json.loads(state)), read_state, HOSTILE_JSON),
        Reader("best.json", of_json(json.loads(best)), from_path(folder / "best.json", read_best),
               HOSTILE_JSON),
        Reader("model.safetensors", one_of(damaged({"x": model}), shapes),
               from_path(step / "model.safetensors", read_model), HOSTILE_SAFETENSORS),
        Reader("weights", one_of(damaged({"x": weights}), shapes), read_file,
               HOSTILE_SAFETENSORS, says="w.safetensors"),
        Reader("header of weights",
               changed(of_json(state_of(content) | {"experiment": asdict(VERY_SMALL)}),
                       with_header), read_file, says="w.safetensors"),
        *network_readers(content, hands),
    ]  # fmt: skip


def network_readers(content: Content, hands) -> list[Reader]:
    """A network as a file describes it, which may be larger than any machine."""
    state = json.loads(json.dumps(state_of(content)))

    def build(data: bytes) -> None:
        state["experiment"]["model"] = json.loads(data)
        open_network(from_state(state, Path("x"), {"model": arrays}, ""), hands, "cpu")

    arrays = network_class("deformer")(VERY_SMALL.model, HandLayer(hands)).state_dict()
    small = json.loads(json.dumps(asdict(VERY_SMALL.model)))
    inputs = json_values(small, as_json)
    huge = {
        f"{name} of {value}": json.dumps(small | {name: value}).encode()
        for name in ("width", "ffn", "layers", "roi_size", "heads")
        for value in (2**20, 2**31, 2**62)
    } | {"regressor": json.dumps(small | {"regressor": [2**20, 2**20]}).encode()}
    return [Reader("network of a checkpoint", inputs, build, huge, cost=5)]


def feature_readers(folder: Path) -> list[Reader]:
    arrays = {"rows": torch.arange(3), "hand": torch.ones(3, 4)}
    for name in ("train-0", "spatial", "val"):
        (folder / f"{name}.safetensors").write_bytes(save(arrays))
    info = {
        "format": 1, "level": "frames", "spatial_sha256": "0", "network": {}, "dataset_sha256": "0",
        "size": 32, "seed": 0, "copies": {"train": 1}, "augment": {},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                  for path in folder.glob("*.safetensors")},
    }  # fmt: skip

    def use(path: Path) -> None:
        features = open_features(folder)
        features.check_made_by({"a": torch.ones(1)}, "x")
        features.frames("train")
        features.plain("val")

    def state_dict(path: Path) -> None:
        tensors = read_tensors(path)
        assert all(isinstance(value, torch.Tensor) for value in tensors.values())

    file = io.BytesIO()
    torch.save({"state_dict": {"conv.weight": torch.ones(2, 3), "n": torch.tensor(1)}}, file)
    old = io.BytesIO()
    torch.save({"conv.weight": torch.ones(2, 3)}, old, _use_new_zipfile_serialization=False)
    parts = zip_members(file.getvalue())
    (pickled,) = (name for name in parts if name.endswith("data.pkl"))
    calls = {name: zip_of(parts | {pickled: data}) for name, data in HOSTILE_PICKLES.items()}
    calls |= {f"{name}, plain": data for name, data in HOSTILE_PICKLES.items()}
    calls["bomb"] = zip_bomb("archive/data.pkl", 1300)
    return [
        Reader("features.json", of_json(info), from_path(folder / "features.json", use),
               HOSTILE_JSON),
        Reader("state dict", one_of(damaged({"new": file.getvalue(), "old": old.getvalue()}),
                                       rebuilt(parts, zip_of)),
               from_path(folder / "x.pth", state_dict), calls, says="x.pth", cost=2),
        Reader("state dict of safetensors", damaged({"x": save(arrays)}),
               from_path(folder / "x.safetensors", state_dict), HOSTILE_SAFETENSORS, says="x.safe"),
    ]  # fmt: skip


def result_readers(folder: Path) -> list[Reader]:
    write_evaluation(folder / "evaluation.json", make_evaluation())
    evaluation = json.loads((folder / "evaluation.json").read_bytes())

    def tables(path: Path) -> None:
        found = read_evaluation(path)
        fill_tables([found])
        f"{found.headline} {found.data} {found.counts.sentences('x')}"

    lines = b"".join(
        json.dumps({"step": step, "kind": kind, "total": 1.5, "a": None}).encode() + b"\n"
        for step in range(3)
        for kind in ("train", "validation")
    )
    costs = {
        "base": "lite", "machine": "x", "torch": "2", "batch": 1, "rows": [
            {"network": "a", "size": 128, "num_frames": 7, "parameters_m": 1.5,
             "multiply_adds_g": 0.1, "frames_per_second": 9.5}]}  # fmt: skip
    part = npz(rows=np.arange(3), hand=np.ones((3, 4), np.float32), is_left=np.zeros(3, bool))
    return [
        Reader("evaluation.json", of_json(evaluation), 
               from_path(folder / "evaluation.json", tables), HOSTILE_JSON, says="evaluation.json"),
        Reader("log.jsonl", damaged({"x": lines}),
               from_path(folder / "log.jsonl", lambda path: read_log(folder, folder)), HOSTILE_JSON,
               says="log.jsonl"),
        Reader("networks.json", of_json(costs),
               from_path(folder / "networks.json", lambda path: read_costs(folder)), HOSTILE_JSON,
               says="networks.json"),
        *mark_readers(folder),
        Reader("frames of a prediction", damaged({"x": part}),
               from_path(folder / "rank-000-step-00000000.npz", lambda path: _read_parts(folder)),
               says=".npz"),
    ]  # fmt: skip


def mark_readers(folder: Path) -> list[Reader]:
    """A damaged mark is none, or what is finished would change."""
    shard = ShardMark("000000.tar", 3, "0", 1, 2)
    (folder / shard.name).write_bytes(b"abc")
    marks = folder / BUILD_FOLDER
    marks.mkdir()
    (marks / f"{shard.name}.arrow").write_bytes(b"")
    video = Row("a.mp4", "done", "", 3, 4, 1, "given")

    def reader(what: str, path: Path, whole: object, content: dict, read: Callable) -> Reader:
        def use(path: Path) -> None:
            assert read(path) in (None, whole)

        write_json(path, content | UNSEALED)
        inputs = one_of(damaged({"x": path.read_bytes()}), of_json(content))
        return Reader(f"mark of a {what}", inputs, from_path(path, use), HOSTILE_JSON, ())

    return [
        reader("shard", marks / f"{shard.name}.json", shard, asdict(shard),
               lambda path: read_mark(folder, shard.name)),
        reader("video", folder / "done.json", video, {"config": "x", "row": asdict(video)},
               lambda path: _read_mark(path, "x")),
    ]  # fmt: skip


def foreign_readers(folder: Path) -> list[Reader]:
    joints = np.cumsum(np.full((2, 21, 3), 0.01), 1) + [0, 0, 0.5]
    order = FileOrder(
        np.arange(2), np.ones(2, bool), 2, ["a/b/c/0", "a/b/c/1"], np.zeros(2, bool), ""
    )
    hpe = "\n".join(
        ",".join(map(str, [i, *np.round(1000 * joints[i].ravel(), 1)])) for i in range(2)
    )
    opengl = np.round(joints[:, DATASET_TO_MANO] * OPENGL_TO_OPENCV, 3).tolist()
    pred = json.dumps([opengl, []]).encode()
    K = {"K": [[600.0, 0, 320], [0, 600, 240], [0, 0, 1]], "width": 640, "height": 480}
    four = {"fx": 600.0, "fy": 600, "cx": 320, "cy": 240}

    def read_pred(path: Path) -> None:
        read_pred_json(path, order, joints)

    def camera(path: Path) -> None:
        camera_of(str(path), None, (640, 480))

    bombs = {"bomb": zip_bomb("pred.json", 1300), "two": zip_of({"a.json": b"", "b.json": b""}),
             "deep": b"[" * 100_000, "deep rows": b"[[" + b"[" * 50_000, "null": b"[null, null]",
             "other names": zip_of({"../../x.json": b"[]"})}  # fmt: skip
    return [
        Reader("HPE", damaged({"x": hpe.encode()}),
               from_path(folder / "hpe.txt", lambda path: read_hpe(path, order, joints)),
               says="hpe.txt"),
        Reader("pred.json", of_json([opengl, []]), from_path(folder / "pred.json", read_pred),
               bombs | HOSTILE_JSON, says="pred.json"),
        Reader("pred.zip", one_of(damaged({"x": zip_of({"pred.json": pred})}),
                                     rebuilt({"pred.json": pred}, zip_of)),
               from_path(folder / "pred.zip", read_pred), bombs, says="pred.zip"),
        Reader("camera", one_of(of_json(K), of_json(four)), from_path(folder / "k.json", camera),
               HOSTILE_JSON, says="k.json"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("what", ["runs", "features", "results", "foreign"])
def test_a_hostile_run_or_result_is_refused_or_read(what, seed, tmp_path, hands, count_faults):
    if what == "runs":
        readers = run_readers(tmp_path, hands)
    else:
        make = {"features": feature_readers, "results": result_readers, "foreign": foreign_readers}
        readers = make[what](tmp_path)
    outcome = fuzz(readers, MANY if seed else FEW, seed, tmp_path)
    assert_harmless(count_faults, f"files of runs and results ({what})", outcome)

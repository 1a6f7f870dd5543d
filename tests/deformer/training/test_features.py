"""Frames encoded once: they are what the network makes of them directly, and what is trained on
them is a whole network."""

import io
import json
import os
import shutil
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks import evaluate as evaluate_command
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.speed.model import ModelSpeed, measure_model
from deformer import encode as encode_command
from deformer import experiments
from deformer.data.augment import AugmentConfig
from deformer.data.batch import to_input
from deformer.data.store import open_store
from deformer.data.stream import Stream
from deformer.encode import Options, make_features
from deformer.files.sealed import write_json
from deformer.hand.mano import HandLayer
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.program.lock import locked
from deformer.training.checkpoint import load_checkpoint
from deformer.training.features import description, open_features, unpack
from deformer.training.weights_file import open_network
from tests.deformer.small_runs import (
    CPU,
    VERY_SMALL,
    Killed,
    assert_same_run,
    changed,
    interrupt,
    make_stream,
    records,
    run,
)
from tests.processes import assert_nothing_is_left, session_of, start_python, wait_until

SPATIAL_RUN = replace(VERY_SMALL, name="very_small", adversarial=False)
TEMPORAL = replace(
    VERY_SMALL, name="very_small_temporal", backbone_weights="none", vertex_stride=100
)
ENCODE_SLOWLY = """
import sys, time
from deformer import encode, experiments
from deformer.data import batch
from deformer.training import features
from tests.deformer.training.test_features import TEMPORAL

def without_padding(read):
    time.sleep(0.5)
    return batch.without_padding(read)

if __name__ == "__main__":
    features.without_padding = without_padding
    experiments.EXPERIMENTS[TEMPORAL.name] = TEMPORAL
    sys.exit(encode.main())
"""


@pytest.fixture(scope="module")
def spatial_run(tmp_path_factory, dataset):
    out = tmp_path_factory.mktemp("spatial") / "run"
    assert run(dataset, out, SPATIAL_RUN, steps=2) == 0
    return out


@pytest.fixture(autouse=True, scope="module")
def temporal_has_a_name():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiments.EXPERIMENTS, TEMPORAL.name, TEMPORAL)
        yield


def encode_frames(dataset, spatial_run, out, **more) -> None:
    given = {"splits": ("s0_test",), "copies": 3, "device": "cpu"} | more
    options = Options(spatial_run, dataset, TEMPORAL.name, out, **given)
    make_features(options, torch.device("cpu"))


@pytest.fixture(scope="module")
def features(tmp_path_factory, dataset, spatial_run, temporal_has_a_name):
    """Three copies to train on, the frames of s0_val and s0_test as they are."""
    out = tmp_path_factory.mktemp("features") / "very_small"
    encode_frames(dataset, spatial_run, out)
    return out


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def temporal(features):
    return replace(TEMPORAL, features=str(features))


@pytest.fixture(scope="module")
def temporal_run(tmp_path_factory, dataset, temporal):
    """A run of six steps on features that nothing interrupted."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert run(dataset, out, temporal) == 0
    return out


@torch.no_grad()
def test_frames_as_they_are_give_what_images_give(dataset, features, spatial_run, hands):
    config = VERY_SMALL.stream.for_evaluation("s0_val")
    direct = Stream(config, *open_store(dataset))
    kept = Stream(config, *open_store(dataset), features=open_features(features).frames("s0_val"))
    model = open_network(load_checkpoint(spatial_run), hands, "cpu")
    num = 0
    for batch, encoded in zip(direct.batches(), kept.batches(), strict=True):
        expected = batch._asdict()
        for name, value in encoded._asdict().items():
            if name not in ("images", "photometric", "skipped"):
                torch.testing.assert_close(value, expected[name], rtol=0, atol=0, equal_nan=True)
        one = model(to_input(batch), batch.boxes_px, batch.is_left)
        other = model(unpack(encoded.images), encoded.boxes_px, encoded.is_left)
        for name in ("joints_2d", "confidence", "deformed", "weights"):
            torch.testing.assert_close(getattr(other, name), getattr(one, name))
        torch.testing.assert_close(other.fused.joints_m, one.fused.joints_m)
        num += int((~encoded.is_padding).sum())
    assert num == len(direct.windows) == 5


def test_copies_are_augmented_by_clip_labels_alike(dataset, features, hands):
    """Joints by the pose of the labels are those of the labels: both were turned."""
    index = open_store(dataset)[1]
    copies = [open_features(features)._read(f"s0_train-{k}.safetensors") for k in range(3)]
    first = copies[0]
    clips = index.clip[first["rows"]]
    turns = []
    for copy in copies[1:]:
        assert (copy["rows"] == first["rows"]).all()
        assert (copy["hand"] != first["hand"]).any(1).all()
        # The camera's axis stays, so all joints of a clip turn by one angle about it
        a, b = (value["joints_cam_m"][..., 0] + 1j * value["joints_cam_m"][..., 1]
                for value in (first, copy))  # fmt: skip
        angle = np.angle(b / a)
        for clip in np.unique(clips):
            mine = angle[clips == clip]
            assert np.ptp(np.angle(np.exp(1j * (mine - mine[0, 0])))) < 1e-3
        turns.append([angle[clips == clip][0, 0] for clip in np.unique(clips)])
        pose, betas, is_left = (
            torch.from_numpy(copy[name]) for name in ("pose_rotvec", "betas", "is_left")
        )
        rotmats = rotvec_to_rotmat(pose.unflatten(-1, (16, 3)))
        _, joints = HandLayer(hands)(rotmats, betas, is_left)
        truth = torch.from_numpy(copy["joints_cam_m"])
        torch.testing.assert_close(joints - joints[:, :1], truth - truth[:, :1], rtol=0, atol=2e-5)
    assert len(np.unique(np.round(turns, 4))) == len(np.ravel(turns))  # a draw for each


def test_windows_of_an_epoch_come_once_each_from_one_copy(dataset, features, temporal):
    encoded = open_features(features).frames("s0_train")
    stream = Stream(temporal.stream, *open_store(dataset), features=encoded)
    alike = make_stream(dataset, TEMPORAL)
    copies = [open_features(features)._read(f"s0_train-{k}.safetensors") for k in range(3)]
    used = set()
    for batch, direct in zip(stream.batches(0, 30), alike.batches(0, 30), strict=True):
        assert torch.equal(batch.rows, direct.rows)
        hand = unpack(batch.images).hand.numpy()
        for rows, window in zip(batch.rows.numpy(), hand, strict=True):
            is_of = [
                (copy["hand"][np.searchsorted(copy["rows"], rows)] == window).all()
                for copy in copies
            ]
            assert sum(is_of) == 1
            used.add(is_of.index(True))
    assert used == {0, 1, 2}


@pytest.mark.slow
def test_ctrl_c_stops_encoding_with_workers_and_the_same_command_goes_on(
    dataset, spatial_run, features, tmp_path
):
    out = tmp_path / "features"
    arguments = ["--checkpoint", spatial_run, "--data", dataset, "--experiment", TEMPORAL.name]
    arguments += ["--splits", "s0_test", "--copies", "3", "--workers", "2", "--device", "cpu"]
    command = [ENCODE_SLOWLY, *map(str, arguments), "--out", str(out)]
    process = start_python(*command)
    copies = "s0_train-*.safetensors"
    assert wait_until(lambda: any(out.glob(copies)) or process.poll() is not None, 120)
    assert wait_until(lambda: len(session_of(process.pid)) >= 3, 60)  # workers of the next copy
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; the same command goes on" in errors and "Traceback" not in errors
    assert_nothing_is_left(process.pid)
    assert 1 <= len(list(out.glob(copies))) < 3 and not list(out.glob(".*.part"))
    first = (out / "s0_train-0.safetensors").stat().st_mtime_ns
    process = start_python(*command)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert (out / "s0_train-0.safetensors").stat().st_mtime_ns == first  # kept, not made again
    assert_nothing_is_left(process.pid)
    uninterrupted = json.loads((features / "features.json").read_text())["files"]
    assert json.loads((out / "features.json").read_text())["files"] == uninterrupted


def test_only_the_temporal_half_learns(temporal_run, spatial_run):
    spatial = load_checkpoint(spatial_run).tensors["model"]
    trained = load_checkpoint(temporal_run).tensors["model"]
    parts = {"temporal_encoder", "shape_decoder", "shape_head", "regressor"}
    for name, value in trained.items():
        is_temporal = name.partition(".")[0] in parts
        assert torch.equal(value, spatial[name]) != is_temporal, name
    assert all(np.isfinite(r["total"]) for r in records(temporal_run) if r["kind"] == "train")


def test_killed_and_resumed_equals_uninterrupted(
    temporal_run, dataset, temporal, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        interrupt(patch, 3)
        run(dataset, out, temporal)
    assert run(dataset, out, temporal, resume=True) == 0
    assert_same_run(out, temporal_run)


def evaluate(dataset, checkpoint, out, features=None) -> dict[str, np.ndarray]:
    options = evaluate_command.Options(
        str(dataset), "s0_test", out, checkpoint=checkpoint, which="last", workers=0, device="cpu",
        features=features,
    )  # fmt: skip
    evaluate_command.evaluate(options, CPU, quiet())
    return read_predictions(out / "predictions.parquet")


def test_evaluation_is_that_of_the_whole_network(temporal_run, dataset, features, tmp_path):
    """With features and without: the spatial half in the checkpoint is the one that made them."""
    one = evaluate(dataset, temporal_run, tmp_path / "direct")
    other = evaluate(dataset, temporal_run, tmp_path / "kept", features)
    assert (one["row"] == other["row"]).all() and len(one["row"])
    for name in ("joints_m", "wrist_cam_m", "pose_rotvec", "weights"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_features_of_another_spatial_half_are_refused(whole, features, dataset, tmp_path, temporal):
    with pytest.raises(ValueError, match="by another spatial half than the checkpoint has"):
        evaluate(dataset, whole, tmp_path / "out", features)
    begun = replace(temporal, start_from=str(whole))
    with pytest.raises(ValueError, match=f"by another spatial half than --start-from {whole} has"):
        run(dataset, tmp_path / "run", begun)


def test_a_run_on_features_starts_from_another(dataset, temporal, temporal_run, tmp_path):
    """The temporal half as well: before the first step, it is that run."""
    begun = replace(temporal, start_from=str(temporal_run))
    assert run(dataset, tmp_path / "run", begun, steps=1) == 0
    scores = [record for record in records(tmp_path / "run") if record["kind"] == "validation"]
    last = [record for record in records(temporal_run) if record["kind"] == "validation"][-1]
    assert scores[0]["mpjpe_mm"] == pytest.approx(last["mpjpe_mm"], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda e: changed("stream", e, size=64),
            "encoded with size 32, very_small_temporal has 64",
        ),
        (lambda e: changed("stream", e, augment=AugmentConfig(scale=0.1)), "with augment "),
        (lambda e: changed("model", e, roi_size=4), "with network "),
        (lambda e: replace(e, features="gone"), "gone holds no features"),
        (lambda e: changed("validation", e, split="all"), "shares frames|holds no all"),
        (lambda e: changed("stream", e, split="s1_train"), "holds no s1_train.safetensors, only"),
    ],
)
def test_what_was_not_encoded_is_refused(dataset, temporal, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run(dataset, tmp_path / "run", change(temporal))


def test_features_of_depth_are_others(dataset, features):
    depth = changed("stream", TEMPORAL, input="depth")
    of_depth, of_colour = (description(e, {}, dataset, 3) for e in (depth, TEMPORAL))
    assert of_depth == of_colour | {"input": "depth"} and "input" not in of_colour
    with pytest.raises(ValueError, match="with input rgb, very_small_temporal has depth: encode"):
        open_features(features).check(depth, dataset)


def test_a_damaged_file_is_refused(dataset, features, temporal, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(features, folder)
    path = folder / "s0_train-1.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"s0_train-1.safetensors is damaged or gone"):
        run(dataset, tmp_path / "run", replace(temporal, features=str(folder)))


@pytest.mark.parametrize(
    ("data", "fault"),
    [(b"<html>", "is damaged: it is a web page"), (b"{}", "has format None, this program reads 1")],
)
def test_a_damaged_description_is_told_in_a_line(tmp_path, data, fault):
    (tmp_path / "features.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"features.json {fault}[^\n]* encode again$"):
        open_features(tmp_path)


def test_other_features_at_the_same_place_do_not_go_on(temporal_run, dataset, temporal, tmp_path):
    out = shutil.copytree(temporal_run, tmp_path / "run")
    for path in out.rglob("state.json"):
        text = path.read_text().replace('features_sha256": "', 'features_sha256": "not ')
        write_json(path, json.loads(text))
    with pytest.raises(ValueError, match="learned from other features"):
        run(dataset, out, temporal, resume=True)


def test_encoding_goes_on_where_it_was_stopped(
    dataset, spatial_run, whole, features, tmp_path, monkeypatch
):
    out = tmp_path / "features"
    real, written = encode_command._write, []

    def stop_at_third(path, tensors):
        if len(written) == 3:
            raise Killed
        written.append(path)
        real(path, tensors)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(encode_command, "_write", stop_at_third)
        encode_frames(dataset, spatial_run, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("s0_*.safetensors")}
    assert len(before) == 2
    encode_frames(dataset, spatial_run, out)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert open_features(out).info == open_features(features).info
    with pytest.raises(ValueError, match="holds frames that were encoded otherwise"):
        encode_frames(dataset, whole, out)
    with locked(out, "encoding"), pytest.raises(ValueError, match="another encoding"):
        encode_frames(dataset, spatial_run, out)


def test_the_command_tells_in_a_line_what_is_wrong(
    monkeypatch, capsys, dataset, spatial_run, tmp_path
):
    out = tmp_path / "features"
    given = ["--checkpoint", str(spatial_run), "--data", str(dataset), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["encode", *given, "--experiment", "dexycb_center"])
    assert encode_command.main() == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "has backbone regnet_tiny, dexycb_center has resnet50" in message and not out.exists()


def test_speed_is_measured_on_features(dataset, temporal, tmp_path, monkeypatch):
    monkeypatch.setitem(experiments.EXPERIMENTS, TEMPORAL.name, replace(temporal, features="gone"))
    config = ModelSpeed(
        str(dataset), (TEMPORAL.name,), split="s0_train", features=temporal.features, steps=1
    )
    (row,) = measure_model(config)["rows"]
    assert row["experiment"] == TEMPORAL.name and row["windows_per_second"] > 0

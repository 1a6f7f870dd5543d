"""From a checkpoint to predictions and scores, on a small dataset and an untrained model."""

import re
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from benchmarks import evaluate as program
from benchmarks import inference
from benchmarks.evaluate import Options, evaluate
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.evaluation.result import Counts, Method, read_evaluation
from benchmarks.evaluation.truth import pair_predictions, read_truth
from benchmarks.submissions.file_order import dexycb_order
from benchmarks.submissions.hpe import read_hpe, write_hpe
from deformer.data.index import read_index
from deformer.data.stream import Stream
from deformer.hand.align import align_procrustes
from deformer.hand.camera import NEAREST_M, fit_translation
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.training.checkpoint import load_checkpoint, save_checkpoint
from deformer.training.label_check import load_hands_of
from deformer.training.learner import move_batch
from tests.benchmarks.untrained import copy_with_parameters, save_untrained
from tests.deformer.small_runs import (
    CPU,
    VERY_SMALL,
    build_dataset,
    changed,
    make_learner,
    make_stream,
)

SPLIT = "s0_train"


@pytest.fixture(scope="module")
def data(raw_root) -> Path:
    return build_dataset(raw_root)


@pytest.fixture(scope="module")
def run(tmp_path_factory, data, hands) -> Path:
    """The run of a model that was never trained."""
    return save_untrained(tmp_path_factory.mktemp("run"), make_stream(data), hands)


def _options(data: Path, run: Path, out: Path, **more) -> Options:
    return Options(str(data), SPLIT, out, run, workers=0, device="cpu", **more)


@pytest.fixture(scope="module")
def result(tmp_path_factory, data, run) -> Path:
    out = tmp_path_factory.mktemp("result") / "mine"
    assert evaluate(_options(data, run, out), CPU, Console(quiet=True)) is not None
    return out


def test_every_valid_frame_of_the_split_is_predicted_once(data, result):
    truth = read_truth(data, SPLIT)
    predicted = read_predictions(result / "predictions.parquet")
    valid = truth.row[truth.frames["valid"].to_numpy()]
    assert np.array_equal(predicted["row"], valid)
    assert (predicted["num_windows"] == 1).all()
    table = pq.read_table(data / "frames.parquet").take(valid)
    assert predicted["clip"].tolist() == table["clip"].to_pylist()
    assert predicted["frame"].tolist() == table["frame"].to_pylist()
    assert np.allclose(predicted["weights"].sum(1), 1, atol=1e-5)
    assert not list(result.glob("parts*"))


def test_frames_encoded_once_predict_as_whole_windows_do(data, run, hands, result):
    checkpoint = load_checkpoint(run)
    whole = make_stream(data)
    config = checkpoint.experiment.stream.for_evaluation(SPLIT)
    stream = Stream(config, whole.store, whole.index)
    learner = make_learner(hands, whole)
    learner.load(checkpoint.tensors)
    learner.model.eval()
    predicted = read_predictions(result / "predictions.parquet")
    at = {int(row): i for i, row in enumerate(predicted["row"])}
    for batch in stream.batches():
        output, _ = learner.predict(move_batch(batch, CPU.device))
        for b, row in enumerate(batch.rows[:, config.window.centre].tolist()):
            joints = output.fused.joints_m[b, config.window.centre].detach().numpy().reshape(-1)
            assert np.abs(joints - predicted["joints_m"][at[row]]).max() < 1e-5


def test_the_mean_of_what_is_lent_is_near_what_is_predicted(data, run, result, tmp_path):
    evaluate(_options(data, run, tmp_path, sources=True), CPU, Console(quiet=True))
    with_sources = read_predictions(tmp_path / "predictions.parquet")
    without = read_predictions(result / "predictions.parquet")
    assert all(np.array_equal(without[name], with_sources[name]) for name in without)
    shape = (len(without["row"]), 3, 21, 3)
    own, lent = (with_sources[f"{name}_joints_m"].reshape(shape) for name in ("own", "lent"))
    assert np.array_equal(own[:, 1], lent[:, 1])  # the centre's need no deforming
    # Untrained, all frames say nearly the same, so the mean of poses poses the mean of joints
    fused = np.einsum("nt,ntjc->njc", with_sources["weights"], lent)
    assert np.abs(fused.reshape(len(fused), -1) - with_sources["joints_m"]).max() < 1e-4
    assert np.abs(own - lent).max() > 1e-5


def test_what_is_written_is_read_back_and_scores_the_same(data, result, tmp_path, capsys):
    mine = read_evaluation(result / "evaluation.json")
    assert mine.data.synthetic and mine.data.frames == mine.metrics["all"]["num_frames"]
    assert (mine.run.experiment, mine.run.hand, mine.run.step) == ("tiny", "standin", 0)
    others = evaluate(
        Options(
            str(data), SPLIT, tmp_path, predictions=result / "hpe.txt", method="mine", workers=0
        ),
        CPU,
        Console(quiet=True),
    )
    assert isinstance(others.run, Method)
    for name in ("mpjpe_mm", "ra_mpjpe_mm", "pa_mpjpe_mm"):
        ours, theirs = mine.metrics["all"][name]["mean"], others.metrics["all"][name]["mean"]
        assert abs(ours - theirs) < 1e-3


def test_a_perfect_file_scores_zero(data, tmp_path):
    truth = read_truth(data, SPLIT)
    order = dexycb_order(truth.frames, SPLIT)
    joints = truth.joints_m[order.is_required]
    write_hpe(tmp_path / "perfect.txt", order, joints)
    assert np.abs(read_hpe(tmp_path / "perfect.txt", order, joints).joints_m - joints).max() < 1e-6
    options = Options(str(data), SPLIT, tmp_path, predictions=tmp_path / "perfect.txt", method="x")
    scores = evaluate(options, CPU, Console(quiet=True)).metrics["all"]
    for name in ("mpjpe_mm", "ra_mpjpe_mm", "pa_mpjpe_mm", "accel_mm_per_frame2"):
        assert scores[name]["mean"] < 1e-3
    assert scores["pa_mpjpe_auc"]["mean"] > 0.98


def test_hands_that_fit_best_behind_the_camera_are_put_before_it_and_counted(
    data, run, tmp_path, monkeypatch
):
    def mirrored(points_m, points_px, K):
        points_px[::2] = 2 * points_px[::2, :1] - points_px[::2]
        return fit_translation(points_m, points_px, K)

    monkeypatch.setattr("deformer.inference.fit_translation", mirrored)
    said = StringIO()
    evaluate(_options(data, run, tmp_path), CPU, Console(file=said, width=200))
    found = read_predictions(tmp_path / "predictions.parquet")
    z = (found["joints_m"].reshape(-1, 21, 3) + found["wrist_cam_m"][:, None])[..., 2].min(1)
    assert z.min() > NEAREST_M - 1e-6
    counted = int(re.search(r"(\d+) hands fit best behind the camera", said.getvalue())[1])
    assert counted == np.count_nonzero(z < NEAREST_M + 1e-6) > 0
    assert read_evaluation(tmp_path / "evaluation.json").counts.behind == counted


def test_overlap_is_the_mean_of_all_windows_that_see_a_frame(data, run, result, tmp_path):
    evaluate(_options(data, run, tmp_path, combine="overlap"), CPU, Console(quiet=True))
    centre, overlap = (
        read_predictions(folder / "predictions.parquet") for folder in (result, tmp_path)
    )
    assert np.array_equal(centre["row"], overlap["row"])
    assert overlap["num_windows"].max() == VERY_SMALL.stream.window.num_frames
    assert np.array_equal(centre["weights"], overlap["weights"])
    assert not np.array_equal(centre["joints_m"], overlap["joints_m"])
    assert np.abs(centre["joints_m"] - overlap["joints_m"]).max() < 0.2


def test_a_filter_scores_only_its_frames(data, run, tmp_path):
    options = _options(data, run, tmp_path, where="side == 'left'")
    result = evaluate(options, CPU, Console(quiet=True))
    index = read_index(data)
    truth = read_truth(data, SPLIT)
    is_left = index.is_left[truth.row] & truth.frames["valid"].to_numpy()
    assert result.data.frames == is_left.sum() > 0
    assert "where" in result.data.split
    assert not (tmp_path / "hpe.txt").exists()


def test_the_mesh_that_is_scored_is_that_of_the_predicted_parameters(
    data, run, layer, tmp_path, monkeypatch
):
    """Predictions with the labels' own parameters, but for one frame's, whose hand is stretched."""
    truth = read_truth(data, SPLIT)
    rows = truth.row[truth.frames["valid"].to_numpy()]
    at = np.searchsorted(truth.row, rows)
    pose, stretched = truth.pose_rotvec[at].copy(), 3
    pose[stretched, 3:] = 0

    def posed(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rotmats = rotvec_to_rotmat(torch.tensor(poses).float().view(-1, 16, 3))
        betas = torch.tensor(truth.betas[at]).float()
        vertices, joints = layer(rotmats, betas, torch.tensor(truth.is_left[at]))
        return vertices.numpy(), joints.numpy()

    vertices, joints = posed(pose)

    def perfect(*_, **__) -> Path:
        columns = {
            "row": rows, "joints_m": joints - joints[:, :1], "pose_rotvec": pose,
            "wrist_cam_m": truth.joints_m[at, 0], "betas": truth.betas[at],
        }  # fmt: skip
        table = pa.table({
            name: list(np.asarray(value).reshape(len(rows), -1)) if name != "row" else value
            for name, value in columns.items()
        })  # fmt: skip
        pq.write_table(table, tmp_path / "predictions.parquet")
        return tmp_path / "predictions.parquet"

    monkeypatch.setattr(program, "predict", perfect)
    evaluation = evaluate(_options(data, run, tmp_path, mesh=True), CPU, Console(quiet=True))
    scores = evaluation.metrics["all"]
    true_vertices, _ = posed(truth.pose_rotvec[at])
    aligned = align_procrustes(vertices, true_vertices)
    error_mm = 1e3 * np.linalg.norm(aligned - true_vertices, axis=-1).mean(1)
    assert error_mm[stretched] > 3 and np.delete(error_mm, stretched).max() < 1e-3
    assert scores["pa_mpvpe_mm"]["mean"] == pytest.approx(error_mm.mean(), abs=1e-3)
    assert 0.9 < scores["f15"]["mean"] <= 1 and scores["f5"]["mean"] < 1


def test_vertices_on_request_and_nothing_predicted_again(data, run, hands, tmp_path, monkeypatch):
    options = _options(data, run, tmp_path, vertices=True, limit=4)
    evaluate(options, CPU, Console(quiet=True))
    predicted = read_predictions(tmp_path / "predictions.parquet")
    is_left = read_index(data).is_left[predicted["row"]]
    pose, betas = predicted["pose_rotvec"], predicted["betas"]
    expected = program.pose_meshes(hands, pose, betas, is_left)
    assert np.array_equal(predicted["vertices_m"].reshape(4, 778, 3), expected)
    monkeypatch.setattr(inference, "encode", None)
    evaluate(options, CPU, Console(quiet=True))


def test_a_frame_without_an_image_borrows_from_the_nearest_of_its_clip(data):
    truth = read_truth(data, SPLIT)
    labelled = np.flatnonzero(truth.is_labelled)
    clip = np.array(truth.frames["clip"].to_pylist())
    ours = labelled[clip[labelled] == clip[labelled[0]]]
    is_valid = np.ones(len(truth.row), bool)
    is_valid[ours[1:-1]] = False
    frames = truth.frames.set_column(
        truth.frames.column_names.index("valid"), "valid", pa.array(is_valid)
    )
    truth = replace(truth, frames=frames)
    paired = pair_predictions(truth, truth.row[ours[[0, -1]]])
    assert paired.source[:2].tolist() == [0, 0] and paired.source[len(ours) - 1] == 1
    assert paired.is_borrowed[: len(ours)].tolist() == [False] + [True] * (len(ours) - 2) + [False]
    assert (paired.source[len(ours) :] == -1).all()  # nothing of other clips
    # those have an image, so what is lacking is a corrupt member's fault
    corrupt = len(labelled) - len(ours)
    assert paired.counts == Counts(predicted=2, borrowed=len(ours) - 2, corrupt=corrupt)
    frames = truth.frames.set_column(
        truth.frames.column_names.index("valid"), "valid", pa.array(np.zeros(len(is_valid), bool))
    )
    paired = pair_predictions(replace(truth, frames=frames), truth.row[ours[:1]])
    assert paired.counts == Counts(predicted=1, borrowed=len(ours) - 1, lost=corrupt)


def test_the_kind_of_a_file_goes_by_the_dataset(data, tmp_path):
    truth = read_truth(data, SPLIT)
    order = dexycb_order(truth.frames, SPLIT)
    path = tmp_path / "pred.json"
    write_hpe(path, order, truth.joints_m[order.is_required])
    options = Options(str(data), SPLIT, tmp_path, predictions=path, method="x")
    assert evaluate(options, CPU, Console(quiet=True)).metrics["all"]["mpjpe_mm"]["mean"] < 1e-3
    path.write_text("[[], []]")
    with pytest.raises(ValueError, match="line 1 has 2 numbers between commas, not 64"):
        evaluate(options, CPU, Console(quiet=True))


def test_a_file_for_a_dataset_of_ones_own_is_refused(data, tmp_path):
    own = copy_with_parameters(data, tmp_path / "own", dataset="my_package.my_hands")
    options = Options(str(own), SPLIT, tmp_path, predictions=tmp_path / "x.txt", method="x")
    with pytest.raises(ValueError, match=r"of DexYCB or HO-3D, .* frames of my_package.my_hands"):
        evaluate(options, CPU, Console(quiet=True))


@pytest.mark.parametrize("tips", ["dexycb", "ho3d"])
def test_fingertips_are_those_of_the_datasets_clips(data, run, layer, tmp_path, tips):
    own = copy_with_parameters(data, tmp_path / "own", dataset="my_package.my_hands", tips=tips)
    evaluate(_options(own, run, tmp_path / "out", limit=6), CPU, Console(quiet=True))
    predicted = read_predictions(tmp_path / "out" / "predictions.parquet")
    rotmats = rotvec_to_rotmat(torch.from_numpy(predicted["pose_rotvec"]).view(-1, 16, 3))
    is_left = torch.from_numpy(read_index(own).is_left[predicted["row"]])
    _, joints = layer(rotmats, torch.from_numpy(predicted["betas"]), is_left, tips)
    joints = (joints - joints[:, :1]).flatten(1).numpy()
    assert np.abs(joints - predicted["joints_m"]).max() < 1e-5


def test_a_dataset_of_ones_own_that_does_not_name_its_fingertips_is_refused(data, run, tmp_path):
    own = copy_with_parameters(data, tmp_path / "own", dataset="my_package.my_hands", tips=None)
    with pytest.raises(ValueError, match="does not say whose fingertips .* build the dataset"):
        evaluate(_options(own, run, tmp_path / "out"), CPU, Console(quiet=True))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--split", "s9_test", "--checkpoint", "RUN"], "split 's9_test' is not in this dataset"),
        (["--split", "s0_test", "--checkpoint", "nowhere"], "nowhere is no run"),
    ],
)
def test_bad_input_is_one_line(data, run, tmp_path, monkeypatch, capsys, arguments, text):
    arguments = [str(run) if argument == "RUN" else argument for argument in arguments]
    given = ["evaluate", "--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*given, "--workers", "0", *arguments])
    assert program.main() == 1
    message = capsys.readouterr().err
    assert message.startswith("error:") and text in message


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "give one of --checkpoint and --predictions"),
        ({"predictions": Path("x.txt")}, "belong together"),
        ({"checkpoint": Path("run"), "batch": 0}, "--batch 0 must be 1"),
    ],
)
def test_options_that_contradict_each_other_are_named(more, text):
    with pytest.raises(ValueError, match=text):
        Options("shards/x", "s0_test", Path("out"), **more)


def test_a_checkpoint_of_another_hand_is_refused(data, run, hands, tmp_path):
    checkpoint = load_checkpoint(run)
    save_checkpoint(
        tmp_path, replace(checkpoint, hand={"name": "mano", "sha256": "0" * 64}), keep=1
    )
    with pytest.raises(ValueError, match="trained with another hand model"):
        evaluate(_options(data, tmp_path, tmp_path / "out"), CPU, Console(quiet=True))
    assert load_hands_of(read_index(data).info).sha256 == hands.sha256


def test_weights_by_occlusion_need_no_more_than_the_index(data, hands, tmp_path):
    experiment = changed("model", fusion="occlusion")
    save_untrained(tmp_path, make_stream(data), hands, experiment)
    options = replace(_options(data, tmp_path, tmp_path / "out"), limit=4)
    assert evaluate(options, CPU, Console(quiet=True)).data.frames == 4


def test_the_command_says_on_how_many_processes(data, run, tmp_path, monkeypatch):
    options = replace(_options(data, run, tmp_path / "out"), limit=4)
    monkeypatch.setattr(sys, "argv", ["evaluate", "--limit", "4"])
    command = "-m benchmarks.evaluate --limit 4"
    assert evaluate(options, CPU, Console(quiet=True)).command == f"python {command}"
    monkeypatch.setenv("WORLD_SIZE", "8")
    told = evaluate(options, CPU, Console(quiet=True)).command
    assert told == f"torchrun --nproc-per-node 8 {command}"

"""From a checkpoint or a file to predictions and scores."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks import evaluate as program
from benchmarks.evaluate import Options
from benchmarks.evaluation.predictions import as_rows, read_predictions
from benchmarks.evaluation.result import Counts, read_evaluation
from benchmarks.evaluation.truth import Truth, pair_predictions, pose_meshes, read_truth
from benchmarks.submissions.file_order import dexycb_order
from benchmarks.submissions.hpe import write_hpe
from deformer.data.index import read_index
from deformer.data.stream import Stream
from deformer.files.sealed import write_parquet
from deformer.hand.align import align_procrustes
from deformer.hand.camera import NEAREST_M, fit_translation
from deformer.hand.rotations import rotvec_to_rotmat
from deformer.inference import Predicted
from deformer.training.checkpoint import load_checkpoint, save_checkpoint
from deformer.training.learner import move_batch
from tests.benchmarks.untrained import SPLIT, copy_with_parameters, evaluated, save_untrained
from tests.deformer.small_runs import CPU, VERY_SMALL, changed, make_learner, make_stream


def predictions_in(folder: Path) -> dict[str, np.ndarray]:
    return read_predictions(folder / "predictions.parquet")


@pytest.fixture(scope="module")
def truth(data) -> Truth:
    return read_truth(data, SPLIT)


# ----------------------------------------------------------------------------------- predictions


def test_every_valid_frame_of_the_split_is_predicted_once(data, truth, result):
    predicted = predictions_in(result)
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
    predicted = predictions_in(result)
    at = {int(row): i for i, row in enumerate(predicted["row"])}
    for batch in stream.batches():
        output, _ = learner.predict(move_batch(batch, CPU.device))
        for b, row in enumerate(batch.rows[:, config.window.centre].tolist()):
            joints = output.fused.joints_m[b, config.window.centre].detach().numpy().reshape(-1)
            assert np.abs(joints - predicted["joints_m"][at[row]]).max() < 1e-5


def test_overlap_is_the_mean_of_all_windows_that_see_a_frame(data, run, result, tmp_path):
    evaluated(data, tmp_path, checkpoint=run, combine="overlap")
    centre, overlap = predictions_in(result), predictions_in(tmp_path)
    assert np.array_equal(centre["row"], overlap["row"])
    assert overlap["num_windows"].max() == VERY_SMALL.stream.window.num_frames
    assert np.array_equal(centre["weights"], overlap["weights"])
    assert 0 < np.abs(centre["joints_m"] - overlap["joints_m"]).max() < 0.2


def test_hands_that_fit_best_behind_the_camera_are_put_before_it_and_counted(
    data, run, tmp_path, monkeypatch
):
    def mirrored(points_m, points_px, K, boxes_px):
        points_px[::2] = 2 * points_px[::2, :1] - points_px[::2]
        return fit_translation(points_m, points_px, K)

    monkeypatch.setattr("deformer.inference.fit_translation", mirrored)
    evaluation, said = evaluated(data, tmp_path, checkpoint=run)
    found = predictions_in(tmp_path)
    z = (found["joints_m"].reshape(-1, 21, 3) + found["wrist_cam_m"][:, None])[..., 2].min(1)
    assert z.min() > NEAREST_M - 1e-6
    counted = int(re.search(r"(\d+) hands fit best behind the camera", said)[1])
    assert counted == np.count_nonzero(z < NEAREST_M + 1e-6) > 0
    assert evaluation.counts.behind == counted


def test_vertices_on_request_and_nothing_predicted_again(data, run, hands, tmp_path, encoded):
    evaluated(data, tmp_path, checkpoint=run, vertices=True, limit=4)
    predicted = predictions_in(tmp_path)
    is_left = read_index(data).is_left[predicted["row"]]
    expected = pose_meshes(hands, predicted["pose_rotvec"], predicted["betas"], is_left)
    assert np.array_equal(predicted["vertices_m"].reshape(4, 778, 3), expected)
    del encoded[:]
    evaluated(data, tmp_path, checkpoint=run, vertices=True, limit=4)
    assert encoded == []


@pytest.mark.parametrize("tips", ["dexycb", "ho3d"])
def test_fingertips_are_those_of_the_datasets_clips(data, run, layer, tmp_path, tips):
    own = copy_with_parameters(data, tmp_path / "own", dataset="my_package.my_hands", tips=tips)
    evaluated(own, tmp_path / "out", checkpoint=run, limit=6)
    predicted = predictions_in(tmp_path / "out")
    rotmats = rotvec_to_rotmat(torch.tensor(predicted["pose_rotvec"]).view(-1, 16, 3))
    is_left = torch.from_numpy(read_index(own).is_left[predicted["row"]])
    _, joints = layer(rotmats, torch.tensor(predicted["betas"]), is_left, tips)
    joints = (joints - joints[:, :1]).flatten(1).numpy()
    assert np.abs(joints - predicted["joints_m"]).max() < 1e-5


def test_weights_by_occlusion_need_no_more_than_the_index(data, hands, tmp_path):
    save_untrained(tmp_path, make_stream(data), hands, changed("model", fusion="occlusion"))
    evaluation, _ = evaluated(data, tmp_path / "out", checkpoint=tmp_path, limit=4)
    assert evaluation.data.frames == 4


# ----------------------------------------------------------------------------------------- scores


def test_the_mesh_that_is_scored_is_that_of_the_predicted_parameters(
    data, run, hands, truth, tmp_path, monkeypatch
):
    """Predictions with the labels' own parameters, but for one frame's, whose hand is stretched."""
    rows = truth.row[truth.frames["valid"].to_numpy()]
    at = np.searchsorted(truth.row, rows)
    pose, stretched = truth.pose_rotvec[at].copy(), 3
    pose[stretched, 3:] = 0
    predicted = Predicted(
        place=at, joints_px=np.zeros((len(at), 21, 2)),
        joints_m=truth.joints_m[at] - truth.joints_m[at, :1], wrist_cam_m=truth.joints_m[at, 0],
        pose_rotvec=pose, betas=truth.betas[at], num_windows=np.ones(len(rows), int),
    )  # fmt: skip
    path = tmp_path / "predictions.parquet"
    write_parquet(path, as_rows(read_index(data), rows, predicted))
    monkeypatch.setattr(program, "predict", lambda *_, **__: path)
    evaluation, _ = evaluated(data, tmp_path, checkpoint=run, mesh=True)
    scores = evaluation.metrics["all"]
    vertices, true_vertices = (
        pose_meshes(hands, poses, truth.betas[at], truth.is_left[at])
        for poses in (pose, truth.pose_rotvec[at])
    )
    aligned = align_procrustes(vertices, true_vertices)
    error_mm = 1e3 * np.linalg.norm(aligned - true_vertices, axis=-1).mean(1)
    assert error_mm[stretched] > 3 and np.delete(error_mm, stretched).max() < 1e-3
    assert scores["pa_mpvpe_mm"]["mean"] == pytest.approx(error_mm.mean(), abs=1e-3)
    assert 0.9 < scores["f15"]["mean"] <= 1 and scores["f5"]["mean"] < 1


def test_what_is_written_is_read_back_and_scores_the_same(data, result, tmp_path):
    mine = read_evaluation(result / "evaluation.json")
    assert mine.data.synthetic and mine.data.frames == mine.metrics["all"]["num_frames"]
    assert (mine.run.experiment, mine.run.hand, mine.run.step) == ("tiny", "standin", 0)
    others, _ = evaluated(data, tmp_path, predictions=result / "hpe.txt", method="mine")
    ours, theirs = (e.metrics["all"]["mpjpe_mm"]["mean"] for e in (mine, others))
    assert abs(ours - theirs) < 1e-3


def test_a_file_is_scored_as_far_off_as_it_is(data, truth, tmp_path):
    """All joints 5 mm off, and the tip of the thumb by 21 mm more across."""
    order = dexycb_order(truth.frames, SPLIT)
    joints = truth.joints_m[order.is_required] + [0.003, 0, 0.004]
    joints[:, 4, 1] += 0.021
    path = tmp_path / "pred.json"  # its kind goes by the dataset, not by its name
    write_hpe(path, order, joints)
    evaluation, _ = evaluated(data, tmp_path, predictions=path, method="x")
    scores = {name: values["mean"] for name, values in evaluation.metrics["all"].items()
              if isinstance(values, dict)}  # fmt: skip
    assert scores["mpjpe_mm"] == pytest.approx((20 * 5 + np.hypot(5, 21)) / 21, abs=1e-3)
    assert scores["ra_mpjpe_mm"] == pytest.approx(1, abs=1e-3)
    assert 0.5 < scores["pa_mpjpe_mm"] < 3
    assert scores["accel_mm_per_frame2"] == pytest.approx(0, abs=1e-3)
    path.write_text("[[], []]")
    with pytest.raises(ValueError, match="line 1 has 2 numbers between commas, not 64"):
        evaluated(data, tmp_path, predictions=path, method="x")


def test_a_filter_scores_only_its_frames(data, run, truth, tmp_path):
    evaluation, _ = evaluated(data, tmp_path, checkpoint=run, where="side == 'left'")
    is_left = truth.is_left & truth.frames["valid"].to_numpy()
    assert evaluation.data.frames == is_left.sum() > 0
    assert evaluation.data.split == f"{SPLIT} where side == 'left'"
    assert not (tmp_path / "hpe.txt").exists()


def test_a_frame_without_an_image_borrows_from_the_nearest_of_its_clip(truth):
    labelled = np.flatnonzero(truth.is_labelled)
    clip = np.array(truth.frames["clip"].to_pylist())
    ours = labelled[clip[labelled] == clip[labelled[0]]]

    def with_images(is_valid: np.ndarray) -> Truth:
        column = truth.frames.column_names.index("valid")
        return replace(truth, frames=truth.frames.set_column(column, "valid", pa.array(is_valid)))

    is_valid = np.ones(len(truth.row), bool)
    is_valid[ours[1:-1]] = False
    paired = pair_predictions(with_images(is_valid), truth.row[ours[[0, -1]]])
    assert paired.source[:2].tolist() == [0, 0] and paired.source[len(ours) - 1] == 1
    assert paired.is_borrowed[: len(ours)].tolist() == [False] + [True] * (len(ours) - 2) + [False]
    assert (paired.source[len(ours) :] == -1).all()  # nothing of other clips
    # those have an image, so what is lacking is a corrupt member's fault
    others = len(labelled) - len(ours)
    assert paired.counts == Counts(predicted=2, borrowed=len(ours) - 2, corrupt=others)
    paired = pair_predictions(with_images(np.zeros(len(is_valid), bool)), truth.row[ours[:1]])
    assert paired.counts == Counts(predicted=1, borrowed=len(ours) - 1, lost=others)


def test_the_nearest_is_what_a_search_clip_by_clip_finds():
    rng = np.random.default_rng(0)
    num = 300
    clip = rng.integers(0, 12, num)
    frame = rng.permutation(2 * num)[:num]  # gaps, in any order
    valid, joints = rng.random(num) < 0.6, np.zeros((num, 21, 3))
    joints[rng.random(num) < 0.1] = np.nan
    frames = pa.table({"clip": clip.astype(str), "frame": frame, "valid": valid})
    truth = Truth({}, frames, np.arange(num) * 3, joints, *[None] * 3)
    row = rng.permutation(truth.row)[:40]
    paired = pair_predictions(truth, row)
    assert paired.at.tolist() == np.flatnonzero(truth.is_labelled).tolist()
    for i, source in zip(paired.at, paired.source, strict=True):
        near = [(abs(frame[j] - frame[i]), frame[j], truth.row[j]) for j in range(num)
                if clip[j] == clip[i] and truth.row[j] in row]  # fmt: skip
        can_have_one = near and (truth.row[i] in row or not valid[i])
        assert source == (row.tolist().index(min(near)[2]) if can_have_one else -1)


# --------------------------------------------------------------------------- what cannot be used


def test_what_does_not_belong_together_is_refused(data, run, tmp_path):
    own = copy_with_parameters(data, tmp_path / "own", dataset="my_package.my_hands")
    with pytest.raises(ValueError, match=r"of DexYCB or HO-3D, .* frames of my_package.my_hands"):
        evaluated(own, tmp_path, predictions=tmp_path / "x.txt", method="x")
    own = copy_with_parameters(data, tmp_path / "tips", dataset="my_package.my_hands", tips=None)
    with pytest.raises(ValueError, match="does not say whose fingertips .* build the dataset"):
        evaluated(own, tmp_path / "out", checkpoint=run)
    other = replace(load_checkpoint(run), hand={"name": "mano", "sha256": "0" * 64})
    save_checkpoint(tmp_path / "run", other, keep=1)
    with pytest.raises(ValueError, match="trained with another hand model"):
        evaluated(data, tmp_path / "out", checkpoint=tmp_path / "run")


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


def test_the_command_says_on_how_many_processes(data, run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate", "--limit", "4"])
    for launch, processes in (("python", "1"), ("torchrun --nproc-per-node 8", "8")):
        monkeypatch.setenv("WORLD_SIZE", processes)
        evaluation, _ = evaluated(data, tmp_path, checkpoint=run, limit=4)
        assert evaluation.command == f"{launch} -m benchmarks.evaluate --limit 4"

"""From a checkpoint to predictions and scores, on a small dataset and an untrained model."""

import re
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from benchmarks import evaluate as program
from benchmarks import inference
from benchmarks.evaluate import Options, evaluate
from benchmarks.evaluation import Method, read_evaluation
from benchmarks.predictions import read_predictions
from benchmarks.submissions.file_order import dexycb_order
from benchmarks.submissions.files import read_hpe, write_hpe
from benchmarks.truth import pair_predictions, read_truth
from deformer.camera import NEAREST_M, fit_translation
from deformer.checkpoint import Content, load_checkpoint, save_checkpoint
from deformer.experiments import Experiment
from deformer.index import read_index
from deformer.labels import load_hands_of
from deformer.learner import Learner, move_batch
from deformer.stream import Stream
from tests.deformer.training import (
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
    out = tmp_path_factory.mktemp("run")
    stream = make_stream(data)
    learner = make_learner(hands, stream)
    return _save(out, VERY_SMALL, hands, stream, learner)


def _save(out: Path, experiment: Experiment, hands, stream: Stream, learner: Learner) -> Path:
    """A run of no step."""
    content = Content(
        step=0, experiment=experiment, hand={"name": hands.name, "sha256": hands.sha256},
        stream=stream.state(0), tensors=learner.tensors(),
    )  # fmt: skip
    save_checkpoint(out, content, keep=1)
    return out


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


def test_interrupted_prediction_goes_on_to_the_same_rows(data, run, result, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "_STEPS_PER_PART", 1)
    out, real = tmp_path / "out", inference.to_input
    calls = []

    def fails_once(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(inference, "to_input", fails_once)
    with pytest.raises(KeyboardInterrupt):
        evaluate(_options(data, run, out), CPU, Console(quiet=True))
    assert len(list((out / "parts").glob("rank-*.npz"))) == 3
    evaluate(_options(data, run, out), CPU, Console(quiet=True))
    once, again = (read_predictions(folder / "predictions.parquet") for folder in (result, out))
    for name, values in once.items():
        assert np.array_equal(values, again[name]), name
    num_steps = len(calls) - 1  # one was in vain
    evaluate(_options(data, run, out), CPU, Console(quiet=True))
    assert len(calls) - 1 == num_steps  # nothing was predicted again


def test_parts_of_another_checkpoint_are_thrown_away(data, run, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir(parents=True)
    (parts / "job.json").write_text("{}")
    (parts / "rank-000-step-00000000.npz").write_bytes(b"of another")
    evaluate(_options(data, run, tmp_path), CPU, Console(quiet=True))
    assert (tmp_path / "predictions.parquet").exists()


def test_hands_that_fit_best_behind_the_camera_are_put_before_it_and_counted(
    data, run, tmp_path, monkeypatch
):
    def mirrored(points_m, points_px, K):
        points_px[::2] = 2 * points_px[::2, :1] - points_px[::2]
        return fit_translation(points_m, points_px, K)

    monkeypatch.setattr(inference, "fit_translation", mirrored)
    said = StringIO()
    evaluate(_options(data, run, tmp_path), CPU, Console(file=said, width=200))
    found = read_predictions(tmp_path / "predictions.parquet")
    z = (found["joints_m"].reshape(-1, 21, 3) + found["wrist_cam_m"][:, None])[..., 2].min(1)
    assert z.min() > NEAREST_M - 1e-6
    counted = int(re.search(r"(\d+) hands fit best behind the camera", said.getvalue())[1])
    assert counted == np.count_nonzero(z < NEAREST_M + 1e-6) > 0


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


def test_vertices_of_perfect_parameters_have_no_error(data, hands, tmp_path):
    truth = read_truth(data, SPLIT)
    at = np.flatnonzero(truth.is_labelled)
    is_left = np.array(truth.frames["side"].take(at).to_pylist()) == "left"
    vertices = program.pose_meshes(hands, truth.pose_rotvec[at], truth.betas[at], is_left)
    vertices = vertices + truth.joints_m[at, :1]
    scores = program.score(
        program.compare(truth, at, truth.joints_m[at], vertices, vertices), num_draws=10
    )
    assert scores["all"]["pa_mpvpe_mm"]["mean"] < 1e-6 and scores["all"]["f5"]["mean"] == 1


def test_vertices_on_request_and_nothing_predicted_again(data, run, hands, tmp_path, monkeypatch):
    options = _options(data, run, tmp_path, vertices=True, limit=4)
    evaluate(options, CPU, Console(quiet=True))
    predicted = read_predictions(tmp_path / "predictions.parquet")
    is_left = read_index(data).is_left[predicted["row"]]
    pose, betas = predicted["pose_rotvec"], predicted["betas"]
    expected = program.pose_meshes(hands, pose, betas, is_left)
    assert np.array_equal(predicted["vertices_m"].reshape(4, 778, 3), expected)
    monkeypatch.setattr(inference, "to_input", None)
    evaluate(options, CPU, Console(quiet=True))


def test_a_frame_without_an_image_borrows_from_the_nearest_of_its_clip(data):
    truth = read_truth(data, SPLIT)
    labelled = np.flatnonzero(truth.is_labelled)
    clip = np.array(truth.frames["clip"].to_pylist())
    ours = labelled[clip[labelled] == clip[labelled[0]]]
    paired = pair_predictions(truth, truth.row[ours[[0, -1]]])
    assert paired.source[:2].tolist() == [0, 0] and paired.source[len(ours) - 1] == 1
    assert paired.is_borrowed[: len(ours)].tolist() == [False] + [True] * (len(ours) - 2) + [False]
    assert (paired.source[len(ours) :] == -1).all()  # nothing of other clips


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
    stream = make_stream(data)
    learner = make_learner(hands, stream, experiment)
    _save(tmp_path, experiment, hands, stream, learner)
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

"""Evaluated again, on other processes, interrupted, of damaged shards."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evaluation import predict
from benchmarks.evaluation.predictions import read_predictions
from benchmarks.evaluation.result import EVALUATION_FILE, read_evaluation
from benchmarks.evaluation.scored import load_scored
from deformer.data.index import read_index
from deformer.training import features
from deformer.training.checkpoint import load_checkpoint, save_checkpoint
from tests.benchmarks.untrained import SPLIT, evaluated
from tests.deformer.data.test_stream import corrupt
from tests.deformer.small_runs import make_stream
from tests.processes import assert_nothing_is_left, start_python

REPOSITORY = Path(__file__).parents[2]


def _assert_same_predictions(one: Path, other: Path, atol: float = 0) -> None:
    a, b = (read_predictions(folder / "predictions.parquet") for folder in (one, other))
    assert a.keys() == b.keys()
    for name, values in a.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(values, b[name], rtol=0, atol=atol, err_msg=name)
        else:
            assert np.array_equal(values, b[name]), name


# -------------------------------------------------------------------------------- what is finished


@pytest.mark.parametrize(
    "more", [{"batch": 3}, {"workers": 1}, {"mesh": True}, {"vertices": True}], ids=str
)
def test_scoring_again_predicts_nothing_again(data, run, own_result, encoded, more):
    before = read_evaluation(own_result / "evaluation.json")
    (own_result / "evaluation.json").unlink()
    evaluated(data, own_result, checkpoint=run, **more)
    assert encoded == []
    after = read_evaluation(own_result / "evaluation.json")
    assert (after.data, after.counts) == (before.data, before.counts)
    assert after.metrics["all"]["mpjpe_mm"] == before.metrics["all"]["mpjpe_mm"]


def _other_weights(run: Path, out: Path) -> Path:
    checkpoint = load_checkpoint(run)
    name = next(n for n, x in checkpoint.tensors["model"].items() if x.is_floating_point())
    checkpoint.tensors["model"][name] += 0.1
    save_checkpoint(out, checkpoint, keep=1)
    return out


@pytest.mark.parametrize(
    "more",
    [{}, {"combine": "overlap"}, {"precision": "bf16"}, {"where": "side == 'left'"}],
    ids=["weights", "combine", "precision", "where"],
)
def test_what_makes_other_predictions_predicts_anew(data, run, own_result, tmp_path, encoded, more):
    checkpoint = run if more else _other_weights(run, tmp_path / "other")
    evaluated(data, own_result, checkpoint=checkpoint, **more)
    assert sum(encoded) > 0


def test_bf16_scores_nearly_what_float32_scores(data, run, result, tmp_path):
    """Aligned errors within 1 per thousand; places before the camera are less sure, 3 per cent."""
    evaluation, _ = evaluated(data, tmp_path, checkpoint=run, precision="bf16")
    found, expected = evaluation.metrics["all"], read_evaluation(result / EVALUATION_FILE)
    for metric, rel in (("pa_mpjpe_mm", 1e-3), ("ra_mpjpe_mm", 1e-3), ("mpjpe_mm", 0.03)):
        mean = expected.metrics["all"][metric]["mean"]
        assert found[metric]["mean"] == pytest.approx(mean, rel=rel)
        assert found[metric]["mean"] != mean  # bf16 did compute it
    assert (evaluation.run.precision, expected.run.precision) == ("bf16", "float32")


def test_old_predictions_stay_until_new_ones_are_whole(
    data, run, own_result, tmp_path, monkeypatch
):
    before = (own_result / "predictions.parquet").read_bytes()

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "_decode", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluated(data, own_result, checkpoint=_other_weights(run, tmp_path / "other"))
    assert (own_result / "predictions.parquet").read_bytes() == before


def test_damaged_predictions_are_named(data, run, own_result):
    path = own_result / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"predictions.parquet is damaged: delete it and predict"):
        evaluated(data, own_result, checkpoint=run)


# ------------------------------------------------------------------------------ what is unfinished


def _parts(out: Path) -> list[Path]:
    return list((out / "parts").glob("rank-*.npz"))


def _interrupt(data: Path, run: Path, out: Path, monkeypatch, at_step: int) -> None:
    real, calls = features.to_input, []

    def fails(*args):
        calls.append(1)
        if len(calls) == at_step:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(features, "to_input", fails)
        with pytest.raises(KeyboardInterrupt):
            evaluated(data, out, checkpoint=run)


def test_interrupted_prediction_goes_on_to_the_same_rows(
    data, run, result, tmp_path, monkeypatch, encoded
):
    monkeypatch.setattr(predict, "_STEPS_PER_PART", 1)
    _interrupt(data, run, tmp_path, monkeypatch, at_step=4)
    assert len(_parts(tmp_path)) == 3
    del encoded[:]
    evaluated(data, tmp_path, checkpoint=run)
    assert sum(encoded) == 25 - 3 * 8
    _assert_same_predictions(result, tmp_path)
    assert not (tmp_path / "parts").exists()


def test_parts_of_another_batch_or_checkpoint_are_made_anew(
    data, run, result, tmp_path, monkeypatch, encoded
):
    monkeypatch.setattr(predict, "_STEPS_PER_PART", 1)
    _interrupt(data, run, tmp_path, monkeypatch, at_step=4)
    del encoded[:]
    evaluated(data, tmp_path, checkpoint=run, batch=5)
    assert sum(encoded) == 25
    _assert_same_predictions(result, tmp_path, atol=1e-5)
    (tmp_path / "predictions.parquet").unlink()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "job.json").write_text("{}")
    (tmp_path / "parts" / "rank-000-step-00000000.npz").write_bytes(b"of another")
    evaluated(data, tmp_path, checkpoint=run)
    _assert_same_predictions(result, tmp_path)


EVALUATION = """
import sys, time
from benchmarks.evaluate import main
from benchmarks.evaluation import predict
from deformer.training import features
predict._STEPS_PER_PART, real = 5, features.to_input
def to_input(*args):
    print("encoding a batch", flush=True)
    time.sleep(0.1)
    return real(*args)
features.to_input = to_input
sys.exit(main())
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_workers_too_and_the_same_command_finishes(data, run, result, tmp_path):
    line = ["--checkpoint", str(run), "--data", str(data), "--split", SPLIT, "--workers", "2"]
    line += ["--out", str(tmp_path), "--batch", "1", "--device", "cpu"]
    process = start_python(EVALUATION, *line, env={"OMP_NUM_THREADS": "1"})
    encoded = 0
    while encoded < 7:  # in the second part, while its workers read ahead
        encoded += "encoding a batch" in process.stdout.readline()
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to every process
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted; the same command goes on" in errors and "Traceback" not in errors
    assert_nothing_is_left(process.pid)
    assert len(_parts(tmp_path)) == 1 and not (tmp_path / EVALUATION_FILE).exists()
    process = start_python(EVALUATION, *line, env={"OMP_NUM_THREADS": "1"})
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said.count("encoding a batch") == 25 - 5
    _assert_same_predictions(result, tmp_path, atol=1e-5)


@pytest.mark.slow
def test_two_processes_predict_what_one_predicts_and_one_scores_again(
    data, run, result, tmp_path, encoded
):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line = [sys.executable, *torchrun, "-m", "benchmarks.evaluate", "--checkpoint", str(run)]
    line += ["--data", str(data), "--split", SPLIT, "--out", str(tmp_path), "--device", "cpu"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([*line, "--workers", "0"], cwd=REPOSITORY, env=env,
                           capture_output=True, text=True, timeout=300)  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    _assert_same_predictions(result, tmp_path, atol=1e-5)
    one, two = (read_evaluation(folder / "evaluation.json") for folder in (result, tmp_path))
    assert (two.data, two.counts) == (one.data, one.counts)
    assert two.command.startswith("torchrun --nproc-per-node 2 -m benchmarks.evaluate")
    evaluated(data, tmp_path, checkpoint=run)
    assert encoded == []


# --------------------------------------------------------------------------------- corrupt members


@pytest.fixture
def damaged(data, tmp_path) -> Path:
    """A copy of the dataset, to be damaged."""
    return Path(shutil.copytree(data, tmp_path / data.name))


def test_frames_that_need_a_corrupt_image_are_counted_and_left_out(
    damaged, run, result, tmp_path, encoded
):
    windows = make_stream(damaged).windows  # of the limit, so look at all
    index = read_index(damaged)
    whole = read_predictions(result / "predictions.parquet")
    row = int(windows.centre_rows[1])
    corrupt(damaged, row)
    evaluation, said = evaluated(damaged, tmp_path / "out", checkpoint=run)
    predicted = read_predictions(tmp_path / "out" / "predictions.parquet")
    lost = np.setdiff1d(whole["row"], predicted["row"])
    near = np.abs(lost - row) <= 1  # windows of three frames, each the next
    assert row in lost and near.all() and (index.clip[lost] == index.clip[row]).all()
    before = read_evaluation(result / "evaluation.json")
    counts = evaluation.counts
    assert (counts.predicted, counts.corrupt) == (before.counts.predicted - len(lost), len(lost))
    assert (counts.borrowed, counts.lost) == (before.counts.borrowed, 0)
    assert evaluation.data.frames == before.data.frames - len(lost)
    assert f"{len(lost)} labelled frames are left out: they need corrupt members of" in said
    assert f"{len(lost)} labelled frames have no image" not in said
    kept = np.isin(whole["row"], predicted["row"])
    np.testing.assert_allclose(whole["joints_m"][kept], predicted["joints_m"], atol=1e-5)
    assert not (tmp_path / "out" / "hpe.txt").exists()
    # said again where nothing is read again; and claims and figures count as the evaluation does
    del encoded[:]
    _, said = evaluated(damaged, tmp_path / "out", checkpoint=run)
    assert "they need corrupt members of" in said
    assert encoded == []
    (scored,), problems = load_scored(
        {tmp_path / "out" / "evaluation.json": evaluation}, tmp_path, [damaged]
    )
    assert problems == {} and len(scored.at) == evaluation.data.frames


def test_a_clip_of_corrupt_labels_is_corrupt_not_lost(damaged, run, tmp_path):
    index = read_index(damaged)
    row = int(make_stream(damaged).windows.centre_rows[0])
    in_clip = int((index.numbers["valid"] & (index.clip == index.clip[row])).sum())
    corrupt(damaged, row, "labels_")
    evaluation, _ = evaluated(damaged, tmp_path / "out", checkpoint=run)
    assert (evaluation.counts.lost, evaluation.counts.corrupt) == (0, in_clip)


def test_windows_of_a_part_count_their_corrupt_frames_too(damaged, run, tmp_path):
    row = int(make_stream(damaged).windows.centre_rows[1])
    corrupt(damaged, row)
    evaluation, said = evaluated(damaged, tmp_path / "out", checkpoint=run, where="frame < 4")
    assert evaluation.counts.corrupt > 0 and evaluation.counts.borrowed == 0
    assert "corrupt members" in said


def test_nothing_to_read_is_an_error(damaged, run, tmp_path):
    for row in read_index(damaged).clip_bounds[:-1]:
        corrupt(damaged, int(row), "labels_")
    with pytest.raises(ValueError, match=r"windows in a row of .* are corrupt, such as .*labels"):
        evaluated(damaged, tmp_path / "out", checkpoint=run)


def test_frames_without_a_whole_window_are_an_error(damaged, run, tmp_path):
    stream = make_stream(damaged)
    config = load_checkpoint(run).experiment.stream.for_evaluation(SPLIT, 3)
    windows = type(stream)(config, stream.store, stream.index).windows
    for row in np.setdiff1d(windows.rows, windows.centre_rows):
        corrupt(damaged, int(row))
    with pytest.raises(ValueError, match="no window could be read"):
        evaluated(damaged, tmp_path / "out", checkpoint=run, limit=3)

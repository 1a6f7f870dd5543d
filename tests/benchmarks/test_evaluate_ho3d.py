"""HO-3D's evaluation set: files of others, and what is done where truth or images are lacking."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evaluation.truth import read_truth
from benchmarks.submissions.file_order import ho3d_order
from benchmarks.submissions.pred_json import read_pred_json
from tests.benchmarks.ho3d_dataset import build_ho3d, truth_of
from tests.benchmarks.untrained import evaluated

SPLIT = "evaluation"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, hands) -> Path:
    """With both files of the truth."""
    return build_ho3d(tmp_path_factory.mktemp("ho3d"), hands)


def scored(folder: Path, out: Path, **what) -> tuple[dict | None, str]:
    """Metrics over all frames, and what was said."""
    raw, shards = folder / "raw", folder / "shards"
    evaluation, said = evaluated(shards, out, SPLIT, root=raw, **what)
    return evaluation and evaluation.metrics["all"], said


def write_file(path: Path, content: list) -> Path:
    lists = [None if part is None else np.array(part).tolist() for part in content]
    path.write_text(json.dumps(lists))
    return path


@pytest.mark.parametrize("mesh", [np.zeros((3, 778, 3)), [], None], ids=["zeros", "empty", "null"])
def test_a_file_without_meshes_is_scored_by_its_joints(whole, tmp_path, mesh):
    joints, _ = truth_of(whole)
    joints = joints + np.random.default_rng(0).normal(scale=0.004, size=joints.shape)
    path = write_file(tmp_path / "pred.json", [joints, mesh])
    metrics, said = scored(whole, tmp_path / "out", predictions=path, method="x")
    assert 3 < metrics["pa_mpjpe_mm"]["mean"] < 8
    assert {metrics[name] for name in ("pa_mpvpe_mm", "official_pa_mpvpe_mm", "f5", "f15")} == {
        None
    }
    assert f"{path}: it has no vertices" in said


def test_the_kind_of_a_file_goes_by_the_dataset(whole, tmp_path):
    path = write_file(tmp_path / "predictions.txt", truth_of(whole))
    metrics, _ = scored(whole, tmp_path / "out", predictions=path, method="x")
    assert metrics["pa_mpjpe_mm"]["mean"] < 1e-3 and metrics["pa_mpvpe_mm"]["mean"] < 1e-3
    path.write_text("0," + ",".join("1" * 63) + "\n")
    with pytest.raises(ValueError, match=r"txt: .*expected is \[joints, vertices\] with 3 rows"):
        scored(whole, tmp_path / "out", predictions=path, method="x")


def test_a_file_of_shifted_rows_is_scored_with_a_warning(whole, tmp_path):
    path = write_file(tmp_path / "p.json", [np.roll(x, -1, 0) for x in truth_of(whole)])
    metrics, said = scored(whole, tmp_path / "out", predictions=path, method="x")
    assert metrics["mpjpe_mm"]["mean"] > 10
    assert f"{path}: its hands fit the frames 1 row later far better than their own" in said


def test_meshes_that_are_mirrored_though_joints_are_not_are_refused(whole, tmp_path):
    joints, meshes = truth_of(whole)
    path = write_file(tmp_path / "p.json", [joints, meshes * [-1, 1, 1]])
    with pytest.raises(ValueError, match=r"has its vertices mirrored .*, mirrored 0.0 mm; mirror"):
        scored(whole, tmp_path / "out", predictions=path, method="x")
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_without_true_vertices_the_mesh_is_not_scored(tmp_path, hands, run, whole):
    folder = build_ho3d(tmp_path, hands, truth="xyz")
    metrics, said = scored(folder, tmp_path / "out", checkpoint=run)
    assert metrics["pa_mpjpe_mm"]["mean"] > 1 and metrics["pa_mpvpe_mm"] is None
    assert "3 of 3 frames have no true vertices: the mesh is not scored" in said
    path = write_file(tmp_path / "pred.json", truth_of(whole))
    metrics, said = scored(folder, tmp_path / "others", predictions=path, method="x")
    assert metrics["pa_mpjpe_mm"]["mean"] < 1e-3 and metrics["pa_mpvpe_mm"] is None
    assert "3 of 3 frames have no true vertices: the mesh is not scored" in said


def test_without_truth_the_servers_file_is_written(tmp_path, hands, run, whole):
    folder = build_ho3d(tmp_path, hands, truth="")
    metrics, said = scored(folder, tmp_path / "out", checkpoint=run)
    assert metrics is None and "upload pred.zip" in said
    truth = read_truth(whole / "shards", SPLIT)
    order = ho3d_order(truth.frames, folder / "raw" / "evaluation.txt")
    written = read_pred_json(tmp_path / "out" / "pred.zip", order, np.full((3, 21, 3), np.nan))
    assert written.joints_m.shape == (3, 21, 3) and written.vertices_m.shape == (3, 778, 3)
    path = write_file(tmp_path / "pred.json", truth_of(whole))
    with pytest.raises(ValueError, match="no frame of evaluation has labelled joints"):
        scored(folder, tmp_path / "others", predictions=path, method="x")


@pytest.mark.parametrize("bad", [(0,), (2,), (1, 2)])
def test_without_truth_frames_that_are_not_valid_are_named(tmp_path, hands, run, bad):
    folder = build_ho3d(tmp_path, hands, truth="", bad=bad)
    message = rf"{len(bad)} frames of evaluation are not predicted, .*: 0 need a corrupt member"
    with pytest.raises(ValueError, match=message):
        scored(folder, tmp_path / "out", checkpoint=run)

"""Frames, bins, intervals: what a result holds."""

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from benchmarks.evaluation.protocol import METRICS, Comparison, frame_values, score
from deformer.data.occlusion_bins import BINS
from tests.benchmarks.hands_in_motion import random_hands, random_meshes


def compare(rng: np.random.Generator, count: int = 60, meshes: bool = False, **changes):
    truth = random_hands(rng, count)
    arrays = {
        "joints_m": truth + rng.normal(scale=0.005, size=truth.shape),
        "truth_joints_m": truth,
        "sequence": np.arange(count) // 20,
        "camera_sequence": np.char.add("camera-", (np.arange(count) // 10).astype(str)),
        "frame": np.arange(count) % 10,
        "occlusion": np.linspace(0, 1, count),
    }
    if meshes:
        arrays["truth_vertices_m"] = random_meshes(rng, truth)
        arrays["vertices_m"] = (arrays["truth_vertices_m"] + 0.001).astype(np.float32)
    return Comparison(**arrays | changes)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_a_result_is_plain_json_and_has_every_metric(rng):
    result = score(compare(rng, meshes=True))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result.keys() == BINS.keys()
    for scores in result.values():
        assert scores.keys() == {"num_frames", "num_sequences", *METRICS}
        assert all(scores[metric] is not None for metric in METRICS)
    assert len(result["all"]["pa_mpjpe_mm"]["per_joint"]) == 21
    assert "per_joint" not in result["all"]["pa_mpvpe_mm"]
    assert result["all"]["pa_mpvpe_mm"]["mean"] < 1e-4
    assert result["all"]["f5"]["mean"] == 1


def _official(x: np.ndarray, y: np.ndarray, unit_per_m: float) -> np.ndarray:
    """Points x (P, 3) aligned with y, m, as FreiHAND's evaluation defines it: both to size 1 (with
    10⁻⁸ added, in its unit), an orthogonal matrix, a scale."""
    x, y = unit_per_m * x.astype(np.float64), unit_per_m * y
    x0, y0 = x - x.mean(0), y - y.mean(0)
    size_x, size_y = (np.linalg.norm(p) + 1e-8 for p in (x0, y0))
    matrix, scale = orthogonal_procrustes(x0 / size_x, y0 / size_y)
    return (scale * size_y * (x0 / size_x) @ matrix + y.mean(0)) / unit_per_m


@pytest.mark.parametrize("unit_per_m", [1, 1000], ids=["as HO-3D", "as DexYCB"])
def test_official_numbers_are_those_of_the_official_alignment_to_a_nanometre(rng, unit_per_m):
    c = compare(rng, meshes=True)
    joints, meshes = c.joints_m + rng.normal(scale=0.01, size=c.joints_m.shape), c.vertices_m
    joints[::3] *= [-1, 1, 1]  # these fit better mirrored
    meshes[1::3] *= [-1, 1, 1]
    c = replace(c, joints_m=joints, vertices_m=meshes)
    values = frame_values(c)
    for name, points, truth in (
        ("official_pa_mpjpe_mm", joints, c.truth_joints_m),
        ("official_pa_mpvpe_mm", meshes, c.truth_vertices_m),
    ):
        aligned = np.stack(
            [_official(x, y, unit_per_m) for x, y in zip(points, truth, strict=True)]
        )
        expected = 1e3 * np.linalg.norm(aligned - truth, axis=-1).mean(1)
        found = values[name].reshape(len(points), -1).mean(1)
        assert np.abs(found - expected).max() < 1e-6
        turned = values[name.removeprefix("official_")].reshape(len(points), -1).mean(1)
        first = 0 if points is joints else 1
        assert (turned[first::3] > found[first::3] + 1).all()  # turned alone, they do not fit
        assert (turned >= found - 1e-9).all()
    assert np.array_equal(values["official_f5"][::3], values["f5"][::3])
    assert (values["official_f5"][1::3] == 1).all() and (values["f5"][1::3] < 0.9).all()


def test_means_go_over_joints_then_frames(rng):
    comparison = compare(rng)
    result, values = score(comparison), frame_values(comparison)
    errors = np.linalg.norm(comparison.joints_m - comparison.truth_joints_m, axis=-1) * 1e3
    np.testing.assert_allclose(values["mpjpe_mm"], errors)
    assert result["all"]["mpjpe_mm"]["mean"] == pytest.approx(errors.mean(1).mean())
    assert result["all"]["mpjpe_mm"]["per_joint"] == pytest.approx(errors.mean(0).tolist())
    per_s2, per_frame2 = (
        result["all"][name]["mean"] for name in ("accel_m_per_s2", "accel_mm_per_frame2")
    )
    assert per_s2 == pytest.approx(0.9 * per_frame2)  # 30² frames²/s² / 1000 mm/m
    low, high = result["all"]["mpjpe_mm"]["interval"]
    assert low < errors.mean() < high


def test_camera_space_error_counts_place_and_size_and_aligned_errors_do_not(rng):
    truth = random_hands(rng, 3)
    moved = truth + [[[0.03, 0, 0.04]], [[0, 0, -0.2]], [[0, 0, 0]]]  # by 50, 200 and 0 mm
    moved[2, 7] += [0.021, 0, 0]  # one of 21 joints by 21 mm: 1 mm on average
    scores = score(compare(rng, 3, joints_m=moved, truth_joints_m=truth))["all"]
    assert scores["mpjpe_mm"]["mean"] == pytest.approx((50 + 200 + 1) / 3)
    assert scores["ra_mpjpe_mm"]["mean"] == pytest.approx(1 / 3)
    as_far = truth * 1.1  # seen alike, but a tenth larger and farther away
    scores = score(compare(rng, 3, joints_m=as_far, truth_joints_m=truth))["all"]
    distance_mm = 1e3 * np.linalg.norm(truth, axis=-1).mean()
    assert scores["mpjpe_mm"]["mean"] == pytest.approx(distance_mm / 10)
    assert scores["pa_mpjpe_mm"]["mean"] == pytest.approx(0, abs=1e-6)


def test_a_bin_holds_its_lower_border_and_the_last_one_also_1(rng):
    occlusion = np.array([0, 0.2499, 0.25, 0.4999, 0.5, 0.75, 1, np.nan, np.nan])
    result = score(compare(rng, 9, occlusion=occlusion))
    assert [scores["num_frames"] for scores in result.values()] == [9, 2, 1, 2]


def test_what_no_frame_has_is_none_and_never_0(rng):
    result = score(compare(rng, occlusion=np.full(60, np.nan)))
    assert result["all"]["num_frames"] == 60
    for scores in (
        result["25-50"],
        result["50-75"],
        result["75-100"],
        score(compare(rng, 0))["all"],
    ):
        assert scores["num_frames"] == 0
        assert all(scores[metric] is None for metric in METRICS)
    mesh = [m for m in METRICS if m.endswith(("mpvpe_mm", "mpvpe_auc", "f5", "f15"))]
    assert [m for m in METRICS if result["all"][m] is None] == mesh and len(mesh) == 8
    single = score(compare(rng, frame=np.arange(60) * 2))["all"]
    assert single["accel_mm_per_frame2"] is None and single["pa_mpjpe_mm"] is not None


# ---------------------------------------------------------------------------------------- bad input


def _with(array: np.ndarray, at: int, value: float) -> np.ndarray:
    array[at] = value
    return array


BAD = {
    "joints_m is not finite at frame 3 of camera-1: every": {
        "joints_m": _with(np.zeros((60, 21, 3)), 13, np.nan)},
    "frame 3 of camera-1 is there twice: leave halo rows out": {
        "frame": _with(np.arange(60) % 10, 14, 3)},
    "occlusion has values outside 0 to 1: it is a share": {"occlusion": np.linspace(0, 100, 60)},
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_scored_is_refused(rng, message):
    with pytest.raises(ValueError, match=message):
        compare(rng, **BAD[message])


@pytest.mark.slow
def test_100_000_frames_are_scored_in_seconds(rng):
    N = 100_000
    truth = rng.normal(scale=0.04, size=(N, 21, 3)) + [0, 0, 0.7]
    predicted = truth + rng.normal(scale=0.005, size=truth.shape)
    ids = np.arange(N)
    comparison = Comparison(predicted, truth, ids // 640, ids // 80, ids % 80, rng.random(N))
    start = time.perf_counter()
    result = score(comparison)
    assert time.perf_counter() - start < 30
    assert result["all"]["num_frames"] == N
    tracemalloc.start()  # slows it down, hence a second time
    score(comparison)
    assert tracemalloc.get_traced_memory()[1] < 1 << 30
    tracemalloc.stop()

"""What borrowed poses are worth: measures of made-up windows whose answer is known."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.evaluation.result import Data
from benchmarks.figures import deformation as lending_file
from benchmarks.figures.deformation import (
    BEST,
    borrowed_error_figure,
    candidates,
    explained_interval,
    explained_share,
    headroom_figure,
    lending,
    nearest_of_repeats,
)

DATA = Data("made-up", "dexycb", "s3_test", True, 2, "0")
OCCLUSION = np.array([0.0, 0.9, 0.5, 0.2, 0.7])
WINDOWS = np.array([[0, 1, 2], [1, 2, 4], [3, 4, 4]])  # the last one repeats its centre
CENTRE = 1


@pytest.fixture
def make(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.normal(scale=0.05, size=(5, 21, 3))
    truth -= truth[:, :1]
    index = SimpleNamespace(numbers={"frame": 10 * np.arange(5)})
    monkeypatch.setattr(lending_file, "read_dataset", lambda _: index)

    def made(own=None, lent=None, **changed):
        own = truth[WINDOWS] if own is None else own
        lent = np.repeat(truth[WINDOWS[:, [CENTRE]]], 3, 1) if lent is None else lent
        fused = lent.mean(1)
        flat = {"own_joints_m": own, "lent_joints_m": lent, "joints_m": fused,
                "num_windows": np.ones(3, int)}  # fmt: skip
        scored = SimpleNamespace(
            predictions={name: value.reshape(3, -1) for name, value in flat.items()},
            comparison=SimpleNamespace(sequence=np.array(["a", "a", "b"])),
            window_rows=WINDOWS, centre=CENTRE, is_borrowed=np.zeros(3, bool), source=np.arange(3),
            data=None,
            truth=SimpleNamespace(
                joints_m=truth, row=np.arange(5), frames=pa.table({"occlusion": OCCLUSION})
            ),
        )  # fmt: skip
        vars(scored).update(changed)
        return scored

    return truth, made


def test_exact_motions_lend_exact_poses_and_explain_all_motion(make):
    _, made = make
    found = lending(made())
    for errors in (found.pa, found.ra):
        assert np.abs(errors.lent).max() < 1e-9 and np.abs(errors.at_home).max() < 1e-9
        assert errors.copied[0, 0] > 5  # another pose
        assert errors.copied[:, CENTRE].max() < 1e-9
    moved = found.is_lender & (found.offset != 0)
    assert explained_share(found, moved) == pytest.approx(1)
    assert np.array_equal(found.offset, [[-10, 0, 10], [-10, 0, 20], [-10, 0, 0]])


def test_the_share_that_is_explained_has_an_interval_over_recordings(make):
    truth, made = make
    lent = truth[WINDOWS].copy()
    lent[2] = truth[WINDOWS[2, CENTRE]]  # nothing of recording a's motion is explained, all of b's
    found = lending(made(lent=lent))
    moved = found.offset != 0
    assert 0 < explained_share(found, moved) < 1
    assert explained_interval(found, moved) == pytest.approx((0, 1))
    assert np.isnan(explained_interval(lending(made(is_borrowed=np.array([True, True, False]))),
                                       np.ones((1, 3), bool))).all()  # fmt: skip


def test_poses_that_are_not_deformed_explain_nothing(make):
    truth, made = make
    found = lending(made(lent=truth[WINDOWS]))
    assert explained_share(found, found.offset != 0) == pytest.approx(0)
    assert np.allclose(found.ra.lent, found.ra.copied)
    wrong_way = 2 * truth[WINDOWS] - truth[WINDOWS[:, [CENTRE]]]
    found = lending(made(lent=wrong_way))
    assert explained_share(found, found.offset != 0) == pytest.approx(-3)


def test_root_aligned_errors_by_hand(make):
    truth, made = make
    away = truth[WINDOWS] + np.where(np.arange(21) > 0, 0.003, 0)[:, None]  # all but the wrist
    found = lending(made(own=away))
    assert found.ra.at_home == pytest.approx(20 / 21 * 3 * np.sqrt(3))


def test_a_repeated_frame_lends_once_from_where_it_is_nearest():
    rows = np.array([[7, 7, 7, 8, 9], [1, 2, 3, 3, 3], [4, 4, 4, 4, 4], [0, 1, 2, 3, 4]])
    expected = [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert np.array_equal(nearest_of_repeats(rows, 2), np.array(expected, bool))


def test_the_candidates_are_who_they_say(make):
    truth, made = make
    here = truth[WINDOWS[:, [CENTRE]]]
    size = np.array([0.001, 0.004, 0.002])[:, None, None]  # errors of the three positions
    lent = here + size * np.where(np.arange(21) > 0, 1, 0)[:, None]
    found = lending(made(lent=lent))
    unit = 20 / 21 * np.sqrt(3)
    picked = candidates(found, found.ra)
    # least hidden: position 0 (row 0), 1 (row 2), 0 (row 3); row 4's repeat lends nothing
    assert picked["of the frame least hidden"] == pytest.approx(np.array([1, 4, 1]) * unit)
    assert picked[BEST] == pytest.approx(1 * unit)


def test_what_has_no_sources_is_left_out(make):
    _, made = make
    scored = made()
    del scored.predictions["lent_joints_m"]
    assert lending(scored) is None
    assert lending(made(window_rows=None)) is None
    overlapping = made()
    overlapping.predictions["num_windows"][1] = 3  # its result is not of one window's sources
    assert lending(overlapping) is None
    assert len(lending(made(is_borrowed=np.array([True, False, False]))).offset) == 2


def test_frames_without_labels_lend_nothing(make):
    truth, made = make
    scored = made()
    scored.truth.joints_m = truth.copy()
    scored.truth.joints_m[0] = np.nan
    assert len(lending(scored).offset) == 2  # the window with row 0 is out
    scored.truth.joints_m[1:] = np.nan
    assert lending(scored) is None


def test_both_figures_are_drawn(make):
    truth, made = make
    rng = np.random.default_rng(1)
    noise = rng.normal(scale=0.002, size=(3, 3, 21, 3))
    found = lending(made(lent=truth[WINDOWS] + noise))
    # 0 in each, the fused pose in the first
    for draw, lines in ((borrowed_error_figure, 5), (headroom_figure, 4)):
        figure = draw(found, DATA)
        assert "SYNTHETIC" in figure.get_suptitle()
        assert len(figure.axes[0].lines) == lines

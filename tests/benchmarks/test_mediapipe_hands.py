"""MediaPipe's score: which hand, where it is, and what stands in for hands that are not found."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import mediapipe_hands
from benchmarks.evaluation.result import EVALUATION_FILE, read_evaluation
from benchmarks.evaluation.truth import read_truth
from benchmarks.mediapipe_hands import Options, Searched, choose, evaluate, fill, main, search
from deformer.data.store import ClipReader, open_store
from deformer.hand.align import align_root, point_errors_mm
from deformer.video.detect import INSTALL, Detection, HandDetector
from pipelines import build_shards
from pipelines.synthesize import SynthesisConfig, synthesize
from tests.deformer.data.test_stream import corrupt
from tests.deformer.video.detections import detection

SPLIT = "s0_test"


def true_detections(data) -> list[Detection]:
    """What a perfect detector finds in the images of the split, in the order of the index."""
    store, index = open_store(data)
    truth, reader = read_truth(store.folder, SPLIT), ClipReader(store, index, 1)
    found = []
    for row, joints in zip(truth.row, truth.joints_m, strict=True):
        if index.numbers["valid"][row]:
            labels = reader.labels(int(index.clip[row]))
            points_px = labels["joints_px"][index.numbers["clip_index"][row]].astype(np.float64)
            side = "left" if index.is_left[row] else "right"
            found.append(Detection(side, 0.9, points_px, joints - joints.mean(0)))
    return found


@pytest.fixture
def detects(monkeypatch):
    """Has the detector find these hands, a list for each image."""

    class Faked:
        def __init__(self, mode: str) -> None:
            assert mode == "image"

        def __enter__(self):
            return self

        def __exit__(self, *_) -> None: ...

        def detect(self, image_rgb: np.ndarray) -> list[Detection]:
            assert image_rgb.dtype == np.uint8 and image_rgb.shape[2] == 3
            return next(self.found)

    def set_found(found: list[list[Detection]]) -> None:
        Faked.found = iter(found)

    monkeypatch.setattr(mediapipe_hands, "HandDetector", Faked)
    monkeypatch.setattr(mediapipe_hands, "version", lambda _: "0.10.33")
    return set_found


def test_a_detector_that_is_right_has_no_error_in_space(data, tmp_path, detects):
    hands = true_detections(data)
    detects([[hand] for hand in hands])
    evaluation = evaluate(Options(data, SPLIT, tmp_path))
    scores, counts = evaluation.metrics["all"], evaluation.counts
    assert scores["pa_mpjpe_mm"]["mean"] < 0.01 and scores["mpjpe_mm"]["mean"] < 0.5
    assert (counts.predicted, counts.not_found) == (len(hands), 0)
    assert evaluation.run.method == "MediaPipe"
    assert "MediaPipe 0.10.33; hands found: all 100%" in evaluation.run.predictions


def test_hands_that_are_not_found_are_counted_and_scored(data, tmp_path, detects):
    hands = true_detections(data)
    detects([[hand] if k % 2 else [] for k, hand in enumerate(hands)])
    evaluation = evaluate(Options(data, SPLIT, tmp_path))
    counts, lacking = evaluation.counts, len(hands[::2])
    assert (counts.scored, counts.corrupt) == (evaluation.data.frames, 0)
    assert lacking <= counts.not_found <= lacking + counts.borrowed
    assert evaluation.metrics["all"]["pa_mpjpe_mm"]["mean"] > 0.5
    assert any("no hand was found" in said for said in counts.sentences("shards"))
    share = (len(hands) - lacking) / len(hands)
    assert f"hands found: all {share:.0%}" in evaluation.run.predictions


@pytest.fixture
def copied(data, tmp_path):
    return shutil.copytree(data, tmp_path / data.name)


def test_corrupt_images_are_left_out_and_not_searched(data, tmp_path, detects, copied):
    hands, row = true_detections(data), read_truth(data, SPLIT).row
    index = open_store(copied)[1]
    valid = row[index.numbers["valid"][row] > 0]
    corrupt(copied, int(valid[1]))
    detects([[hand] for k, hand in enumerate(hands) if k != 1])
    evaluation = evaluate(Options(copied, SPLIT, tmp_path))
    assert (evaluation.counts.corrupt, evaluation.counts.predicted) == (1, len(hands) - 1)
    assert evaluation.metrics["all"]["pa_mpjpe_mm"]["mean"] < 0.01


def test_the_nearest_found_hand_of_a_clip_stands_in_else_the_mean_of_all():
    rng = np.random.default_rng(0)
    hand = 0.03 * rng.standard_normal((21, 3)) + [0, 0, 0.7]
    joints = np.full((8, 21, 3), np.nan)
    joints[1], joints[4] = hand, hand + [0.1, 0, 0]
    index = SimpleNamespace(
        clip=np.array([0, 0, 0, 0, 0, 1, 1, 2]),
        is_left=np.array([0, 0, 0, 0, 0, 0, 0, 1], bool),
        numbers={"frame": np.array([0, 1, 2, 3, 4, 1, 4, 1])},
    )
    filled = fill(Searched(np.arange(8), joints), index)
    for k, lends in enumerate([1, 1, 1, 4, 4]):
        assert np.array_equal(filled[k], joints[lends])
    assert np.allclose(filled[5:7], hand + [0.05, 0, 0], atol=1e-6)
    assert np.allclose(filled[7], filled[5] * [-1, 1, 1])


def test_the_labelled_side_counts_then_the_nearest():
    box = np.array([40.0, 40, 60, 60])
    near, far = detection((50, 50), 20), detection((90, 50), 20)
    wrong = detection((50, 50), 20, "left")
    assert choose([far, wrong, near], "right", box) is near
    assert choose([wrong, far], "right", box) is far
    assert choose([wrong], "right", box) is wrong
    assert choose([], "right", box) is None


def test_a_split_where_nothing_is_found_is_refused(data, tmp_path, detects):
    detects([[] for _ in true_detections(data)])
    with pytest.raises(ValueError, match=r"MediaPipe found no hand in \d+ images"):
        evaluate(Options(data, SPLIT, tmp_path))


def test_without_mediapipe_it_says_what_to_install(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    line = ["--data", str(data), "--split", SPLIT, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["mediapipe_hands", *line])
    assert main() == 1
    said = capsys.readouterr().err
    assert f"error: finding hands needs mediapipe, which is not installed: {INSTALL}" in said
    assert said.count("\n") == 1 and not (tmp_path / EVALUATION_FILE).exists()


@pytest.mark.slow
def test_mediapipe_itself_sees_drawn_hands_with_axes_order_and_place(tmp_path):
    pytest.importorskip("mediapipe", reason=f"MediaPipe is not installed: {INSTALL}")
    root, data = tmp_path / "dexycb", tmp_path / "shards"
    synthesize(SynthesisConfig("dexycb", root, sequences=1, cameras=2, frames=40, depth=False))
    build_shards.build(build_shards.Options("dexycb", root=root, out=data, workers=0))
    mediapipe_hands.run(Options(data, "all", tmp_path))
    evaluation = read_evaluation(tmp_path / EVALUATION_FILE)
    assert 0 < evaluation.counts.not_found < evaluation.counts.scored == evaluation.data.frames

    (store, index), truth = open_store(data), read_truth(data, "all")
    with HandDetector() as detector:
        found = search(detector, store, index, truth.row[truth.is_labelled])
    joints = align_root(found.joints_m[found.is_found])
    true = align_root(truth.joints_m[np.isin(truth.row, found.row[found.is_found])])

    def error_mm(joints_m: np.ndarray) -> float:
        return float(np.median(point_errors_mm(joints_m, true).mean(1)))

    fingers_reversed = [0, *(4 * f + k for f in (4, 3, 2, 1, 0) for k in (1, 2, 3, 4))]
    others = [joints * flip for flip in ([-1, 1, 1], [1, -1, 1], [1, 1, -1])]
    for other in (*others, joints[:, fingers_reversed]):
        assert error_mm(joints) < 0.9 * error_mm(other)

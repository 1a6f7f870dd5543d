"""Tracks from detections with the faults that detectors have."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from deformer.hand.conventions import SIDES
from deformer.video.detect import Detection, detect_video
from deformer.video.frames import Video
from deformer.video.track import Track, TrackOptions, fill_gaps, follow
from tests.deformer.video.detections import IMAGE_WH, Scene, crossing, detection, hand_shape
from tests.shared_data import SHARED

CLIP = SHARED / "data" / "clips" / "coffee.mp4"
PLACES = np.array([[110.0, 150], [530, 150], [110, 370], [530, 370]])


def followed(scene: Scene, **options) -> list[Track]:
    return follow(scene.detections, IMAGE_WH, scene.times_s, TrackOptions(**options))


def owners(scene: Scene, track: Track) -> Counter:
    """The hands whose boxes a track has, with numbers of frames."""
    seen = zip(track.frames, track.boxes_px, track.is_observed, strict=True)
    return Counter(scene.owner[int(k), box.tobytes()] for k, box, is_seen in seen if is_seen)


def still(place_px: np.ndarray, num_frames: int) -> np.ndarray:
    return np.tile(np.asarray(place_px, float), (num_frames, 1))


def describe(tracks: list[Track]) -> list[tuple[bool, int, int, int]]:
    """Side, first and last frame, number of frames that are observed."""
    return [
        (t.is_left, int(t.frames[0]), int(t.frames[-1]), int(t.is_observed.sum())) for t in tracks
    ]


# ------------------------------------------------------------------------------- what is followed


def test_tracks_hold_the_detections_in_the_order_of_frames():
    scene = Scene(40, seed=0)
    scene.add_hand(0, False, still(PLACES[0], 40), 90)
    scene.add_hand(1, True, still(PLACES[1], 20), 90, frames=np.arange(20, 40))
    first, second = followed(scene)
    assert describe([first, second]) == [(False, 0, 39, 40), (True, 20, 39, 20)]
    assert (first.track, second.track) == (0, 1)
    hands = [hands[0] for hands in scene.detections]
    assert np.array_equal(first.boxes_px, [hand.box_px for hand in hands])
    np.testing.assert_allclose(first.detection, [hand.score for hand in hands], rtol=1e-6)
    assert first.is_observed.all() and first.frames.dtype == np.int64


@pytest.mark.parametrize("num_frames", [0, 1, 5])
def test_a_video_without_hands_has_no_tracks(num_frames):
    assert followed(Scene(num_frames, seed=0)) == []


def test_a_single_image_has_the_hands_that_are_sure_of_their_side():
    scene = Scene(1, seed=0)
    scene.add(0, 0, detection(PLACES[0], 90, "right", 0.9))
    scene.add(0, 1, detection(PLACES[1], 90, "left", 0.95))
    scene.add(0, -1, detection(PLACES[2], 90, "left", 0.6))
    assert describe(followed(scene)) == [(True, 0, 0, 1), (False, 0, 0, 1)]


def test_up_to_four_hands_of_two_people():
    scene = Scene(60, seed=1, flips=0.1, lost=0.1)
    for number, place in enumerate(PLACES):
        scene.add_hand(number, number % 2 == 1, still(place, 60), 110)
    tracks = followed(scene)
    assert sorted(t.is_left for t in tracks) == [False, False, True, True]
    assert [len(owners(scene, track)) for track in tracks] == [1] * 4


# -------------------------------------------------------------------------------- sides by a vote


def test_a_side_is_voted_for_and_sure_frames_count_more():
    scene = Scene(30, seed=0)
    for k in range(30):
        said, score = ("left", 0.99) if k % 5 < 2 else ("right", 0.55)
        scene.add(k, 0, detection(PLACES[0], 90, said, score, hand_shape(True)))
    assert describe(followed(scene)) == [(True, 0, 29, 30)]  # 12 sure frames against 18


def test_a_hand_found_twice_with_both_sides_is_one_hand():
    scene = Scene(40, seed=2, twice=1.0)
    scene.add_hand(0, True, still(PLACES[0], 40), 90)
    assert describe(followed(scene)) == [(True, 0, 39, 40)]


def test_hands_that_nearly_touch_are_two():
    scene = Scene(40, seed=2)
    scene.add_hand(0, True, still([300, 200], 40), 90)
    scene.add_hand(1, False, still([340, 200], 40), 90)
    assert sorted(describe(followed(scene))) == [(False, 0, 39, 40), (True, 0, 39, 40)]


# --------------------------------------------------------------------------------------- phantoms


@pytest.mark.parametrize("seed", range(10))
def test_what_changes_side_and_size_or_shows_shortly_is_no_hand(seed):
    scene = Scene(120, seed=seed)
    scene.add_hand(0, False, still(PLACES[0], 120), 90)
    scene.add_phantom(np.arange(40, 60), PLACES[1], 90)  # on a face
    scene.add_phantom(np.arange(0, 120, 4), PLACES[2], 60)  # flickers on a table
    for k in range(70, 76):  # steady, but for a fifth of a second
        scene.add(k, -1, detection(PLACES[3], 80, "left", 0.95))
    (track,) = followed(scene)
    assert owners(scene, track) == {0: 120}


def test_a_steady_hand_whose_side_is_never_sure_is_none():
    scene = Scene(40, seed=0)
    for k in range(40):
        scene.add(k, -1, detection(PLACES[0], 80, SIDES[k % 2], 0.9))
    assert followed(scene) == []
    assert len(followed(scene, min_confidence=0)) == 1


def test_hands_mostly_outside_the_image_or_too_small_are_left_out():
    at_border, outside, tiny = Scene(20, 0), Scene(20, 0), Scene(20, 0)
    at_border.add_hand(0, False, still([5, 240], 20), 90)  # half of it
    outside.add_hand(0, False, still([-30, 240], 20), 90)
    tiny.add_hand(0, False, still(PLACES[0], 20), 6)
    assert [len(followed(scene)) for scene in (at_border, outside, tiny)] == [1, 0, 0]
    tiny.add_hand(0, False, still(PLACES[1], 20), 12)
    assert len(followed(tiny)) == 1


# --------------------------------------------------------------------------- gaps and other losses


def test_short_gaps_are_filled_and_long_ones_stay():
    hidden = np.zeros(100, bool)
    hidden[20:35] = hidden[60:76] = True
    way = np.linspace([100, 100], [300, 200], 100)
    scene = Scene(100, seed=0)
    scene.add_hand(0, False, way, 90, hidden)
    (track,) = followed(scene, fill_frames=15)
    assert np.array_equal(track.frames, np.r_[0:60, 76:100])
    assert np.array_equal(track.frames[~track.is_observed], np.arange(20, 35))
    before, after = track.boxes_px[19], track.boxes_px[35]
    np.testing.assert_allclose(track.boxes_px[19:36], np.linspace(before, after, 17))
    assert np.isnan(track.detection[20:35]).all() and np.isfinite(track.detection[35:]).all()
    (track,) = followed(scene, fill_frames=0)
    assert track.is_observed.all() and len(track.frames) == 69


def test_a_gap_is_filled_from_its_two_neighbours():
    track = Track(
        7, True, np.array([3, 7]), np.array([[0.0, 0, 10, 10], [4, 8, 14, 22]]),
        np.ones(2, bool), np.array([0.9, 0.8], np.float32),
    )  # fmt: skip
    (filled,) = fill_gaps([track], 3)
    assert filled.frames.tolist() == [3, 4, 5, 6, 7] and filled.track == 7 and filled.is_left
    assert filled.boxes_px[1:4].tolist() == [[1, 2, 11, 13], [2, 4, 12, 16], [3, 6, 13, 19]]
    assert filled.is_observed.tolist() == [True, False, False, False, True]
    (kept,) = fill_gaps([track], 2)
    assert kept.frames.tolist() == [3, 7] and np.array_equal(kept.boxes_px, track.boxes_px)


def test_a_hand_that_comes_back_soon_and_near_by_keeps_its_track():
    def num_tracks(num_hidden: int, jump_px: float, is_left: bool = False) -> int:
        scene = Scene(80 + num_hidden, seed=0)
        scene.add_hand(0, False, still([100, 240], 40), 90)
        later = np.arange(40, 80) + num_hidden
        scene.add_hand(0, is_left, still([100 + jump_px, 240], 40), 90, frames=later)
        return len(followed(scene))

    assert num_tracks(30, 60) == 1
    assert num_tracks(70, 0) == 2  # too late
    assert num_tracks(12, 400) == 2  # too far
    assert num_tracks(12, 0, is_left=True) == 2  # the other hand


def test_a_few_frames_of_the_wrong_side_after_a_loss_do_not_split_a_track():
    scene = Scene(100, seed=0)
    way = still(PLACES[0], 100)
    scene.add_hand(0, False, way[:40], 90)
    for k in range(50, 60):
        scene.add(k, 0, detection(PLACES[0], 90, "left", 0.8, hand_shape(False)))
    scene.add_hand(0, False, way[:30], 90, frames=np.arange(70, 100))
    assert describe(followed(scene)) == [(False, 0, 99, 80)]


def test_times_count_not_frames():
    """At 60 frames per second a hand is seen twice as often in as long a time."""
    scene = Scene(40, seed=0)
    scene.add_hand(0, False, still(PLACES[0], 12), 90)
    at_60 = follow(scene.detections, IMAGE_WH, np.arange(40) / 60)
    assert at_60 == [] and len(followed(scene)) == 1


def test_a_video_whose_frames_have_one_time_or_uneven_times_is_followed():
    scene = Scene(40, seed=0)
    scene.add_hand(0, False, still(PLACES[0], 40), 90)
    for times_s in (np.zeros(40), np.cumsum(np.tile([0.01, 0.09], 20))):
        assert describe(follow(scene.detections, IMAGE_WH, times_s)) == [(False, 0, 39, 40)]


# ----------------------------------------------------------------------------------------- crossing


def crossing_hands(seed: int, sides: tuple[bool, bool], is_hidden: bool, **faults) -> Scene:
    rng = np.random.default_rng(seed)
    scene = Scene(int(rng.integers(40, 120)), seed, **faults)
    size, (y0, y1) = rng.uniform(60, 150), rng.uniform(150, 330, 2)
    ways = [
        crossing(start, end, scene.num_frames, rng)
        for start, end in (((130, y0), (510, y1)), ((510, y1), (130, y0)))
    ]
    near = np.linalg.norm(ways[0] - ways[1], axis=1) < 0.7 * size
    scene.add_hand(0, sides[0], ways[0], size)
    scene.add_hand(1, sides[1], ways[1], size, near if is_hidden else None)
    return scene


@pytest.mark.parametrize(
    ("sides", "faults"),
    [
        ((False, True), {}),
        ((True, True), {}),
        ((False, True), {"flips": 0.15, "lost": 0.2, "twice": 0.1}),
        ((False, False), {"flips": 0.1, "lost": 0.1}),
    ],
)
@pytest.mark.parametrize("is_hidden", [False, True], ids=["both seen", "one hidden"])
@pytest.mark.parametrize("seed", range(5))
def test_hands_that_cross_keep_their_tracks_and_sides(seed, is_hidden, sides, faults):
    scene = crossing_hands(seed, sides, is_hidden, **faults)
    tracks = followed(scene)
    found = [owners(scene, track) for track in tracks]
    assert len(tracks) == 2
    for track, own in zip(tracks, found, strict=True):
        (number, count), *others = own.most_common()
        assert track.is_left == sides[number]
        assert sum(n for _, n in others) <= 1  # where both are at one place
        assert count > 0.5 * scene.num_frames
    assert {own.most_common()[0][0] for own in found} == {0, 1}


def test_options_are_checked():
    with pytest.raises(ValueError, match="fill_frames is -1, must be 0 or more"):
        TrackOptions(fill_frames=-1)


# ------------------------------------------------------------------------------------ a real video


@pytest.mark.slow
def test_two_hands_of_a_real_video_are_two_tracks_of_constant_sides():
    """The right hand takes a kettle and leaves by the upper border after 2.5 s."""
    pytest.importorskip("mediapipe")
    if not Path(CLIP).is_file():
        pytest.skip(f"the clip is not at {CLIP}")
    frames = list(Video(CLIP))
    found: list[list[Detection]] = detect_video(frames)
    times_s = np.array([frame.time_s for frame in frames])
    right, left = follow(found, frames[0].image_rgb.shape[1::-1], times_s)
    assert (right.is_left, left.is_left) == (False, True)
    assert right.frames[0] == 0 and 72 <= right.frames[-1] <= 76
    assert np.array_equal(left.frames, np.arange(len(frames)))
    assert left.is_observed.all() and right.is_observed.mean() > 0.95
    assert (right.boxes_px[:, 0] < 500).all() and (left.boxes_px[:, 0] > 850).all()

import numpy as np
import pytest

from deformer.data.windows import WindowConfig, clip_windows


def _by_hand(valid: np.ndarray, frame: np.ndarray, config: WindowConfig) -> list[list[int]]:
    """The rule as METHOD states it, one frame at a time."""
    position_of = {int(f): k for k, f in enumerate(frame) if valid[k]}
    windows = []
    for centre in np.flatnonzero(valid):
        sides = []
        for sign, steps in ((-1, config.centre), (1, config.num_frames - 1 - config.centre)):
            last, walked, has_ended = int(centre), [], False
            for k in range(1, steps + 1):
                hit = position_of.get(int(frame[centre]) + sign * k * config.gap)
                has_ended |= hit is None and config.edge == "hold"
                if hit is not None and not has_ended:
                    last = hit
                walked.append(last)
            sides.append(walked)
        windows.append([*reversed(sides[0]), int(centre), *sides[1]])
    return windows


def test_a_whole_clip_of_72_frames_fills_only_12_windows():
    windows = clip_windows(np.ones(72, bool), WindowConfig(num_frames=7, gap=10))
    assert windows.shape == (72, 7)
    distinct = np.array([len(set(row)) for row in windows.tolist()])
    assert (distinct == 7).sum() == 12
    assert round(distinct.mean(), 2) == 5.33


def test_hold_stops_at_the_first_missing_frame_and_skip_goes_on():
    valid = np.ones(9, bool)
    valid[[2, 7]] = False
    hold = clip_windows(valid, WindowConfig(num_frames=7, gap=2, edge="hold"))
    skip = clip_windows(valid, WindowConfig(num_frames=7, gap=2, edge="skip"))
    row = np.flatnonzero(hold[:, 3] == 4)[0]
    assert hold[row].tolist() == [4, 4, 4, 4, 6, 8, 8]
    assert skip[row].tolist() == [0, 0, 4, 4, 6, 8, 8]
    row = np.flatnonzero(hold[:, 3] == 5)[0]
    assert hold[row].tolist() == [1, 1, 3, 5, 5, 5, 5]


@pytest.mark.parametrize("edge", ["hold", "skip"])
@pytest.mark.parametrize("num_frames", [1, 2, 4, 7])
def test_agrees_with_the_rule_walked_by_hand(edge, num_frames):
    rng = np.random.default_rng(num_frames)
    for _ in range(30):
        frame = np.sort(rng.choice(60, 40, replace=False))  # some frames are not in the clip
        valid = rng.random(40) < 0.8
        config = WindowConfig(num_frames, gap=int(rng.integers(1, 12)), edge=edge)
        windows = clip_windows(valid, config, frame)
        assert windows.tolist() == _by_hand(valid, frame, config)
        assert valid[windows].all()


def test_centres_are_the_valid_frames_that_may_be_centres():
    valid, is_centre = np.ones(6, bool), np.array([0, 0, 1, 1, 0, 0], bool)
    valid[3] = False
    windows = clip_windows(valid, WindowConfig(3, 1), is_centre=is_centre)
    assert windows.tolist() == [[1, 2, 2]]


def test_the_even_window_has_one_more_frame_before_its_centre():
    windows = clip_windows(np.ones(3, bool), WindowConfig(2, 1))
    assert windows.tolist() == [[0, 0], [0, 1], [1, 2]]


def test_frame_numbers_must_rise():
    with pytest.raises(ValueError, match="must increase"):
        clip_windows(np.ones(3, bool), WindowConfig(), np.array([0, 2, 2]))


def test_a_clip_without_a_valid_frame_has_no_windows():
    for size in (0, 5):
        assert clip_windows(np.zeros(size, bool), WindowConfig()).shape == (0, 7)

"""Detections of single frames → tracks: one hand of one person, for as long as it is followed.

    tracks = follow(detections, image_wh, times_s, TrackOptions(fill_frames=30))

Three steps. Detections in neighbouring frames whose landmarks are near each other make pieces.
Pieces that are no hands are dropped: a phantom on a face or a table is short, flickers, changes its
side, or jumps in size. (What is steady and looks like a hand, such as a poster of one, stays.)
Pieces of the same side and near in place and time make tracks.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from deformer.hand.box import tight_box
from deformer.program.least import check_least
from deformer.video.detect import Detection, landmark_distance

_HOLD_S = 0.25
"""A piece goes on after a gap of this length; or of one frame, if frames are farther apart."""
_STEP, _SIZES_PER_S = 0.5, 3.0
"""A hand is looked for within 0.5 of its size of where it is expected, and farther with time; a
hand at 1 m/s moves 5 sizes per second, and its speed is known while it is seen."""
_FARTHEST = 3.0
_SIDE_COST = 0.3
"""What it costs, in sizes of the hand, to take a detection of the other side."""
_DOUBT = 8
"""As many sure frames may be outvoted at most where pieces of different sides are joined."""
_RECENT = 100
"""Frames beside a gap that say which side was there."""
_LEAST_SEEN, _MOST_JUMPS, _JUMP = 0.4, 0.2, 1.35
"""A hand is seen in this share of a piece's frames, and its size changes by more than a factor of
1.35 in at most a fifth of its steps."""
_LEAST_INSIDE, _SMALLEST_PX = 1 / 3, 8.0
"""Less of a hand shows nothing: share of landmarks in the image, and longer side of its box."""


@dataclass(frozen=True)
class TrackOptions:
    """What counts as one hand."""

    fill_frames: int = 30
    """Gaps of up to so many frames get interpolated boxes; longer ones stay gaps."""
    remember_s: float = 2.0
    """A hand that comes back within this time, near by, goes on in its track."""
    min_length_s: float = 0.3
    """A hand is seen for at least so long without a break (or in the whole video, if shorter)."""
    min_confidence: float = 0.3
    """Least sureness of a hand's side, in [0, 1]: 0 if its frames say both sides equally."""

    def __post_init__(self) -> None:
        check_least(self, fill_frames=0, remember_s=0, min_length_s=0, min_confidence=0)


@dataclass(frozen=True, eq=False)
class Track:
    """One hand in N frames."""

    track: int
    """Its number, from 0."""
    is_left: bool
    frames: np.ndarray
    """(N,) int64, rising."""
    boxes_px: np.ndarray
    """(N, 4) float64: tight boxes, x0 y0 x1 y1; may exceed the image."""
    is_observed: np.ndarray
    """(N,) bool: false where the box is interpolated."""
    detection: np.ndarray
    """(N,) float32: the detector's confidence; NaN where there is none."""
    landmarks_px: np.ndarray | None = None
    """(N, 21, 2) float64: the detector's 2D joints; NaN where the box is interpolated. None: boxes
    that no detector gave."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """A hand in one frame; `vote` is from −1 (surely right) to 1 (surely left)."""

    frame: int
    time_s: float
    hand: Detection
    vote: float

    @property
    def centre(self) -> np.ndarray:
        return self.hand.box_px.reshape(2, 2).mean(0)

    @property
    def size(self) -> float:
        return self.hand.size_px


_Piece = list[_Seen]
"""In the order of frames."""


def follow(
    detections: list[list[Detection]], image_wh: tuple[int, int], times_s: np.ndarray,
    options: TrackOptions = TrackOptions(),
) -> list[Track]:  # fmt: skip
    """The hands of a video, in the order of their first frames.

    detections: of every frame. times_s (number of frames,): rising.
    """
    frame_s = max(float(np.median(np.diff(times_s))), 1e-3) if len(times_s) > 1 else 1.0
    num_least = int(np.clip(round(options.min_length_s / frame_s), 1, max(len(times_s), 1)))
    seen = [
        _distinct([_Seen(k, float(times_s[k]), hand, _vote(hand)) for hand in hands], image_wh)
        for k, hands in enumerate(detections)
    ]
    pieces = _pieces(seen, max(_HOLD_S, 1.5 * frame_s))
    hands = [piece for piece in pieces if _is_hand(piece, num_least, options.min_confidence)]
    joined = _join(hands, options.remember_s)
    return fill_gaps([_track(k, piece) for k, piece in enumerate(joined)], options.fill_frames)


def _vote(hand: Detection) -> float:
    """A score of 0.5 says nothing about the side."""
    return (1 if hand.side == "left" else -1) * (2 * hand.score - 1)


def _distinct(seen: list[_Seen], image_wh: tuple[int, int]) -> list[_Seen]:
    """Every hand of a frame once: the surest of detections that are the same hand."""
    distinct: list[_Seen] = []
    for one in sorted(seen, key=lambda one: -one.hand.score):
        points = one.hand.landmarks_px
        inside = ((points >= 0) & (points <= np.array(image_wh) - 1)).all(1).mean()
        is_new = not any(one.hand.is_same(other.hand) for other in distinct)
        if is_new and inside >= _LEAST_INSIDE and one.size >= _SMALLEST_PX:
            distinct.append(one)
    return distinct


def _mean_vote(piece: _Piece) -> float:
    return sum(one.vote for one in piece) / len(piece)


def _pieces(seen: list[list[_Seen]], hold_s: float) -> list[_Piece]:
    """Pieces without longer gaps than `hold_s`, by the cheapest assignment in each frame."""
    done: list[_Piece] = []
    alive: list[_Piece] = []
    for hands in filter(None, seen):
        now = hands[0].time_s
        done += [piece for piece in alive if now - piece[-1].time_s > hold_s]
        alive = [piece for piece in alive if now - piece[-1].time_s <= hold_s]
        cost = np.array([[_step_cost(piece, one) for one in hands] for piece in alive])
        cost = cost.reshape(len(alive), len(hands))
        taken = set()
        for i, j in zip(*linear_sum_assignment(np.minimum(cost, 1e3)), strict=True):
            if np.isfinite(cost[i, j]):
                alive[i].append(hands[j])
                taken.add(j)
        alive += [[one] for j, one in enumerate(hands) if j not in taken]
    return sorted(done + alive, key=lambda piece: piece[0].frame)


def _step_cost(piece: _Piece, one: _Seen) -> float:
    """Distance of landmarks from where they are expected, in sizes of the hand, and a share for
    another side; infinite beyond reach."""
    last = piece[-1]
    gap_s = one.time_s - last.time_s
    distance = landmark_distance(
        last.hand.landmarks_px + _velocity(piece) * gap_s, one.hand.landmarks_px
    )
    if distance > _reach(gap_s):
        return np.inf
    return distance + _SIDE_COST * abs(_mean_vote(piece[-_DOUBT:]) - one.vote) / 2


def _reach(gap_s: float) -> float:
    return min(_STEP + _SIZES_PER_S * gap_s, _FARTHEST)


def _velocity(piece: _Piece) -> np.ndarray:
    """(2,) px/s: the mean over the last steps."""
    first, last = piece[-min(len(piece), 4)], piece[-1]
    return (last.centre - first.centre) / max(last.time_s - first.time_s, 1e-6)


def _is_hand(piece: _Piece, num_least: int, min_confidence: float) -> bool:
    size = np.array([one.size for one in piece])
    jumps = np.abs(np.log(size[1:] / size[:-1])) > np.log(_JUMP)
    return (
        len(piece) >= num_least
        and len(piece) >= _LEAST_SEEN * (piece[-1].frame - piece[0].frame + 1)
        and abs(_mean_vote(piece)) >= min_confidence
        and jumps.sum() <= _MOST_JUMPS * len(piece)
    )


def _join(pieces: list[_Piece], remember_s: float) -> list[_Piece]:
    """Each piece, in the order of time, goes on the nearest one that ended before, if any."""
    tracks: list[_Piece] = []
    for piece in pieces:
        ended = [
            (_join_cost(track, piece), k)
            for k, track in enumerate(tracks)
            if track[-1].frame < piece[0].frame and piece[0].time_s - track[-1].time_s <= remember_s
        ]
        cost, k = min(ended, default=(np.inf, 0))
        if cost <= 1:
            tracks[k] += piece
        else:
            tracks.append(list(piece))
    return tracks


def _join_cost(track: _Piece, piece: _Piece) -> float:
    """At most 1 where two pieces can be the same hand: distance as a share of the reach, and the
    frames that would be outvoted about the side as a share of what may be."""
    last, first = track[-1], piece[0]
    distance = np.linalg.norm(first.centre - last.centre) / max(first.size, last.size)
    votes = [sum(one.vote for one in part) for part in (track[-_RECENT:], piece[:_RECENT])]
    outvoted = min(map(abs, votes)) if votes[0] * votes[1] < 0 else 0.0
    return distance / _reach(first.time_s - last.time_s) + outvoted / _DOUBT


def _track(number: int, piece: _Piece) -> Track:
    landmarks = np.stack([one.hand.landmarks_px for one in piece])
    return Track(
        number,
        _mean_vote(piece) > 0,
        np.array([one.frame for one in piece]),
        tight_box(landmarks),
        np.ones(len(piece), bool),
        np.array([one.hand.score for one in piece], np.float32),
        landmarks,
    )


def fill_gaps(tracks: list[Track], fill_frames: int) -> list[Track]:
    """Interpolate boxes in gaps of up to `fill_frames` frames; they are not observed."""
    filled = []
    for track in tracks:
        every = np.arange(track.frames[0], track.frames[-1] + 1)
        after = np.searchsorted(track.frames, every)
        is_seen = track.frames[after] == every
        gap = track.frames[after] - track.frames[after - 1] - 1  # not of the first, which is seen
        chosen = is_seen | (gap <= fill_frames)
        detection = np.full(len(every), np.nan, np.float32)
        detection[is_seen] = track.detection
        landmarks = None
        if track.landmarks_px is not None:
            landmarks = np.full((len(every), 21, 2), np.nan)
            landmarks[is_seen] = track.landmarks_px
            landmarks = landmarks[chosen]
        boxes = [np.interp(every, track.frames, side) for side in track.boxes_px.T]
        filled.append(
            replace(
                track,
                frames=every[chosen],
                boxes_px=np.stack(boxes, 1)[chosen],
                is_observed=is_seen[chosen],
                detection=detection[chosen],
                landmarks_px=landmarks,
            )
        )
    return filled

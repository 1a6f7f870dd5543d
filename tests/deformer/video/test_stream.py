"""Frame by frame gives what whole videos give."""

import weakref

import numpy as np
import pytest
import torch

from deformer import inference
from deformer.data.windows import WindowConfig, clip_windows
from deformer.hand.mano import HandLayer, load_hands
from deformer.hand.rotations import rot6d_to_rotmat
from deformer.network.model import Deformer
from deformer.network.output import FrameFeatures
from deformer.video.stream import (
    DeformerStream,
    StreamHands,
    WindowStream,
    place_in_window,
    window_at,
)
from tests.deformer.video.networks import K, random_features, random_model

N = 23
SEEN = np.ones(N, bool)
SEEN[[3, 9, 10, 11, 17]] = False
COMPARED = ("joints_px", "joints_m", "wrist_cam_m", "pose_rotvec", "betas", "weights")


def boxes() -> np.ndarray:
    corner = np.random.default_rng(0).uniform(0, 20, (N, 2))
    return np.concatenate([corner, corner + 30], 1)


def streamed(model: Deformer, window: WindowConfig, seen=SEEN, is_left=False, delay=None):
    """All hands, and after which pushed frame each was ready (N: at the end)."""
    stream, features = DeformerStream(model, is_left, K, window, delay), random_features(N)
    parts, when = [], []
    for k in range(N):
        one = FrameFeatures(*(value[k : k + 1] for value in features))
        hand = stream.push(one, boxes()[k]) if seen[k] else stream.push(None, None)
        if hand is not None:
            parts.append(hand)
            when.append(k)
    rest = stream.finish()
    if rest is not None:
        parts.append(rest)
        when += [N] * len(rest.frame)
    return StreamHands(*map(np.concatenate, zip(*parts, strict=True))), when


def decoded(model: Deformer, windows: np.ndarray, place: int, is_left=False):
    frames = inference.Frames(
        random_features(N), np.full(N, is_left), boxes(), np.broadcast_to(K, (N, 3, 3))
    )
    return inference.decode(model, frames, windows, place)


def assert_same(hands: StreamHands, expected: inference.Predicted) -> None:
    assert hands.frame.tolist() == expected.place.tolist()
    for name in COMPARED:
        values = getattr(hands, name), getattr(expected, name)
        np.testing.assert_allclose(*values, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("edge", ["hold", "skip"])
@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (7, 1), (1, 10)])
def test_a_stream_gives_the_hands_of_centred_windows(shape, is_left, edge):
    model, window = random_model("pairwise", "step"), WindowConfig(*shape, edge)
    hands, when = streamed(model, window, is_left=is_left)
    expected = decoded(model, clip_windows(SEEN, window), window.centre, is_left)
    assert_same(hands, expected)
    wait = (window.num_frames - 1 - window.centre) * window.gap
    assert when == [min(k + wait, N) for k in np.flatnonzero(SEEN)]


@pytest.mark.parametrize(("delay", "place"), [(0, 4), (1, 4), (2, 3), (3, 3), (4, 2), (99, 2)])
def test_with_less_delay_the_window_slides_back(delay, place):
    model, window = random_model(), WindowConfig(5, 2)
    assert place_in_window(window, delay) == place
    hands, when = streamed(model, window, np.ones(N, bool), delay=delay)
    steps = (np.arange(5) - place) * 2
    whole = [k for k in range(N) if k >= -steps[0] and k < N - steps[-1]]
    expected = decoded(model, np.array(whole)[:, None] + steps, place)
    assert_same(hands.at(np.isin(hands.frame, whole)), expected)
    assert hands.frame.tolist() == list(range(N))
    assert when == [min(k + steps[-1], N) for k in range(N)]


def test_motion_is_a_step_of_the_window_and_none_at_its_end():
    model = random_model()
    centred, _ = streamed(model, WindowConfig(3, 1))
    assert np.abs(centred.ahead).max(axis=(1, 2)).min() > 1e-3
    causal, _ = streamed(model, WindowConfig(3, 1), delay=0)
    assert not causal.ahead.any()
    assert causal.back.any()
    single, _ = streamed(model, WindowConfig(1, 1))
    assert not single.ahead.any() and not single.back.any()


def test_spread_is_the_distance_of_the_windows_poses_from_the_fused_one():
    model, window = random_model("average"), WindowConfig(3, 1)
    hands, _ = streamed(model, window, np.ones(N, bool))
    features = FrameFeatures(*(value[4:7][None] for value in random_features(N)))
    output = model.decode_windows(features, torch.tensor([False]))
    poses = rot6d_to_rotmat(output.deformed[0, :, 1])
    betas = output.fused.betas[0, 1].expand(3, -1)
    with torch.no_grad():
        _, joints = model.hand_layer(poses, betas, torch.zeros(3, dtype=torch.bool), "dexycb")
    joints = joints - joints[:, :1]
    off = (joints - output.fused.joints_m[0, 1]).detach().numpy()
    expected = 1000 * np.sqrt((off**2).sum(-1).mean())
    assert expected > 1
    assert hands.spread_mm[5] == pytest.approx(expected, rel=1e-4)
    alone, _ = streamed(random_model("center"), window)
    assert np.abs(alone.spread_mm).max() < 1e-3


def test_only_the_frames_of_a_window_are_kept():
    stream, alive = WindowStream(False, K, WindowConfig(3, 5)), []
    for k in range(100):
        features = random_features(1, k)
        alive.append(weakref.ref(features.hand))
        stream.push(features, np.zeros(4))
        del features
        assert sum(ref() is not None for ref in alive) <= 11


def test_windows_span_the_same_time_at_every_frame_rate():
    gaps = {fps: window_at(WindowConfig(7, 10), fps).gap for fps in (24, 29.97, 30, 60, 1)}
    assert gaps == {24: 8, 29.97: 10, 30: 10, 60: 20, 1: 1}


def test_a_negative_delay_is_refused():
    with pytest.raises(ValueError, match="the delay is -1 frames, must be 0 or more"):
        WindowStream(False, K, WindowConfig(), -1)


def test_a_stream_needs_no_meshes():
    model = random_model()
    whole, _ = streamed(model, WindowConfig(3, 1))
    model.hand_layer = HandLayer(load_hands("standin"), vertex_stride=10_000)
    small, _ = streamed(model, WindowConfig(3, 1))
    for name in (*COMPARED, "spread_mm"):
        np.testing.assert_allclose(getattr(small, name), getattr(whole, name), atol=1e-5)

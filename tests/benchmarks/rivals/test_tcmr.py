"""TCMR's recurrent networks see the right frames, and learn from the right ones."""

import pytest
import torch

from benchmarks.rivals.tcmr import Tcmr, TcmrOutput
from deformer.network.losses import Targets, mse
from deformer.network.posed_hands import HandMotion
from tests.deformer.small_runs import VERY_SMALL


@pytest.fixture(scope="module")
def model(layer):
    torch.manual_seed(0)
    return Tcmr(VERY_SMALL.model, layer).eval()


def test_past_and_future_do_not_see_the_frame_itself(model):
    features = torch.randn(1, 7, VERY_SMALL.model.width)
    other = features.clone()
    other[:, 3] += 1
    with torch.no_grad():
        pairs = zip(model.integrate(features), model.integrate(other), strict=True)
        integrated, past, future = (
            (one - two).abs().amax((0, 2)) > 1e-6 for one, two in pairs
        )  # by frame: whether it has changed
    assert past.tolist() == [False] * 4 + [True] * 3
    assert future.tolist() == [True] * 3 + [False] * 4
    assert integrated.all()


def test_forecasts_learn_from_the_frames_that_they_are_of(model):
    B, T = 2, 4
    shapes = ((16, 3, 3), (10,), (5, 3), (21, 3))
    truth = HandMotion(*(torch.randn(B, T, *shape) for shape in shapes))
    forecasts = HandMotion(*(torch.cat([value[:, 1:], value[:, :-1]], 1) for value in truth))
    joints_2d = torch.rand(B, T, 21, 2)
    is_seen = torch.ones(B, T, 21, dtype=torch.bool)
    targets = Targets(truth, joints_2d, is_seen, None, None, None)
    output = TcmrOutput(truth, forecasts, truth, joints_2d)
    assert all(value == 0 for value in model.losses(output, targets, mse).values())
    swapped = HandMotion(*(value.roll(1, 1) for value in forecasts))
    wrong = model.losses(output._replace(forecasts=swapped), targets, mse)
    assert {name for name, value in wrong.items() if value > 0} == {
        "vertices", "joints", "pose", "shape"
    }  # fmt: skip

import pytest
import torch

from benchmarks.rivals import RIVALS
from deformer.network.losses import max_mse
from deformer.network.output import FrameFeatures
from deformer.training.features import spatial_half
from tests.deformer.small_runs import VERY_SMALL, make_learner, make_stream

CONFIG = VERY_SMALL.model
RIGHT = torch.tensor([False, False])


@pytest.fixture(params=[name for name in RIVALS if name.endswith("_temporal")])
def name(request):
    return request.param


@pytest.fixture
def network(name, layer):
    torch.manual_seed(0)
    network = RIVALS[name].network(CONFIG, layer)
    torch.nn.init.normal_(network.temporal.pose_head[-1].weight)  # it starts at an open hand
    return network.eval()


def _features(num_frames: int) -> FrameFeatures:
    return FrameFeatures(torch.randn(2, num_frames, CONFIG.width), torch.rand(2, num_frames, 21, 2))


def test_frames_see_each_other_in_the_window_alone(network):
    frames = _features(num_frames=3)
    other = frames._replace(hand=frames.hand.clone())
    other.hand[:, 2] *= -1
    with torch.no_grad():
        one, two = (network.decode_windows(f, RIGHT) for f in (frames, other))
    assert (one.hands.rotmats - two.hands.rotmats)[:, 0].abs().max() > 1e-3
    torch.testing.assert_close(one.frames.hands.joints_m[:, :2], two.frames.hands.joints_m[:, :2])
    assert (one.hands.betas == one.hands.betas[:, :1]).all()  # one shape


def test_it_reads_features_of_the_trained_single_frame_rival(name, network, layer):
    rival = RIVALS[name.removesuffix("_temporal")].network(CONFIG, layer)
    spatial = spatial_half(type(network), rival.state_dict())
    assert network.spatial_parts == rival.spatial_parts and len(spatial) == len(rival.state_dict())
    missing, unexpected = network.load_state_dict(spatial, strict=False)
    assert not unexpected and all(key.startswith("temporal.") for key in missing)
    frames = rival.encode_maps(torch.randn(2, CONFIG.width, CONFIG.roi_size, CONFIG.roi_size))
    assert frames.hand.shape == (2, CONFIG.width)
    frames = FrameFeatures(*(value[:, None] for value in frames))
    alone, within = (model.decode_windows(frames, RIGHT) for model in (rival, network))
    torch.testing.assert_close(within.frames.hands.joints_m, alone.hands.joints_m)


def test_both_halves_are_supervised(name, hands, data):
    experiment = RIVALS[name].applied_to(VERY_SMALL)
    stream = make_stream(data, experiment)
    learner = make_learner(hands, stream, experiment)
    output, targets = learner.predict(next(iter(stream.batches(0, 1))))
    terms = learner.losses(output, targets)
    hand = targets.hand
    expected = max_mse(output.frames.hands.joints_m, hand.joints_m).mean()
    torch.testing.assert_close(terms["monocular_joints"], expected)
    expected = max_mse(output.hands.joints_m, hand.joints_m).mean()
    torch.testing.assert_close(terms["joints"], expected)

"""What holds for every rival. What is particular to one is tested in a file of its name."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.rivals import NETWORKS, RIVALS
from deformer.data.batch import to_input
from deformer.experiments import get_experiment
from deformer.network.output import FrameFeatures, Maps
from tests.deformer.small_runs import changed, make_learner, make_stream

SMALL = changed(
    "model", changed("stream", limit=None), width=32, regressor=(64, 32), ffn=32
)  # wide enough to learn one batch by heart
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
_EACH = [name for name, rival in RIVALS.items() if rival.backbone is None]
"""Those with a backbone of their own share the network of another."""


@pytest.fixture(scope="module", params=_EACH)
def rival(request):
    return RIVALS[request.param]


@pytest.fixture(scope="module")
def dataset(rival, request):
    return request.getfixturevalue("data_with_depth" if rival.input == "depth" else "data")


@pytest.fixture(scope="module")
def experiment(rival):
    experiment = rival.applied_to(SMALL)
    optim = replace(experiment.optim, lr=2e-3, lr_discriminator=1e-4, warmup_steps=5)
    return replace(experiment, optim=optim)


@pytest.fixture(scope="module")
def learner(hands, dataset, experiment):
    return make_learner(hands, make_stream(dataset, experiment), experiment)


@pytest.fixture(scope="module")
def batch(dataset, experiment):
    return next(iter(make_stream(dataset, experiment).batches(0, 1)))


def _predict(model, batch, **changed):
    inputs = {
        "images": to_input(batch), "boxes_px": batch.boxes_px, "is_left": batch.is_left,
        "K": batch.K,
    } | changed  # fmt: skip
    with torch.no_grad():
        return model.eval()(**inputs)


def test_output_has_the_documented_shapes(learner, batch):
    B, T = batch.images.shape[:2]
    output = _predict(learner.model, batch)
    hands = output.hands
    assert hands.joints_m.shape == (B, T, 21, 3) and output.joints_2d.shape == (B, T, 21, 2)
    assert hands.joints_m[:, :, 0].abs().max() < 1e-6  # from the wrist
    if hands.vertices_m is not None:
        assert hands.vertices_m.shape[:2] == (B, T) and hands.vertices_m.shape[3] == 3
    if hands.rotmats is not None:
        assert hands.rotmats.shape == (B, T, 16, 3, 3) and hands.betas.shape == (B, T, 10)


def test_a_step_reaches_every_parameter(hands, dataset, experiment, batch):
    learner = make_learner(hands, make_stream(dataset, experiment), experiment)
    before = {name: value.clone() for name, value in learner.model.named_parameters()}
    for step in range(3):  # behind outputs that start at 0, gradients are 0 in the first step
        terms = learner.step(batch, step, 1.0)
    assert all(math.isfinite(value) for value in terms.values())
    after = dict(learner.model.named_parameters())
    idle = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert not idle


@pytest.mark.slow
def test_one_batch_is_learned_by_heart(learner, batch):
    error = []
    for step in range(80):
        learner.step(batch, step, 1.0)
        if step in (0, 79):
            output, targets = _predict(learner.model, batch), learner.predict(batch)[1]
            off = output.hands.joints_m - targets.hand.joints_m
            error.append(off.norm(dim=-1).mean().item())
    assert error[1] < 0.5 * error[0]


def test_a_mirrored_image_gives_the_mirrored_hand(learner, batch):
    last = batch.images.shape[-2] - 1
    x0, y0, x1, y1 = batch.boxes_px.unbind(-1)
    flip = torch.tensor([[-1.0, 0, last], [0, 1, 0], [0, 0, 1]])
    negate = torch.diag(torch.tensor([-1.0, 1, 1]))
    one = _predict(learner.model, batch)
    other = _predict(
        learner.model, batch, images=to_input(batch).flip(-1), is_left=~batch.is_left,
        boxes_px=torch.stack([last - x1, y0, last - x0, y1], -1), K=flip @ batch.K @ negate,
    )  # fmt: skip
    mirrored = torch.cat([1 - other.joints_2d[..., :1], other.joints_2d[..., 1:]], -1)
    torch.testing.assert_close(mirrored, one.joints_2d, **TOLERANCE)
    if one.hands.rotmats is None:  # the left MANO hand is not the mirrored right one
        joints = other.hands.joints_m * torch.tensor([-1.0, 1, 1])
        torch.testing.assert_close(joints, one.hands.joints_m, **TOLERANCE)
    else:
        turned = negate @ other.hands.rotmats @ negate
        torch.testing.assert_close(turned, one.hands.rotmats, **TOLERANCE)


def test_images_maps_and_features_give_the_same(learner, batch):
    model, images = learner.model, to_input(batch)
    B, T = images.shape[:2]
    frames = images.flatten(0, 1), batch.boxes_px.flatten(0, 1), batch.is_left.repeat_interleave(T)
    whole = _predict(model, batch).hands.joints_m
    with torch.no_grad():
        maps = model.crop_maps(*frames)
        features = FrameFeatures(*(v.unflatten(0, (B, T)) for v in model.encode_frames(*frames)))
    for given in (Maps(maps.unflatten(0, (B, T))), features):
        again = _predict(model, batch, images=given).hands.joints_m
        torch.testing.assert_close(again, whole, **TOLERANCE)


def test_what_encodes_frames_is_kept_with_features(learner, batch):
    """A part that is forgotten in `spatial_parts` would be random behind kept features."""
    model, images = learner.model, to_input(batch)
    T = images.shape[1]
    with torch.no_grad():
        maps = model.crop_maps(
            images.flatten(0, 1), batch.boxes_px.flatten(0, 1), batch.is_left.repeat_interleave(T)
        )
    model.zero_grad()
    sum(value.square().sum() for value in model.encode_maps(maps)).backward()
    reached = {
        name.partition(".")[0] for name, value in model.named_parameters() if value.grad is not None
    }
    model.zero_grad()
    assert reached and reached <= set(model.spatial_parts)


def test_windows_of_a_batch_do_not_see_each_other(learner, batch):
    whole = _predict(learner.model, batch).hands.joints_m
    one = {name: getattr(batch, name)[1:2] for name in ("boxes_px", "is_left", "K")}
    alone = _predict(learner.model, batch, images=to_input(batch)[1:2], **one)
    torch.testing.assert_close(alone.hands.joints_m, whole[1:2], **TOLERANCE)


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_it_stands_in_its_page_and_says_what_differs(rival):
    page = (Path(__file__).parents[3] / "docs" / "rivals.md").read_text("utf-8")
    file = f"{rival.network.__module__.replace('.', '/')}.py"
    rows = [line for line in page.splitlines() if line.startswith(f"| `{rival.name}` |")]
    assert len(rows) == 1 and file in rows[0]
    assert all(row in rows[0] for row in rival.rows.values())
    assert 0 < len(rival.differs) <= 100


@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_it_names_its_network_and_its_rows(rival):
    assert NETWORKS[rival.name] is rival.network
    assert rival.rows.keys() <= {1, 2, 3}
    assert rival.network.__module__.startswith("benchmarks.rivals.")


@pytest.mark.parametrize("base", ["tiny", "dexycb", "ho3d_fast"])
@pytest.mark.parametrize("rival", RIVALS.values(), ids=RIVALS)
def test_its_rates_fall_as_those_of_its_base(rival, base):
    """A batch of single frames makes epochs shorter; rates must not fall sooner for it."""
    base = get_experiment(base)
    experiment, num_windows = rival.applied_to(base), 448_000

    def schedule(experiment):
        steps = num_windows // experiment.stream.order.global_batch
        total = experiment.optim.epochs * steps
        shares = (0.1, 0.3, 0.5, 0.7, 0.9)
        return total, [experiment.optim.rate(int(s * total), steps, total) for s in shares]

    (total, rates), (expected_total, expected) = schedule(experiment), schedule(base)
    assert rates == pytest.approx(expected)
    assert total == pytest.approx(expected_total, rel=0.02)

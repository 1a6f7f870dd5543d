from dataclasses import replace
from typing import get_args

import pytest
import torch

from deformer.hand.conventions import NUM_JOINTS
from deformer.hand.rotations import rot6d_to_rotmat
from deformer.network.config import DeformerConfig
from deformer.network.fusion import FusionVariant
from deformer.network.losses import LossWeights, deformer_losses, make_targets, weighted_sum
from deformer.network.model import Deformer
from deformer.network.network import count_parameters
from deformer.network.output import FrameFeatures
from deformer.network.posed_hands import pose_hands
from deformer.network.transformer import soft_argmax

TINY = DeformerConfig(
    backbone="resnet18",
    norm="group",
    width=32,
    heads=4,
    layers=1,
    ffn=32,
    roi_size=8,
    regressor=(64, 32),
)
FLIP = torch.tensor([-1.0, 1, 1])


def _model(layer, **changes) -> Deformer:
    torch.manual_seed(0)
    model = Deformer(replace(TINY, **changes), layer)
    with torch.no_grad():  # away from the start, where rotations are almost the identity
        for head in (model.regressor, model.monocular_head, model.shape_head, model.heatmap_head):
            head[-1].weight.normal_(0, 0.1)
    return model


def _inputs(B: int, T: int, size: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(B * 10 + T)
    corner = 4 + 16 * torch.rand(B, T, 2, generator=generator)
    side = 24 + 24 * torch.rand(B, T, 1, generator=generator)
    return {
        "images": torch.rand(B, T, 3, size, size, generator=generator),
        "boxes_px": torch.cat([corner, corner + side], -1),
        "is_left": torch.arange(B) % 2 == 1,
    }


def _targets(layer, inputs):
    B, T = inputs["images"].shape[:2]
    generator = torch.Generator().manual_seed(7)
    boxes = inputs["boxes_px"]
    places = 0.1 + 0.8 * torch.rand(B, T, NUM_JOINTS, 2, generator=generator)
    return make_targets(
        layer,
        pose_rotvec=0.3 * torch.randn(B, T, 48, generator=generator),
        betas=torch.randn(B, 10, generator=generator),
        is_left=inputs["is_left"],
        joints_px=boxes[..., None, :2] + places * (boxes[..., None, 2:] - boxes[..., None, :2]),
        boxes_px=boxes,
        joints_in_image=torch.ones(B, T, NUM_JOINTS, dtype=torch.bool),
        is_repeat=torch.zeros(B, T - 1, dtype=torch.bool),
        joints_cam_m=torch.randn(B, T, NUM_JOINTS, 3, generator=generator),
        K=torch.eye(3).expand(B, T, 3, 3),
        tips="dexycb",
    )


def _tensors(output) -> list[torch.Tensor]:
    return [t for part in output for t in (part if isinstance(part, tuple) else (part,))]


@pytest.mark.parametrize("T", [1, 7])
def test_every_output_has_its_documented_shape(layer, T):
    output = _model(layer)(**_inputs(2, T))
    for hand, frames in (
        (output.fused, T),
        (output.monocular, T),
        (output.forward, T - 1),
        (output.backward, T - 1),
    ):
        assert hand.rotmats.shape == (2, frames, 16, 3, 3)
        assert hand.betas.shape == (2, frames, 10)
        assert hand.vertices_m.shape == (2, frames, 778, 3)
        assert hand.joints_m.shape == (2, frames, 21, 3)
    assert output.joints_2d.shape == (2, T, 21, 2)
    assert output.confidence.shape == (2, T)
    assert output.weights.shape == (2, T, T)
    assert output.deformed.shape == (2, T, T, 16, 6)
    assert all(t.isfinite().all() for t in _tensors(output))
    assert (output.fused.joints_m[:, :, 0] == 0).all()
    assert ((output.joints_2d > 0) & (output.joints_2d < 1)).all()
    assert (output.fused.betas == output.fused.betas[:, :1]).all()  # one shape per window


def test_it_starts_at_the_open_hand_without_motion(layer):
    torch.manual_seed(0)
    output = Deformer(TINY, layer)(**_inputs(2, 3))
    for hand in (output.fused, output.monocular, output.forward, output.backward):
        assert (hand.rotmats - torch.eye(3)).abs().max() < 0.1
        assert hand.betas.abs().max() < 0.1
    assert (output.weights - 1 / 3).abs().max() < 0.05
    assert (output.joints_2d - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("T", [1, 3])
def test_gradients_reach_every_parameter(layer, T):
    model, inputs = _model(layer), _inputs(2, T)
    losses = deformer_losses(model(**inputs), _targets(layer, inputs))
    weighted_sum(losses, LossWeights()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # Among one frame there is nothing to choose
        chooses = T == 1 and name.startswith(("temporal_encoder", "shape_decoder"))
        if not (chooses and (".query" in name or ".key" in name or ".norm1" in name)):
            # Of a shape decoder that sees one frame, the query itself counts for its residual
            assert parameter.grad.abs().sum() > 0, name


def test_a_left_hand_is_the_mirrored_right_hand(layer):
    # HO-3D's fingertips have the same vertex numbers on both sides, DexYCB's have not
    model, inputs = _model(layer, tips="ho3d"), _inputs(2, 3)
    with torch.no_grad():  # the sides' shape outputs are their own: make them equal here
        for head in (model.shape_head[-1], model.monocular_head[-1]):
            for parameter in (head.weight, head.bias):
                parameter[-10:] = parameter[-20:-10]
    x0, y0, x1, y1 = inputs["boxes_px"].unbind(-1)
    mirrored = {
        "images": inputs["images"].flip(-1),
        "boxes_px": torch.stack([63 - x1, y0, 63 - x0, y1], -1),
    }
    right = model(inputs["images"], inputs["boxes_px"], torch.zeros(2, dtype=torch.bool))
    left = model(**mirrored, is_left=torch.ones(2, dtype=torch.bool))
    for name in ("fused", "monocular", "forward", "backward"):
        a, b = getattr(right, name), getattr(left, name)
        flipped = a.rotmats * FLIP[:, None] * FLIP
        assert torch.allclose(b.rotmats, flipped, atol=1e-4)
        assert torch.allclose(b.vertices_m, a.vertices_m * FLIP, atol=1e-4)
        assert torch.allclose(b.joints_m, a.joints_m * FLIP, atol=1e-4)
    a, b = (rot6d_to_rotmat(output.deformed) for output in (right, left))
    assert torch.allclose(b, a * FLIP[:, None] * FLIP, atol=1e-4)
    fused = torch.einsum("bij,bijkc->bjkc", left.weights, left.deformed)
    assert torch.allclose(rot6d_to_rotmat(fused), left.fused.rotmats, atol=1e-4)
    x, y = right.joints_2d.unbind(-1)
    assert torch.allclose(left.joints_2d, torch.stack([1 - x, y], -1), atol=1e-4)


def test_2d_joints_are_those_of_their_own_frame(layer):
    model, inputs = _model(layer), _inputs(2, 3)
    with torch.no_grad():
        joints_2d = model(**inputs).joints_2d
        for t in range(3):
            alone = {name: value[:, t : t + 1] for name, value in inputs.items() if value.ndim > 1}
            of_frame = model(**alone, is_left=inputs["is_left"]).joints_2d
            assert torch.allclose(joints_2d[:, t], of_frame[:, 0], atol=1e-5)


def test_repeated_frames_are_encoded_once_to_the_same_end(layer):
    model, inputs = _model(layer), _inputs(2, 4)
    is_repeat = torch.tensor([[True, True, False], [False, False, True]])
    for name in ("images", "boxes_px"):
        value = inputs[name]
        for b, t in is_repeat.nonzero().tolist():
            value[b, t + 1] = value[b, t]
    encoded = []
    encode = model.encode_frames
    model.encode_frames = lambda *args: encoded.append(args) or encode(*args)
    once, each = model(**inputs, is_repeat=is_repeat), model(**inputs)
    assert [len(images) for images, *_ in encoded] == [5, 8]
    for one, other in zip(_tensors(once), _tensors(each), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_variants_differ_in_the_fused_pose_alone(layer):
    inputs, occlusion = _inputs(2, 3), torch.tensor([[0.1, 0.9, 0.4], [0.0, 0.2, 1.0]])
    center = _model(layer, fusion="center")(**inputs)
    for variant in ("average", "occlusion", "dynamic", "nearby"):
        output = _model(layer, fusion=variant)(**inputs, occlusion=occlusion)
        assert torch.equal(output.monocular.rotmats, center.monocular.rotmats)
        assert torch.equal(output.forward.rotmats, center.forward.rotmats)
        assert not torch.allclose(output.fused.rotmats, center.fused.rotmats, atol=1e-3), variant


def test_affinity_tells_pairs_of_frames_apart(layer):
    """A confidence weighs a frame alike for all; here a frame may count for one and not for
    another."""
    model, inputs = _model(layer, fusion="pairwise"), _inputs(2, 3)
    output = model(**inputs)
    steps = (torch.arange(3)[:, None] - torch.arange(3)).abs()
    apart = output.weights.log() - output.confidence[..., None] + steps  # (B, i, j)
    assert (apart - apart.mean(1, keepdim=True)).abs().max() > 1e-4
    weighted_sum(deformer_losses(output, _targets(layer, inputs)), LossWeights()).backward()
    for part in (model.lender, model.borrower):
        assert (part[-1].weight.grad != 0).any()


def test_motion_by_steps_sees_the_frame_that_it_leads_to(layer):
    """One frame of a window changes: which motions change with it."""
    by_frame, by_step = (_model(layer, motion=motion) for motion in ("frame", "step"))
    for model in (by_frame, by_step):
        model.temporal_encoder.forward = lambda tokens, _: tokens  # else each frame sees all
    width = by_frame.config.width
    one = FrameFeatures(torch.randn(1, 4, width), torch.rand(1, 4, NUM_JOINTS, 2))
    hand = one.hand.clone()
    hand[:, 2] += 1
    is_left = torch.tensor([False])

    def changed(model) -> list[list[bool]]:
        before, after = (model.decode_windows(f, is_left) for f in (one, one._replace(hand=hand)))
        return [
            ((a.rotmats - b.rotmats).abs().amax((0, 2, 3, 4)) > 1e-6).tolist()
            for a, b in ((before.forward, after.forward), (before.backward, after.backward))
        ]

    # Steps 0→1, 1→2, 2→3, and back 1→0, 2→1, 3→2
    assert changed(by_frame) == [[False, False, True], [False, True, False]]
    assert changed(by_step) == [[False, True, True], [False, True, True]]
    output = by_step.decode_windows(one, is_left)
    output.fused.joints_m.square().sum().backward()
    assert (by_step.motion_head[-1].weight.grad != 0).any()


@pytest.mark.parametrize("variant", sorted({*get_args(FusionVariant)} - {"occlusion"}))
def test_confidence_is_trained_through_learned_weights_alone(layer, variant):
    model, inputs = _model(layer, fusion=variant), _inputs(2, 3)
    losses = deformer_losses(model(**inputs), _targets(layer, inputs))
    weighted_sum(losses, LossWeights()).backward()
    confidence_row = model.regressor[-1].weight.grad[-1]
    assert (confidence_row != 0).any() == (variant in ("dynamic", "nearby", "pairwise"))


def test_soft_argmax_finds_a_peak_and_the_middle_of_nothing():
    logits = torch.zeros(1, 64, 2)
    logits[0, 2 * 8 + 5, 0] = 1e3  # row 2, column 5
    joints = soft_argmax(logits, 8)
    assert torch.allclose(joints[0], torch.tensor([[5.5 / 8, 2.5 / 8], [0.5, 0.5]]))


def test_the_papers_network_has_the_papers_size(layer):
    counts = count_parameters(Deformer(DeformerConfig(), layer))
    assert 31e6 < counts["total"] < 34e6
    assert 25.0e6 < counts["backbone"] < 25.2e6
    assert counts["total"] == sum(count for part, count in counts.items() if part != "total")


def test_the_hand_model_stays_out_of_the_checkpoint(layer):
    model = Deformer(TINY, layer)
    assert not [key for key in model.state_dict() if key.startswith("hand_layer")]
    assert "hand_layer" not in count_parameters(model)
    assert all(not name.startswith("hand_layer") for name, _ in model.named_parameters())


def test_bfloat16_changes_little_and_no_geometry(layer):
    model, inputs = _model(layer), _inputs(2, 2)
    exact = model(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(**inputs)
    assert all(t.dtype == torch.float32 for t in (*rounded.fused, rounded.joints_2d))
    assert (rounded.joints_2d - exact.joints_2d).abs().max() < 0.01
    assert (rounded.fused.joints_m - exact.fused.joints_m).abs().max() < 0.02
    again = pose_hands(layer, *rounded.fused[:2], inputs["is_left"], model.config.tips)
    assert (rounded.fused.joints_m - again.joints_m).abs().max() < 1e-6


@pytest.mark.slow
def test_the_spatial_half_compiles_into_one_graph(layer):
    model, inputs = _model(layer), _inputs(2, 1)
    frames = (inputs["images"][:, 0], inputs["boxes_px"][:, 0], inputs["is_left"])
    compiled = torch.compile(model.encode_frames, backend="eager", fullgraph=True)
    for one, other in zip(compiled(*frames), model.encode_frames(*frames), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"boxes_px": torch.zeros(2, 3, 2)}, r"boxes_px has shape \(2, 3, 2\), must be \(2, 3, 4"),
        ({"is_left": torch.zeros(3, dtype=torch.bool)}, "is_left has shape"),
        ({"images": torch.zeros(2, 3, 1, 64, 64)}, "images has shape"),
        ({"occlusion": torch.zeros(2, 2)}, "occlusion has shape"),
        ({"is_repeat": torch.zeros(2, 3, dtype=torch.bool)}, "is_repeat has shape"),
    ],
)
def test_wrong_shapes_are_named(layer, change, text):
    with pytest.raises(ValueError, match=text):
        _model(layer)(**(_inputs(2, 3) | change))


def test_a_placed_memory_changes_what_is_gathered_and_not_what_is_located(layer):
    inputs = _inputs(2, 1)
    frames = [value.flatten(0, 1) for value in (inputs["images"], inputs["boxes_px"])]
    plain, placed = (
        _model(layer, placed_memory=value).encode_frames(*frames, inputs["is_left"])
        for value in (False, True)
    )
    assert torch.equal(plain.joints_2d, placed.joints_2d)
    assert (plain.hand - placed.hand).abs().max() > 0.1

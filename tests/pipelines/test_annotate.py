"""From raw frames to a clip: geometry, occlusion, and what becomes of bad frames."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deformer.box import AugmentationRange
from deformer.camera import project
from pipelines import dexycb
from pipelines.annotate import HandModel, annotate_clip
from pipelines.source import HAND
from tests.pipelines.dexycb_root import edit_labels

LIMITS = AugmentationRange()


@pytest.fixture(scope="module")
def model(hands) -> HandModel:
    return HandModel.of(hands)


def clip_of(root, model, index=0):
    ref = dexycb.list_clips(root)[index]
    raw = list(dexycb.read_clip(root, ref))
    return annotate_clip(ref, raw, model, LIMITS), raw


def test_geometry_is_that_of_the_crop(raw_root, model):
    clip, raw = clip_of(raw_root, model)
    labels = clip.labels
    for i in np.flatnonzero(labels["valid"]):
        origin = labels["crop_xywh"][i, :2]
        in_crop = project(labels["joints_cam_m"][i], labels["K"][i])
        assert np.abs(in_crop - labels["joints_px"][i]).max() < 1e-3
        in_source = project(raw[i].joints_cam_m, raw[i].K)
        assert np.abs(in_source - origin - labels["joints_px"][i]).max() < 1e-3
        box = labels["box_px"][i]
        assert np.allclose(box[:2], labels["joints_px"][i].min(0), atol=1e-3)
        assert np.allclose(box[2:], labels["joints_px"][i].max(0), atol=1e-3)


@pytest.mark.parametrize("index", [0, 3])
def test_mano_fields_give_the_stated_joints(raw_root, model, hands, index):
    clip, _ = clip_of(raw_root, model, index)
    assert clip.meta.side == ("right", "left")[index == 3]
    labels = clip.labels
    vertices = model.vertices_cam_m(
        *(labels[k][1:] for k in ("pose_rotvec", "betas", "trans_m")), clip.meta.side
    )
    regressor = getattr(hands, clip.meta.side).J_regressor
    assert vertices.shape == (5, 778, 3)
    # the wrist follows from the stored parameters alone
    wrist = labels["trans_m"] + getattr(hands, clip.meta.side).wrist_m(labels["betas"])
    assert np.abs(wrist[1:] - labels["joints_cam_m"][1:, 0]).max() < 1e-5
    assert regressor.shape == (16, 778)


def test_occlusion_is_what_the_segmentation_hides(raw_root, model):
    clip, raw = clip_of(raw_root, model)
    i = 2
    x, y, width, height = clip.labels["crop_xywh"][i]
    size = [int(height), int(width)]
    amodal = coco_mask.decode({"size": size, "counts": clip.labels["mask_amodal"][i]}) > 0
    seen = raw[i].segmentation[y : y + height, x : x + width]
    # the root's segmentation is the silhouette itself with rectangles of objects painted over
    assert np.array_equal(amodal & (seen == HAND), seen == HAND)
    hidden = np.count_nonzero(amodal & (seen != HAND)) / np.count_nonzero(amodal)
    assert 0 < hidden < 1
    assert clip.labels["occlusion"][i] == pytest.approx(hidden)
    assert clip.labels["visibility"][i] == pytest.approx(1 - hidden)
    assert clip.labels["occlusion_grasped"][i] < hidden


def test_no_hand_is_a_row_without_labels_or_image(raw_root, model):
    clip, _ = clip_of(raw_root, model)
    assert clip.labels["reason"].tolist() == ["no_hand", "", "", "", "", ""]
    assert clip.images[0] is None
    assert np.isnan(clip.labels["joints_cam_m"][0]).all()
    assert clip.labels["crop_xywh"][0].tolist() == [0, 0, 0, 0]


def test_without_a_hand_model_the_rest_is_the_same(raw_root, model):
    full, _ = clip_of(raw_root, model)
    bare, _ = clip_of(raw_root, None)
    assert bare.images == full.images
    for name in ("valid", "joints_cam_m", "joints_px", "K", "box_px", "crop_xywh"):
        np.testing.assert_array_equal(bare.labels[name], full.labels[name])
    assert bare.labels["mask_hand"] == full.labels["mask_hand"]
    for name in ("pose_rotvec", "betas", "trans_m", "occlusion", "visibility"):
        assert np.isnan(bare.labels[name]).all()
    assert not any(bare.labels["mask_amodal"])


def shift_out_of_view(path):
    with np.load(path) as npz:
        edit_labels(path, joint_3d=npz["joint_3d"] + np.float32([5, 0, 0]))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: edit_labels(f, joint_3d=np.full((1, 21, 3), np.nan)), "labels_not_finite"),
        (lambda f: edit_labels(f, pose_m=np.full((1, 51), np.inf)), "labels_not_finite"),
        (shift_out_of_view, "hand_outside_image"),
        (lambda f: truncate(f.with_name("color_000003.jpg")), "image_corrupt"),
        (lambda f: f.with_name("color_000003.jpg").write_bytes(b"no image"), "image_corrupt"),
        (lambda f: shrink(f.with_name("color_000003.jpg")), "image_size"),
    ],
)
def test_a_bad_frame_is_a_row_with_its_reason(own_root, model, damage, reason):
    ref = dexycb.list_clips(own_root)[0]
    damage(own_root / ref.subject / ref.sequence / ref.camera / "labels_000003.npz")
    clip, _ = clip_of(own_root, model)
    assert clip.labels["reason"].tolist() == ["no_hand", "", "", reason, "", ""]
    assert clip.labels["valid"].tolist() == [False, True, True, False, True, True]
    assert clip.images[3] is None


def truncate(path):
    path.write_bytes(path.read_bytes()[:-2000])


def shrink(path):
    import cv2

    cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])

"""From raw frames to a clip: geometry, occlusion, and what becomes of bad frames."""

import os
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from deformer.hand.box import AugmentationRange
from deformer.hand.camera import project
from pipelines.building.annotate import annotate_clip
from pipelines.datasets import dexycb
from pipelines.datasets.source import HAND, RawFrame
from tests.pipelines.dexycb_root import K, edit_labels

LIMITS = AugmentationRange()


@pytest.fixture(scope="module")
def given(raw_root):
    """A clip's ref and its raw frames, of which the first has no hand."""
    return given_of(raw_root)


def given_of(root):
    ref = dexycb.list_clips(root)[0]
    return ref, list(dexycb.read_clip(root, ref))


def clip_of(root, model):
    ref, raw = given_of(root)
    return annotate_clip(ref, raw, model, LIMITS), raw


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
    """The whole hand, so that the labels still agree with each other."""
    with np.load(path) as npz:
        joints, pose_m = npz["joint_3d"] + np.float32([5, 0, 0]), npz["pose_m"]
        pose_m[0, 48] += 5
        edit_labels(path, joint_3d=joints, joint_2d=project(joints, K), pose_m=pose_m)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: edit_labels(f, joint_3d=np.full((1, 21, 3), np.nan)), "labels_not_finite"),
        (lambda f: edit_labels(f, pose_m=np.full((1, 51), np.inf)), "labels_not_finite"),
        (shift_out_of_view, "hand_outside_image"),
        (lambda f: os.truncate(f.with_name("color_000003.jpg"), 9000), "image_corrupt"),
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


def shrink(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])


# --------------------------------------------------------------------- frames given directly


@pytest.mark.parametrize("z", [0.0, -0.5])
@pytest.mark.parametrize("joint", [0, 20])
def test_a_joint_behind_the_camera(given, z, joint):
    ref, raw = given
    joints = raw[2].joints_cam_m.copy()
    joints[joint, 2] = z
    frames = [*raw[:2], replace(raw[2], joints_cam_m=joints), *raw[3:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = annotate_clip(ref, frames, None, LIMITS).labels
    assert labels["reason"].tolist() == ["no_hand", "", "joints_behind_camera", "", "", ""]
    assert labels["joints_in_image"][2] >= 15
    np.testing.assert_allclose(labels["joints_cam_m"][2], joints, atol=1e-6)
    absent = [*raw[:2], replace(frames[2], reason="image_missing", image=None), *raw[3:]]
    labels = annotate_clip(ref, absent, None, LIMITS).labels
    assert labels["reason"][2] == "image_missing"


def test_a_frame_without_image_keeps_its_labels(given, model):
    ref, raw = given
    full = annotate_clip(ref, raw, model, LIMITS).labels
    for reason in ("image_missing", ""):  # a reader may leave the reason to be found
        frames = [*raw[:2], replace(raw[2], reason=reason, image=None), *raw[3:]]
        clip = annotate_clip(ref, frames, model, LIMITS)
        assert clip.labels["reason"][2] == "image_missing" and clip.images[2] is None
        for name in ("joints_cam_m", "pose_rotvec", "trans_m"):
            np.testing.assert_array_equal(clip.labels[name][2], full[name][2])


def test_frames_that_are_not_the_clips_name_it(given):
    ref, raw = given
    with pytest.raises(ValueError, match=f"clip '{ref.key}': its reader gave 5 frames for 6"):
        annotate_clip(ref, raw[1:], None, LIMITS)
    with pytest.raises(ValueError, match=f"clip '{ref.key}': its reader gave frame 1 for 0"):
        annotate_clip(ref, [raw[1], raw[0], *raw[2:]], None, LIMITS)
    small = replace(raw[1], segmentation=np.zeros((240, 320), np.uint8))
    with pytest.raises(ValueError, match=f"clip '{ref.key}', frame 1: segmentation has shape"):
        annotate_clip(ref, [raw[0], small, *raw[2:]], None, LIMITS)
    assert annotate_clip(ref, [RawFrame(i, "no_hand") for i in range(6)], None, LIMITS)

"""HO-3D from the root to the labels of a shard."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deformer.data.clip import decode_labels, encode_labels
from deformer.hand.box import AugmentationRange
from deformer.hand.camera import project
from deformer.hand.conventions import DATASET_TO_MANO, MANO_TO_DATASET, NUM_JOINTS
from deformer.hand.mano import load_hands
from deformer.hand.rotations import rotvec_to_rotmat
from pipelines.building.annotate import HandModel, annotate_clip
from pipelines.datasets import ho3d
from tests.pipelines.ho3d_root import (
    FLIP,
    K,
    add_frame,
    add_model,
    add_posed_frames,
    box_of,
    only_frame,
    posed,
    train_meta,
    write_truth,
)


def labels_of(root: Path, model: HandModel) -> dict:
    """The labels of the root's only clip, as they are read back from a shard."""
    (ref,) = ho3d.list_clips(root)
    raw = list(ho3d.read_clip(root, ref))
    clip = annotate_clip(ref, raw, model, AugmentationRange())
    assert clip.meta.tips == "ho3d" and clip.meta.side == "right"
    assert all(image is not None for image in clip.images)
    labels = decode_labels(encode_labels(clip.labels, len(raw)))
    assert labels["reason"].tolist() == ["", "", ""] and labels["valid"].all()
    return labels


VERSIONS = pytest.mark.parametrize("suffix", [".png", ".jpg"], ids=["v2", "v3"])


def in_source_px(joints_opengl: np.ndarray) -> np.ndarray:
    """Joints in MANO's order, OpenGL → px of the whole image, dataset order."""
    return project((joints_opengl @ FLIP)[MANO_TO_DATASET], K)


@pytest.mark.parametrize("seed", range(4))
def test_mano_at_the_converted_pose_gives_the_converted_joints(tmp_path, seed):
    hands = load_hands("standin")
    rng = np.random.default_rng(seed)
    pose, betas = rng.normal(scale=0.4, size=48), rng.normal(size=10)
    pose[:3] = rng.normal(scale=[0.0, 1.0, 2.0, 4.0][seed], size=3)  # from none to beyond π
    trans = np.array([0.02, -0.03, -0.6])
    joints = posed(hands, pose, betas)[1] + trans
    meta = {**train_meta(), "handPose": pose, "handBeta": betas, "handTrans": trans}
    meta["handJoints3D"] = joints[DATASET_TO_MANO]
    add_frame(tmp_path, "train", "MC1/0000", meta)
    raw = only_frame(tmp_path)
    assert not raw.pose.fingers_are_pca
    converted = np.concatenate([raw.pose.global_rotvec, raw.pose.fingers])
    joints_cam_m = posed(hands, converted, raw.pose.betas)[1] + raw.pose.trans_m
    np.testing.assert_allclose(joints_cam_m, raw.joints_cam_m, atol=1e-5)
    np.testing.assert_allclose(joints_cam_m, joints @ FLIP, atol=1e-5)


@VERSIONS
@pytest.mark.parametrize("models", [False, True])
def test_train_labels_end_to_end(tmp_path, model, suffix, models):
    joints, _ = add_posed_frames(tmp_path, "train", suffix, model.hands)
    if models:
        add_model(tmp_path / "models")
    labels = labels_of(tmp_path, model)
    rotmats = rotvec_to_rotmat(torch.from_numpy(labels["pose_rotvec"]).unflatten(1, (16, 3)))
    is_left = torch.zeros(3, dtype=torch.bool)
    _, posed_m = model.layer(rotmats, torch.from_numpy(labels["betas"]), is_left, "ho3d")
    posed_m = posed_m.numpy() + labels["trans_m"][:, None]
    error_px = np.linalg.norm(project(posed_m, labels["K"]) - labels["joints_px"], axis=-1)
    assert error_px.shape == (3, NUM_JOINTS) and error_px.max() < 0.5
    origins = labels["crop_xywh"][:, None, :2]
    expected = np.stack([in_source_px(j) for j in joints])
    np.testing.assert_allclose(labels["joints_px"] + origins, expected, atol=1e-2)
    assert all(labels["mask_amodal"])
    assert ("occlusion" in labels) == models  # null throughout a clip is absent


@VERSIONS
def test_evaluation_labels_end_to_end(tmp_path, model, suffix):
    truth = add_posed_frames(tmp_path, "evaluation", suffix, model.hands)
    write_truth(tmp_path, *truth)
    add_model(tmp_path / "models")
    labels = labels_of(tmp_path, model)
    origins = labels["crop_xywh"][:, None, :2]
    expected = np.stack([in_source_px(j) for j in truth[0]])
    np.testing.assert_allclose(labels["joints_px"] + origins, expected, atol=1e-2)
    np.testing.assert_allclose(labels["vertices_cam_m"], np.stack(truth[1]) @ FLIP, atol=1e-6)
    assert "pose_rotvec" not in labels
    assert all(labels["mask_amodal"]) and np.isfinite(labels["occlusion"]).all()


@VERSIONS
def test_evaluation_without_truth_end_to_end(tmp_path, model, suffix):
    """A box and no joints: valid, for the frame can be cropped and predicted on."""
    _, vertices = add_posed_frames(tmp_path, "evaluation", suffix, model.hands)
    labels = labels_of(tmp_path, model)
    boxes = labels["box_px"] + np.tile(labels["crop_xywh"][:, :2], 2)
    np.testing.assert_allclose(boxes, [box_of(v) for v in vertices])
    assert labels["joints_in_image"].tolist() == [-1, -1, -1]
    for name in ("joints_cam_m", "joints_px", "vertices_cam_m", "pose_rotvec", "occlusion"):
        assert name not in labels
    assert not any(labels["mask_amodal"])

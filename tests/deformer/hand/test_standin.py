"""The stand-in hand's files: MANO's shapes, a clean mesh, a plausible hand, an exact mirror."""

import hashlib

import numpy as np
import pytest
import torch

from deformer.hand.conventions import DATASET_TO_MANO
from deformer.hand.mano import STANDIN_DIR, HandLayer
from deformer.hand.rotations import rotvec_to_rotmat

SHAPES = {
    "v_template": (778, 3),
    "f": (1538, 3),
    "shapedirs": (778, 3, 10),
    "posedirs": (778, 3, 135),
    "J_regressor": (16, 778),
    "J": (16, 3),
    "weights": (778, 16),
    "kintree_table": (2, 16),
    "hands_components": (45, 45),
    "hands_mean": (45,),
    "hands_coeffs": (1000, 45),
    "flexion_axes": (15, 3),
}
# Thumb, index, middle, ring, little, as the datasets order them; the fingers' last joints in MANO.
TIPS = {
    "DexYCB right": (745, 317, 444, 556, 673),
    "DexYCB left": (745, 317, 445, 556, 673),
    "HO-3D": (728, 353, 442, 576, 694),
}
LAST_JOINTS = (15, 3, 6, 12, 9)
FINGERS = {"index": 1, "middle": 4, "little": 7, "ring": 10, "thumb": 13}
POINT = np.array([-1.0, 1, 1])


def load(side):
    raw = np.load(STANDIN_DIR / f"STANDIN_{side}.npz")
    return {k: raw[k].astype(np.int64 if k == "f" else np.float64) for k in raw.files}


@pytest.fixture(scope="module", params=["RIGHT", "LEFT"])
def hand(request):
    return load(request.param)


@pytest.fixture(scope="module")
def right():
    return load("RIGHT")


@pytest.fixture(scope="module")
def left():
    return load("LEFT")


def pose_hand(layer: HandLayer, fingers, side="RIGHT", betas=None):
    """Vertices (778, 3) and joints (16, 3), MANO's order, of a finger pose (45,)."""
    rotvec = torch.zeros(1, 16, 3)
    rotvec[0, 1:] = torch.as_tensor(np.reshape(fingers, (15, 3)))
    betas = torch.zeros(1, 10) if betas is None else torch.tensor([betas]).float()
    vertices, joints = layer(rotvec_to_rotmat(rotvec), betas, torch.tensor([side == "LEFT"]))
    return vertices[0].numpy(), joints[0].numpy()[DATASET_TO_MANO][:16]


# Of the files whose volume when bent, grasps and shapes their maker measured: see STANDIN.md
SHA256 = {
    "RIGHT": "c6a84b4096e5d5a8801b84c31cf2caac6b6735babc08bf518063c248bd550581",
    "LEFT": "c050b531bc3f159e3b47f7676337e7ae462122700d9d371502292513c3bc6796",
}


@pytest.mark.parametrize("side", SHA256)
def test_arrays_have_manos_shapes(side):
    path = STANDIN_DIR / f"STANDIN_{side}.npz"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[side]
    raw = np.load(path)
    assert {k: raw[k].shape for k in raw.files} == SHAPES
    for name in raw.files:
        wanted = np.uint32 if name in ("f", "kintree_table") else np.float32
        assert raw[name].dtype == wanted, name
        assert np.isfinite(raw[name]).all(), name


def test_the_back_looks_up_and_positive_bends_go_to_the_palm(hand, layer):
    for finger, first in FINGERS.items():
        axes = hand["flexion_axes"][first - 1 : first + 2]
        np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-5)
        pose = np.zeros((15, 3))
        pose[first - 1 : first + 2] = np.deg2rad(40) * axes
        is_left = hand["J"][1, 0] > hand["J"][0, 0]
        _, joints = pose_hand(layer, pose, "LEFT" if is_left else "RIGHT")
        if finger != "thumb":
            assert joints[first + 2, 1] < hand["J"][first + 2, 1] - 0.02, finger
    # The nails' side is up: bent by +z, the right fingers leave the back of the hand, at +y.
    middle = hand["v_template"][hand["weights"][:, 0] > 0.99]
    assert middle[:, 1].max() - hand["J"][0, 1] > 0.01


@pytest.mark.parametrize("dataset", TIPS)
def test_fingertips_stand_where_the_datasets_look(hand, dataset):
    for first, index, joint in zip(TIPS["DexYCB right"], TIPS[dataset], LAST_JOINTS, strict=True):
        tip = hand["v_template"][index]
        assert np.linalg.norm(tip - hand["v_template"][first]) < 0.008
        assert hand["weights"][index, joint] > 0.95
        bone = hand["v_template"][first] - hand["J"][joint]
        own = hand["v_template"][hand["weights"][:, joint] > 0.95] - hand["J"][joint]
        along = own @ bone / np.linalg.norm(bone)
        reached = (tip - hand["J"][joint]) @ bone / np.linalg.norm(bone)
        assert along.max() - reached < (0.001 if index == first else 0.008)


def test_left_is_the_exact_mirror(right, left):
    for name in ("weights", "J_regressor", "hands_coeffs", "kintree_table"):
        np.testing.assert_array_equal(left[name], right[name])
    np.testing.assert_array_equal(left["v_template"], right["v_template"] * POINT)
    np.testing.assert_array_equal(left["J"], right["J"] * POINT)
    np.testing.assert_array_equal(left["shapedirs"], right["shapedirs"] * POINT[:, None])
    assert {frozenset(f) for f in left["f"].tolist()} == {frozenset(f) for f in right["f"].tolist()}

"""The stand-in hand: its files are those that were looked at, and the conventions fit them."""

import hashlib

import numpy as np
import pytest
import torch

from deformer.hand.conventions import DATASET_TO_MANO, SIDES, TIP_VERTICES
from deformer.hand.mano import STANDIN_DIR
from deformer.hand.rotations import rotvec_to_rotmat

# Each mesh is one manifold disk, the left file is the exact mirror of the right one, and STANDIN.md
# has what was measured: look at a new hand likewise before its hash stands here
SHA256 = {
    "right": "c6a84b4096e5d5a8801b84c31cf2caac6b6735babc08bf518063c248bd550581",
    "left": "c050b531bc3f159e3b47f7676337e7ae462122700d9d371502292513c3bc6796",
}
# The fingers' first joints in MANO, as the datasets order the tips: thumb to little
FIRST_JOINTS = (13, 1, 4, 10, 7)


def path_of(side: str):
    return STANDIN_DIR / f"STANDIN_{side.upper()}.npz"


@pytest.fixture(scope="module", params=SIDES)
def hand(request) -> dict[str, np.ndarray]:
    with np.load(path_of(request.param)) as raw:
        return {**raw, "side": request.param}


@pytest.mark.parametrize("side", SIDES)
def test_the_files_are_those_that_were_looked_at(side):
    assert hashlib.sha256(path_of(side).read_bytes()).hexdigest() == SHA256[side]


def test_the_back_looks_up_and_positive_bends_go_to_the_palm(hand, layer):
    for first in FIRST_JOINTS[1:]:
        pose = torch.zeros(1, 16, 3)
        axes = torch.from_numpy(hand["flexion_axes"][first - 1 : first + 2])
        pose[0, first : first + 3] = np.deg2rad(40) * axes
        is_left = torch.tensor([hand["side"] == "left"])
        _, joints = layer(rotvec_to_rotmat(pose), torch.zeros(1, 10), is_left)
        last_y = joints[0].numpy()[DATASET_TO_MANO][first + 2, 1]
        assert last_y < hand["J"][first + 2, 1] - 0.02, first
    # The nails' side is up: bent by +z, the right fingers leave the back of the hand, at +y.
    middle = hand["v_template"][hand["weights"][:, 0] > 0.99]
    assert middle[:, 1].max() - hand["J"][0, 1] > 0.01


@pytest.mark.parametrize("dataset", TIP_VERTICES, ids=" ".join)
def test_fingertips_stand_where_the_datasets_look(hand, dataset):
    for vertex, first in zip(TIP_VERTICES[dataset], FIRST_JOINTS, strict=True):
        last = first + 2
        assert hand["weights"][vertex, last] > 0.95
        own = hand["v_template"][hand["weights"][:, last] > 0.95] - hand["J"][last]
        bone = hand["J"][last] - hand["J"][last - 1]
        along = own @ bone / np.linalg.norm(bone)
        reached = (hand["v_template"][vertex] - hand["J"][last]) @ bone / np.linalg.norm(bone)
        assert along.max() - reached < 0.008

"""The stand-in hand: its files are those that were looked at, fingertips where datasets look."""

import hashlib

import numpy as np
import pytest

from deformer.hand.conventions import SIDES, TIP_VERTICES
from deformer.hand.mano import STANDIN_DIR

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

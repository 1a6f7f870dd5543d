"""What tests of both packages share."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from deformer.hand import MANO_PARENTS, SIDES
from deformer.mano import HandLayer, Hands, load_hands
from pipelines.dexycb import SERIALS
from tests.pipelines.dexycb_root import write_root

_RECORDED_FRAME = Path(__file__).parents[2] / "shared" / "data" / "dexycb_frame"


@pytest.fixture(scope="session")
def hands() -> Hands:
    return load_hands("standin")


@pytest.fixture(scope="session")
def layer(hands) -> HandLayer:
    return HandLayer(hands)


@pytest.fixture(scope="session")
def recorded_frame() -> Path:
    """The folder of one genuine DexYCB frame, which the project may not carry."""
    if not _RECORDED_FRAME.is_dir():
        pytest.skip(f"the genuine DexYCB frame is not at {_RECORDED_FRAME}")
    return _RECORDED_FRAME


# subject, sequence and camera chosen so that every part of every setup occurs
CLIPS = [
    (0, 0, SERIALS[0]), (0, 4, SERIALS[1]), (2, 4, SERIALS[2]), (6, 1, SERIALS[6]),
    (7, 15, SERIALS[7]), (8, 35, SERIALS[3]), (9, 58, SERIALS[0]),
]  # fmt: skip


@pytest.fixture(scope="session")
def raw_root(tmp_path_factory, hands, layer) -> Path:
    """A small DexYCB root of 7 clips of 6 frames; the first frame of each has no hand."""
    return write_root(tmp_path_factory.mktemp("raw") / "dexycb", hands, layer, CLIPS)


_MANO_KEYS = ("v_template", "shapedirs", "posedirs", "weights", "hands_components", "hands_mean")


class _Ch:
    """Pickles as `chumpy.ch.Ch` does: a plain attribute dictionary with the value under x."""


@pytest.fixture
def mano_folder(tmp_path, hands, monkeypatch):
    """MANO_RIGHT.pkl and MANO_LEFT.pkl as published, filled with the stand-in's numbers."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (_Ch,), {"__module__": "chumpy.ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    for side in SIDES:
        hand = getattr(hands, side)
        raw = {key: getattr(hand, key).astype(np.float64) for key in _MANO_KEYS}
        chumpy_array = module.Ch()
        chumpy_array.__dict__ = {"x": raw["shapedirs"], "_dirty_vars": {"x"}, "_itr": None}
        raw["shapedirs"] = chumpy_array
        raw["J_regressor"] = scipy.sparse.csc_matrix(hand.J_regressor.astype(np.float64))
        raw["f"] = hand.faces.astype(np.uint32)
        parents = np.array(MANO_PARENTS, np.int64) % 2**32  # the root's parent is stored unsigned
        raw["kintree_table"] = np.stack([parents, np.arange(16)])
        raw["bs_style"] = "lbs"
        (tmp_path / f"MANO_{side.upper()}.pkl").write_bytes(pickle.dumps(raw, protocol=2))
    monkeypatch.undo()  # reading must not need chumpy
    assert "chumpy" not in sys.modules
    return tmp_path

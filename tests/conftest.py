"""What tests of both packages share."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from deformer.data.official import SERIALS
from deformer.hand.conventions import MANO_PARENTS, SIDES
from deformer.hand.mano import HandArrays, HandLayer, Hands, load_hands
from tests.pipelines.dexycb_root import write_root
from tests.python2 import chumpy_object, python2_pickle
from tests.shared_data import SHARED

# A shell ignores Ctrl-C for what it starts in the background, tests and their programs included
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_RECORDED_FRAME = SHARED / "data" / "dexycb_frame"


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


def published_mano(hand: HandArrays) -> dict:
    """What a released file holds, filled with another hand's numbers."""
    raw = {key: getattr(hand, key).astype(np.float64) for key in _MANO_KEYS}
    # the file has more shape directions than are published, and selects these
    directions = np.concatenate([raw["shapedirs"], raw["shapedirs"][..., ::-1]], -1)
    chosen = np.arange(directions.size).reshape(directions.shape)[..., :10]
    raw["shapedirs"] = chumpy_object(
        "chumpy.reordering",
        "Select",
        a=chumpy_object("chumpy.ch", "Ch", x=directions),
        idxs=chosen.ravel(),
        preferred_shape=chosen.shape,
    )
    raw["posedirs"] = chumpy_object("chumpy.ch", "Ch", x=raw["posedirs"])
    raw["J_regressor"] = scipy.sparse.csc_matrix(hand.J_regressor.astype(np.float64))
    raw["J"] = hand.J_regressor @ hand.v_template
    raw["f"] = hand.faces.astype(np.uint32)
    parents = np.array(MANO_PARENTS, np.int64) % 2**32  # the root's parent is stored unsigned
    raw["kintree_table"] = np.stack([parents, np.arange(16)])
    return raw | {"bs_style": "lbs", "bs_type": "lrotmin"}


@pytest.fixture(scope="session")
def mano_files(hands) -> dict[str, bytes]:
    """MANO_RIGHT.pkl and MANO_LEFT.pkl as published, filled with the stand-in's numbers."""
    return {
        f"MANO_{side.upper()}.pkl": python2_pickle(published_mano(getattr(hands, side)))
        for side in SIDES
    }


@pytest.fixture
def mano_folder(tmp_path, mano_files) -> Path:
    """The folder that holds them."""
    for name, data in mano_files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


# ------------------------------------------------------------------------------------ faults


@pytest.fixture
def count_faults(record_property) -> Callable[..., None]:
    """`count_faults(kind, injected, survived)`, for the table at the end of a run. A fault is
    survived when the promise holds in spite of it."""

    def note(kind: str, injected: int, survived: int) -> None:
        record_property("faults", (kind, injected, survived))

    return note


def pytest_terminal_summary(terminalreporter) -> None:
    injected, survived = Counter(), Counter()
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for name, value in (entry for report in ended for entry in report.user_properties):
        if name == "faults":
            kind, more_injected, more_survived = value
            injected[kind] += more_injected
            survived[kind] += more_survived
    if injected:
        terminalreporter.section("faults: injected, survived")
    for kind, number in sorted(injected.items()):
        terminalreporter.write_line(f"{number:9,} {survived[kind]:9,}  {kind}")

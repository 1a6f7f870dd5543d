"""What tests of both packages share."""

from pathlib import Path

import pytest

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

"""What tests of both packages share."""

from pathlib import Path

import pytest

from deformer.mano import HandLayer, Hands, load_hands

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

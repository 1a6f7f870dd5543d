"""Orders of files, hands and their meshes."""

import numpy as np
import pytest

from benchmarks.submissions.file_order import dexycb_order, ho3d_order
from benchmarks.submissions.hpe import write_hpe
from tests.benchmarks.frame_tables import HO3D_LIST, dexycb_frames, ho3d_frames
from tests.benchmarks.hands_in_motion import random_hands, random_meshes


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def hpe_order():
    """Camera 9… has left hands, camera 8… right ones."""
    return dexycb_order(dexycb_frames(), "s0_test")


@pytest.fixture
def truth(rng, hpe_order):
    """(16, 21, 3): of the required frames."""
    return random_hands(rng, int(hpe_order.is_required.sum()))


@pytest.fixture
def hpe_file(tmp_path, rng, hpe_order, truth):
    path = tmp_path / "out" / "hpe.txt"
    write_hpe(path, hpe_order, truth + rng.normal(scale=0.004, size=truth.shape))
    return path


@pytest.fixture
def ho3d_list(tmp_path):
    path = tmp_path / "evaluation.txt"
    path.write_text(HO3D_LIST)
    return path


@pytest.fixture
def pred_order(ho3d_list):
    return ho3d_order(ho3d_frames(), ho3d_list)


@pytest.fixture
def hands(rng):
    """Joints (5, 21, 3) and vertices (5, 778, 3)."""
    joints_m = random_hands(rng, 5)
    return joints_m, random_meshes(rng, joints_m)

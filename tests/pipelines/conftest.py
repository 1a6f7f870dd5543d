"""Raw roots and built datasets that several tests read; none of them may change one."""

import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.build_shards import Options, build
from pipelines.building.hand_model import HandModel
from pipelines.datasets.ho3d import MODELS_VARIABLE
from tests.pipelines.dexycb_root import write_meta


@pytest.fixture(scope="session")
def built(tmp_path_factory, raw_root) -> Path:
    """That root, built into shards of at most two clips."""
    out = tmp_path_factory.mktemp("built") / "dexycb"
    build(Options("dexycb", root=raw_root, out=out, workers=0, frames_per_shard=12))
    return out


@pytest.fixture(scope="session")
def model(hands) -> HandModel:
    return HandModel.from_hands(hands)


@pytest.fixture(autouse=True)
def _no_models_folder(monkeypatch):
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)


@pytest.fixture
def own_root(tmp_path, raw_root) -> Path:
    """A copy of the root that the test may damage."""
    return Path(shutil.copytree(raw_root, tmp_path / "root"))


@pytest.fixture
def own_built(tmp_path, built) -> Path:
    """A copy of the built dataset that the test may damage."""
    return Path(shutil.copytree(built, tmp_path / "built"))


@pytest.fixture
def recorded_root(tmp_path, recorded_frame) -> Path:
    """A DexYCB root made of the one genuine frame, as JPEG, twelve times over."""
    import cv2

    root = tmp_path / "recorded"
    sequence = root / "20200709-subject-01" / "20200709_143211"
    camera = sequence / "836212060125"
    camera.mkdir(parents=True)
    image = cv2.imread(str(recorded_frame / "color.png"))
    for frame in range(12):
        cv2.imwrite(str(camera / f"color_{frame:06d}.jpg"), image)
        shutil.copy(recorded_frame / "labels.npz", camera / f"labels_{frame:06d}.npz")
    intrinsics = root / "calibration" / "intrinsics"
    intrinsics.mkdir(parents=True)
    shutil.copy(recorded_frame / "836212060125_640x480.yml", intrinsics)
    calibration = root / "calibration" / "mano_20200709-subject-01_right"
    calibration.mkdir()
    (calibration / "mano.yml").write_text(yaml.dump({"betas": [0.0] * 10}))
    write_meta(sequence, camera.name, 12, "right", ycb_ids=[5, 6, 13, 18], ycb_grasp_ind=0,
               mano_calib=["20200709-subject-01_right"])  # fmt: skip
    return root

"""A small dataset made by hand, which tests of the stream read; none of them may change it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from deformer.data.clip import Clip
from deformer.hand.box import tight_box
from deformer.hand.camera import project
from tests.pipelines.handmade import TEST, build_dataset, make_clip


def labelled_clip(key: str, seed: int, **kwargs) -> Clip:
    """A clip with a MANO pose and shape, seen by a camera of unequal focal lengths."""
    clip = make_clip(key, seed=seed, **kwargs)
    rng = np.random.default_rng(seed)
    labels, n = clip.labels, clip.meta.num_frames
    labels["pose_rotvec"] = rng.normal(size=(n, 48))
    labels["betas"] = rng.normal(size=(n, 10))  # by frame, so that it shows which one is taken
    labels["K"] = labels["K"] * np.array([[1.0], [0.8], [1.0]])  # so fx is 500, fy 400
    labels["joints_px"] = project(labels["joints_cam_m"], labels["K"])
    labels["box_px"] = tight_box(labels["joints_px"])
    for name in ("pose_rotvec", "betas"):
        labels[name][~labels["valid"]] = np.nan
    return clip


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """Two shards of s0_train, 34 windows of 6 clips; one of s0_test, 18 windows of 3 clips."""
    clips = [
        [
            labelled_clip(
                f"clip-{shard}{k}",
                seed=10 * shard + k,
                num_frames=5 + k,
                side=("right", "left")[k % 2],
                splits=TEST if shard == 2 else None,
                invalid=[2] if (shard, k) == (0, 0) else [],
                halo=[6] if (shard, k) == (1, 2) else [],
            )
            for k in range(3)
        ]
        for shard in range(3)
    ]
    return build_dataset(tmp_path_factory.mktemp("stream") / "dataset", clips)


@pytest.fixture
def own_dataset(tmp_path, dataset) -> Path:
    """A copy of the dataset that the test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "dataset"))

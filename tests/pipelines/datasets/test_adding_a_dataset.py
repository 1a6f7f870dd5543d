"""A third dataset is one new file: the example of docs/adding-a-dataset.md, run as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def example(tmp_path) -> Path:
    """The module that the page shows, as files: in a package, and in the current folder."""
    page = (REPOSITORY / "docs" / "adding-a-dataset.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "my_package" / "my_hands.py"
    path.parent.mkdir()
    path.write_text(code)
    (tmp_path / "my_hands.py").write_text(code)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "folder_on_path", "workers"),
    [
        ("my_package.my_hands", True, "0"),
        ("my_hands", False, "0"),
        pytest.param("my_hands", False, "1", marks=pytest.mark.slow),
    ],
)
def test_the_example_builds(example, name, folder_on_path, workers, tmp_path):
    root = tmp_path / "raw"
    rng = np.random.default_rng(0)
    for recording in ("a", "b"):
        (root / recording).mkdir(parents=True)
        joints = rng.uniform([-0.05, -0.05, 0.5], [0.05, 0.05, 0.6], (4, 21, 3))
        np.save(root / recording / "joints.npy", joints)
        np.save(root / recording / "K.npy", np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]))
        for i in range(4):
            picture = rng.integers(0, 256, (240, 320, 3), np.uint8)
            cv2.imwrite(str(root / recording / f"{i:04d}.jpg"), picture)
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.build_shards", "--dataset", name]
        + ["--root", str(root), "--out", str(tmp_path / "out"), "--hand", "none"]
        + ["--workers", workers],
        cwd=example,
        env={"PYTHONPATH": f"{example}:{REPOSITORY}" if folder_on_path else str(REPOSITORY)}
        | {"PATH": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    frames = pq.read_table(tmp_path / "out" / "frames.parquet").to_pylist()
    assert len(frames) == 8
    assert all(row["valid"] for row in frames)
    assert {row["split"] for row in frames} == {"train"}

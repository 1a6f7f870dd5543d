import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_pipelines_profile(raw_root, tmp_path):
    """The stages are found by name in the profile, so a renamed function must be renamed there."""
    command = [sys.executable, "-m", "benchmarks.speed", "pipeline", "--root", str(raw_root)]
    command += ["--out", str(tmp_path), "--workers"]  # no timing: the root is far too small
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    result = json.loads((tmp_path / "pipeline.json").read_text())
    assert result["frames"] == 42
    assert all(t > 0 for t in result["milliseconds_per_frame_by_stage"].values())
    assert 100 < result["peak_memory_mib"] < 1024

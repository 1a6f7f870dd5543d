import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_pipeline_is_measured(raw_root, tmp_path):
    command = [sys.executable, "-m", "benchmarks.speed", "pipeline", "--root", str(raw_root)]
    command += ["--out", str(tmp_path), "--workers"]  # no timing: the root is far too small
    ended = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    result = json.loads((tmp_path / "pipeline.json").read_text())
    assert json.loads(ended.stdout) == result
    assert result["frames"] == 42
    assert 100 < result["peak_memory_mib"] < 1024

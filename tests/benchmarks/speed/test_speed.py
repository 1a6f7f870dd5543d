import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.rivals import RIVALS
from benchmarks.speed import networks
from benchmarks.speed.networks import NetworksCost, count_multiply_adds, measure_networks
from benchmarks.speed.step import StepShares, measure_step
from deformer.network.transformer import Attention

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


@pytest.mark.slow
def test_the_parts_of_a_step_are_measured(data):
    threads = torch.get_num_threads()
    config = StepShares(str(data), ("tiny",), batch=2, repeats=1)
    (row,) = measure_step(config)["rows"]
    assert torch.get_num_threads() == threads
    assert sum(row["of_these"].values()) == pytest.approx(row["step_seconds"])
    assert 0 < row["of_these"]["temporal_half_hand_layer_losses"] < row["step_seconds"]
    assert 2 <= row["distinct_frames"] <= 14 and row["distinct_window_seconds"] > 0
    with pytest.raises(ValueError, match="lite_temporal learns from features, so its step"):
        measure_step(StepShares(str(data), ("lite_temporal",)))


# ---------------------------------------------------------------------------- what a network costs


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (nn.Conv2d(3, 4, 3, padding=1), [(1, 3, 8, 8)], 8 * 8 * 4 * 3 * 9),
        # five steps in two directions, three gates of width 6 that read input and state
        (nn.GRU(4, 6, bidirectional=True), [(5, 1, 4)], 5 * 2 * 3 * 6 * (4 + 6)),
        # four projections of 5 tokens; every query times every key, and again times the values
        (Attention(8, 2), [(1, 5, 8)] * 3, 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8),
    ],
    ids=["convolution", "recurrent", "attention"],
)
def test_multiply_adds_by_hand(layer, inputs, expected):
    layer.requires_grad_(False)
    assert count_multiply_adds(lambda: layer(*map(torch.rand, inputs))) == expected


def test_costs_of_the_whole_method_and_a_rival(tmp_path, monkeypatch):
    name = next(name for name, rival in RIVALS.items() if rival.num_frames is None)
    monkeypatch.setattr(networks, "RIVALS", {name: RIVALS[name]})
    threads = torch.get_num_threads()
    measured = measure_networks(NetworksCost("tiny", batch=2, repeats=1))
    assert torch.get_num_threads() == threads
    path = tmp_path / "speed" / networks.COSTS_FILE
    path.parent.mkdir()
    path.write_text(json.dumps(measured))
    (costs,) = networks.read_costs(tmp_path).values()
    assert [cost.network for cost in costs.rows] == ["deformer", f"benchmarks.rivals:{name}"]
    assert costs.of("deformer").num_frames == 7 and costs.of("elsewhere:net") is None
    for cost in costs.rows:
        # regnet_tiny alone has 0.5 million, and does 0.03 G on 128²
        assert 0.5 < cost.parameters_m < 5 and 0.03 < cost.multiply_adds_g < 0.5
        assert cost.frames_per_second > 0

    other = path.with_name("again") / path.name
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="are both of tiny, perhaps of two machines"):
        networks.read_costs(tmp_path)
    other.write_text(json.dumps(measured | {"rows": [{"network": "deformer"}]}))
    with pytest.raises(ValueError, match=f"{other} holds no costs of networks .names lacking"):
        networks.read_costs(tmp_path)

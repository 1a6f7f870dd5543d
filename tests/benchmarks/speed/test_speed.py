import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.rivals import RIVALS
from benchmarks.speed import inference, large_index, networks, scoring, step
from benchmarks.speed.__main__ import parse
from benchmarks.speed.figure import Figure, run_module
from benchmarks.speed.networks import NetworksCost, count_multiply_adds, measure_networks
from benchmarks.speed.parts import PARTS, Parts, measure_parts
from deformer.network.transformer import Attention

REPOSITORY = Path(__file__).parents[3]
SLOW = {"index", "step", "window", "scoring", "inference"}
"""Parts that take minutes unless they are made small."""


def test_a_figure_knows_what_is_better():
    rate = Figure("stream", "windows", 50, "windows/s", floor=100)
    seconds = Figure("window", "forward", 50, "s", floor=10)
    assert (rate.is_rate, rate.share_of_floor) == (True, 0.5)
    assert (seconds.is_rate, seconds.share_of_floor) == (False, 0.2)
    assert Figure("step", "share", 5, "%").share_of_floor is None


def test_time_is_the_processors_and_that_of_other_processes():
    slept = run_module("timeit", "-n", "1", "-r", "1", "__import__('time').sleep(1)")
    assert slept.seconds > 1 > slept.processor_seconds > 0
    with pytest.raises(ValueError, match="python -m timeit no python failed: SyntaxError"):
        run_module("timeit", "no python")


def test_without_a_name_all_parts_are_measured():
    assert parse(["--only", "stream", "verify"]) == Parts(only=("stream", "verify"))
    assert parse([]) == Parts() and type(parse(["networks"])) is NetworksCost
    with pytest.raises(ValueError, match="--only tar: the parts are synthesizer, build, verify"):
        Parts(only=("tar",))


@pytest.mark.slow
def test_parts_of_large_data_and_of_a_step_on_small_ones(raw_root, data, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "_NUM_FRAMES", 2000)
    monkeypatch.setattr(large_index, "_ROWS", 200)
    monkeypatch.setattr(step, "_STEPS_OF", {"tiny": 2})
    monkeypatch.setattr(step, "_WINDOWS_OF", {"tiny": None})
    monkeypatch.setattr(inference, "_FEW", 2)
    measured = measure_parts(Parts(tuple(SLOW), raw_root, data, tmp_path, tmp_path))
    assert {figure["part"] for figure in measured["figures"]} == SLOW
    assert all(figure["value"] > 0 for figure in measured["figures"])


@pytest.mark.slow
def test_the_parts_are_measured(raw_root, data, tmp_path):
    """Not how fast they are: the data are far too small."""
    command = [sys.executable, "-m", "benchmarks.speed", "--root", str(raw_root)]
    command += ["--data", str(data), "--out", str(tmp_path), "--only", *PARTS.keys() - SLOW]
    ended = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    measured = json.loads((tmp_path / "parts.json").read_text())
    assert json.loads(ended.stdout) == measured
    assert {figure["part"] for figure in measured["figures"]} == PARTS.keys() - SLOW
    assert all(figure["value"] > 0 for figure in measured["figures"])


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

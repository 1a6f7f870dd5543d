"""A small dataset, a model that was never trained, and what it predicts: made once a session."""

import shutil
from pathlib import Path

import pytest

from deformer.training import features
from tests.benchmarks.untrained import evaluated, save_untrained
from tests.conftest import CLIPS
from tests.deformer.small_runs import build_dataset, make_stream
from tests.pipelines.dexycb_root import write_root


@pytest.fixture(scope="session")
def data(raw_root) -> Path:
    return build_dataset(raw_root)


@pytest.fixture(scope="session")
def data_with_depth(tmp_path_factory, hands, layer) -> Path:
    """Three clips of s0_train with depth images."""
    root = tmp_path_factory.mktemp("raw_with_depth") / "dexycb"
    return build_dataset(
        write_root(root, hands, layer, [CLIPS[0], *CLIPS[3:5]], depth=True), depth=True
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory, data, hands) -> Path:
    return save_untrained(tmp_path_factory.mktemp("run"), make_stream(data), hands)


@pytest.fixture(scope="session")
def result(tmp_path_factory, data, run) -> Path:
    """Of the run on s0_train; not to be changed."""
    out = tmp_path_factory.mktemp("result") / "mine"
    assert evaluated(data, out, checkpoint=run)[0] is not None
    return out


@pytest.fixture
def own_result(result, tmp_path) -> Path:
    return Path(shutil.copytree(result, tmp_path / "again"))


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """How many images each step encoded, until now."""
    calls, real = [], features.to_input

    def counted(batch, device):
        calls.append(len(batch.images))
        return real(batch, device)

    monkeypatch.setattr(features, "to_input", counted)
    return calls

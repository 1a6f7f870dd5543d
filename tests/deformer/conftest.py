"""What tests of training read and do not change."""

import pytest

from tests.deformer.small_runs import build_dataset, make_stream, run


@pytest.fixture(scope="session")
def dataset(raw_root):
    return build_dataset(raw_root)


@pytest.fixture(scope="session")
def stream(dataset):
    return make_stream(dataset)


@pytest.fixture(scope="session")
def whole(tmp_path_factory, dataset):
    """A run of six steps that nothing interrupted; an epoch has three."""
    out = tmp_path_factory.mktemp("run") / "whole"
    assert run(dataset, out) == 0
    return out

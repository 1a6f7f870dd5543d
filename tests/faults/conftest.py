"""What tests of faults share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fork_server import Server, warm_server

ANYWHERE = {"test_bit_flips", "test_failed_step", "test_local_shards"}
"""These need no more than Python. The others use what only Linux has: /proc, namespaces,
LD_PRELOAD, or a fork of a process with threads."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if sys.platform != "linux" and item.path.stem not in ANYWHERE:
        pytest.skip("it needs Linux to inject its faults")


@pytest.fixture(scope="session")
def dataset(raw_root) -> Path:
    """As tests of training have it; nothing changes it."""
    from tests.deformer.small_runs import build_dataset  # imports torch, which few tests here need

    return build_dataset(raw_root)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with warm_server() as server:
        yield server

"""What tests of faults share."""

from collections.abc import Iterator

import pytest

from tests.faults.warm import Server, warm_server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with warm_server() as server:
        yield server

"""What the service's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.valkey import ValkeyServer, skip_without_valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey server of the test's own: it may be stopped and filled."""
    skip_without_valkey()
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server

"""Real servers for the service's tests, started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.kafka import kafka_or_skip
from tests.servers.valkey import ValkeyServer, skip_without_valkey


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap servers of a real Apache Kafka. Tests share it: each uses topics and groups of its own."""
    return kafka_or_skip()


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey server of the test's own: it may be stopped and filled."""
    skip_without_valkey()
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server

"""What the service's tests share."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.network import Network
from models.taxonomy import Taxonomy
from tests.servers.valkey import ValkeyServer, skip_without_valkey
from tests.service.confluent import Confluent


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey server of the test's own: it may be stopped and filled."""
    skip_without_valkey()
    with ValkeyServer(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def confluent() -> Iterator[Confluent]:
    """A registry on loopback."""
    with Confluent() as server:
        server.silent.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.silent.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """A small model with random weights: what it says does not matter here, that it is said once does."""
    torch.manual_seed(5)
    config = ATATConfig.from_dict({"n_classes": 3, "d_lc": 16, "d_tab": 16, "harmonics": 4, "flux_encoding": "asinh"})
    taxonomy = Taxonomy((2222, 2224, 2332))
    return Classifier(Network(ATAT(config)), taxonomy=taxonomy, calibration=UNCALIBRATED, name="toy", version="1")

"""What every test may ask for."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.servers.kafka import kafka_or_skip

# The one setting: where the public data is (alerts, light curves, schemas). The project works without it.
DATA = Path(os.environ.get("ATAT_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The public data; tests that need it are skipped where it is not."""
    if not DATA.is_dir():
        pytest.skip(f"no public data at {DATA}; set ATAT_DATA")
    return DATA


@pytest.fixture(scope="session")
def kafka() -> str:
    """Bootstrap servers of a real Apache Kafka. Tests share it: each uses topics and groups of its own."""
    return kafka_or_skip()


def pytest_configure() -> None:
    # For the servers and commands that tests start: several processes of tests share the cores already.
    os.environ["OMP_NUM_THREADS"] = "1"
    if os.environ.get("CI"):  # where hypothesis would try the same examples each time
        hypothesis.settings.register_profile("ci-too", hypothesis.settings.get_profile("ci"), derandomize=False)
        hypothesis.settings.load_profile("ci-too")


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    """One seed, and one thread: how a sum is shared among threads changes its last digit."""
    torch.manual_seed(0)
    torch.set_num_threads(1)

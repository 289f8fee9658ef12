"""What tests of pretraining, and of what is trained from it, share."""

from pathlib import Path

import pytest

from tests.training import objects

TWO_BLOCKS = objects.CONFIG.replace("n_layers = 1", "n_layers = 2")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 160 objects."""
    return objects.write(tmp_path_factory.mktemp("data") / "set", 160)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy experiment with two blocks."""
    path = tmp_path_factory.mktemp("config") / "toy.toml"
    path.write_text(TWO_BLOCKS + "[pretraining]\nlearning_rate = 2e-3\n[self_supervision]\neta_pred = 0.5\n")
    return path

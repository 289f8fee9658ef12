"""``serve`` as a process, where Kafka is not needed: how it refuses to start."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.random_forest import Forest, ForestConfig
from models.taxonomy import Taxonomy
from service.__main__ import main

ENVIRONMENT = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP_PORT": "0"}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """As they were: ``serve`` within this process would leave its own."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def _refused(**values: str) -> str:
    """Why ``serve`` does not start, which must be one line."""
    environment = os.environ | ENVIRONMENT | values
    command = [sys.executable, "-m", "service", "serve"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    return line


def test_a_port_that_is_taken_is_one_line_told_before_the_model_is_looked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        reason = _refused(HTTP_HOST="localhost", HTTP_PORT=str(port), MODEL_DIR="nowhere")
    assert f"HTTP cannot listen on localhost, port {port}: Address already in use" in reason


def test_an_address_of_another_machine_is_one_line() -> None:
    assert "HTTP cannot listen on 192.0.2.1" in _refused(HTTP_HOST="192.0.2.1", HTTP_OPEN="true")


def test_an_api_that_anyone_could_reach_is_not_opened_by_mistake() -> None:
    reason = _refused(HTTP_HOST="0.0.0.0")  # noqa: S104 - refused
    assert "set HTTP_TOKENS_FILE, or HTTP_OPEN=true" in reason


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"DEVICE": "cuda"}, "the model is to run on cuda, and PyTorch sees no GPU"),
        ({"MODEL_DIR": "nowhere"}, "nowhere is not a model"),
    ],
)
def test_without_its_model_it_does_not_start(
    values: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name, value in (ENVIRONMENT | values).items():
        monkeypatch.setenv(name, value)
    assert main(["serve"]) == 2
    (record,) = caplog.records
    assert reason in record.getMessage()


def test_a_model_that_cannot_run_where_it_is_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = ForestConfig(algorithm="flat", columns=("amplitude_r",), trees=2)
    forest = Forest(config, Taxonomy((2222, 2224)))
    forest.fit(np.arange(8, dtype=np.float32)[:, None], np.arange(8) % 2)
    trees = Classifier(forest, taxonomy=forest.taxonomy, calibration=UNCALIBRATED, name="trees", version="1")
    trees.save(tmp_path / "trees")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for name, value in (ENVIRONMENT | {"DEVICE": "cuda", "MODEL_DIR": str(tmp_path / "trees")}).items():
        monkeypatch.setenv(name, value)
    assert main(["serve"]) == 2
    (record,) = caplog.records
    assert "runs on the CPU alone" in record.getMessage()


def test_whoever_asks_is_told_where_its_threads_are(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    def load(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("service.serve.model.load", load)
    assert main(["serve"]) == 0
    told = capfd.readouterr().err
    assert "(most recent call first)" in told
    assert "in load" in told


def test_a_signal_that_comes_before_the_model_is_loaded_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("service.serve.model.load", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    caplog.set_level(logging.INFO)
    assert main(["serve"]) == 0
    assert caplog.messages[-1] == "told to end before it had begun"

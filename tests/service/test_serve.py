"""``serve`` where Kafka is not needed: how it refuses to start, and that it does what its settings say."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import redis

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.network import Network
from models.random_forest import Forest, ForestConfig
from models.taxonomy import Taxonomy
from service.__main__ import main
from service.history import POINT
from service.serve import _history
from service.settings import Settings, process_environment
from tests import alerts
from tests.alerts import FIRST_MJD, batch, elasticc, source
from tests.servers import LOOPBACK, free_ports
from tests.servers.valkey import ValkeyServer
from tests.service.stream import until

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


# --- what it is set to --------------------------------------------------------------------------------------------


def test_it_answers_by_the_prior_and_in_the_precision_that_are_set_as_classify_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alert, rates = tmp_path / "alert", tmp_path / "rates.json"
    alert.write_bytes(alerts.datum(alerts.random_elasticc(np.random.default_rng(0), 20)))
    rates.write_text(json.dumps(dict.fromkeys(Classifier.load().taxonomy.names, 1) | {"AGN": 1000}))

    def by_command(precision: str, *words: str) -> dict[str, float]:
        monkeypatch.setenv("MODEL_PRECISION", precision)
        assert main(["classify", str(alert), *words]) == 0
        found: dict[str, float] = json.loads(capsys.readouterr().out)["probabilities"]
        return found

    with _served(MODEL_PRIOR=str(rates), MODEL_PRECISION="bfloat16") as port:
        answer = _by_http(port, alert.read_bytes())
    assert answer == pytest.approx(by_command("bfloat16", "--prior", str(rates)), abs=1e-5)
    assert answer != pytest.approx(by_command("bfloat16"), abs=1e-3)
    assert answer != pytest.approx(by_command("float32", "--prior", str(rates)), abs=1e-4)


@contextlib.contextmanager
def _served(**values: str) -> Iterator[int]:
    """The port of the service as a process of its own, which has no Kafka and answers all the same."""
    (port,) = free_ports(1)
    environment = process_environment(**ENVIRONMENT | values | {"HTTP_PORT": str(port)})
    with subprocess.Popen([sys.executable, "-m", "service", "serve"], env=environment) as process:
        try:
            yield port
        finally:
            process.kill()


def _by_http(port: int, alert: bytes) -> dict[str, float]:
    """As soon as its model is there."""
    found: dict[str, float] = {}

    def answers() -> bool:
        client = HTTPConnection(LOOPBACK, port, timeout=60)
        with contextlib.suppress(OSError), contextlib.closing(client):
            client.request("POST", "/v1/classify", alert, {"Content-Type": "application/avro"})
            answer = client.getresponse()
            if answer.status == 200:
                found.update(json.load(answer)["results"][0]["probabilities"])
        return bool(found)

    until(answers, what="an answer")
    return found


def test_the_history_lasts_as_long_and_holds_as_much_as_is_set_and_reaches_as_far_as_the_model(
    valkey: ValkeyServer,
) -> None:
    config = ATATConfig.from_dict({"n_classes": 3, "d_lc": 16, "d_tab": 16, "harmonics": 4, "window_days": 30})
    short = Classifier(
        Network(ATAT(config)), taxonomy=Taxonomy((2222, 2224, 2332)), calibration=UNCALIBRATED, name="toy", version="1"
    )
    settings = Settings.from_env({"REDIS_URL": valkey.url, "HISTORY_DAYS": "2", "HISTORY_POINTS": "10"})
    history = _history(settings, short)
    assert history is not None

    def known_on(day: int) -> set[int]:
        alert = batch(elasticc(source(day, FIRST_MJD + day)))
        return set(history.complete(alert).alerts.source_id.tolist())

    assert known_on(1) == {1}
    assert known_on(31) == {1, 31}
    assert known_on(32) == {31, 32}
    with redis.Redis.from_url(valkey.url) as client:
        sizes = []
        for day in range(33, 45):
            known_on(day)
            sizes.append(client.strlen("points:7") // POINT.itemsize)
        assert max(sizes) == 10
        assert 86_400_000 < client.pttl("points:7") <= 2 * 86_400_000

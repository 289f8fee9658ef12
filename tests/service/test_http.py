"""The HTTP API through a real server and real connections: crowds, slow and vanishing clients, and its own document."""

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier
from models.inputs.alert import object_batch
from models.inputs.alert_batch import AlertBatch, Decoded
from service.api import Api, create_app
from service.auth import Tokens
from service.errors import KafkaUnavailable, Misconfigured, Refused
from service.health import Health
from service.history import History
from service.inference import Inference
from service.metrics import Metrics
from service.outputs import broker_classifications
from service.redis_client import connect
from service.serve import HttpServer
from service.settings import Settings
from tests import alerts
from tests.servers import LOOPBACK, free_ports
from tests.servers.valkey import ValkeyServer

BODY = json.dumps(
    {
        "objects": [
            {
                "mjd": [60_000.0, 60_001.0],
                "band": ["g", "r"],
                "psfFlux": [1000.0, 900.0],
                "psfFluxErr": [50.0, 50.0],
                "detected": [True, True],
            }
        ]
    }
).encode()


@dataclass
class Serving:
    """A service's HTTP side on a port of its own, and the gate before its model."""

    port: int
    gate: threading.Event
    metrics: Metrics

    def count(self, status: int) -> float:
        """Requests for a classification that were answered so."""
        labels = {"path": "/v1/classify", "status": str(status)}
        return self.metrics.registry.get_sample_value("classifier_http_requests_total", labels) or 0.0


@contextlib.contextmanager
def _serving(classifier: Classifier, **values: str) -> Iterator[Serving]:
    gate = threading.Event()
    gate.set()

    class Gated(Classifier):
        def classify(self, batch: AlertBatch) -> Classifications:
            gate.wait(60)
            return super().classify(batch)

    gated = Gated(classifier.model, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="toy", version="1")
    (port,) = free_ports(1)
    chosen = Settings.from_env({"HTTP_PORT": str(port), **values})
    metrics = Metrics()
    inference = Inference(gated, metrics, max_waiting=chosen.http_queue)
    health = Health(warm=True, joined=True, turned=math.inf)  # as if its loop turned
    with HttpServer(chosen, port) as server:
        server.serve(Api(chosen, inference=inference, history=None, metrics=metrics, health=health))
        try:
            yield Serving(port, gate, metrics)
        finally:
            gate.set()
    inference.close()


def _request(path: str = "/v1/classify", body: bytes = BODY, *, length: int | None = None) -> bytes:
    """A request; ``length`` is what it says of its body, if not the truth."""
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


async def _ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send, and read the whole answer: status, and all of it. Status 0 where the connection ends without one."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
            return (int(answer.split(b" ", 2)[1]) if answer else 0), answer
        return 0, b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def test_a_thousand_requests_at_once_are_answered_or_told_to_come_again_and_health_is_answered_meanwhile(
    classifier: Classifier,
) -> None:
    async def crowd(serving: Serving) -> list[tuple[int, bytes]]:
        serving.gate.clear()
        asked = [asyncio.create_task(_ask(serving.port, _request())) for _ in range(1000)]
        while serving.count(429) < 900:  # the queue is full, the model at rest, and a thread waits for every place
            await asyncio.sleep(0.05)
        for path in ("/healthz", "/readyz", "/metrics", "/v1/model"):
            status, _ = await _ask(serving.port, _request(path, b""))
            assert status == 200, path
        serving.gate.set()
        return await asyncio.gather(*asked)

    with _serving(classifier, HTTP_QUEUE="60") as serving:
        answers = asyncio.run(crowd(serving))
    counts = Counter(status for status, _ in answers)
    assert set(counts) == {200, 429}
    assert counts[200] >= 60
    assert all(b"retry-after: 1" in answer for status, answer in answers if status == 429)


def test_while_one_request_is_being_read_others_are_answered_or_told_to_come_again(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, plain = threading.Event(), object_batch

    def slow(objects: Any) -> Decoded:
        assert reading.wait(60)
        return plain(objects)

    async def crowd(serving: Serving) -> list[tuple[int, bytes]]:
        asked = [asyncio.create_task(_ask(serving.port, _request())) for _ in range(300)]
        while serving.count(429) < 300 - 60 - 1:  # one is being read, and sixty wait
            await asyncio.sleep(0.05)
        assert (await _ask(serving.port, _request("/v1/model", b"")))[0] == 200
        reading.set()
        return await asyncio.gather(*asked)

    monkeypatch.setattr("service.api.object_batch", slow)
    with _serving(classifier, HTTP_QUEUE="60") as serving:
        answers = asyncio.run(crowd(serving))
    assert Counter(status for status, _ in answers) == {200: 61, 429: 239}


def test_clients_that_vanish_cost_nothing_and_are_no_fault_of_the_service(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    async def vanish(port: int, request: bytes) -> None:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(request)
        await writer.drain()
        writer.transport.abort()

    async def come_and_go(serving: Serving) -> int:
        half = _request()[:-20]
        await asyncio.gather(*(vanish(serving.port, request) for request in [half, _request(), b"POST /v1"] * 50))
        while serving.count(200) < 50 or serving.count(400) < 50:
            await asyncio.sleep(0.05)
        status, _ = await _ask(serving.port, _request())
        return status

    with _serving(classifier, HTTP_QUEUE="200") as serving:
        assert asyncio.run(come_and_go(serving)) == 200
        assert serving.count(500) == 0
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_slow_clients_are_given_up(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api._BODY_SECONDS", 1.0)
    monkeypatch.setattr("service.serve._HEAD_SECONDS", 1.0)

    async def crawl(serving: Serving) -> list[tuple[int, bytes]]:
        slow = [_request()[:-20], b"POST /v1/classify HTTP/1.1\r\nHost: a\r\n", b""]
        return await asyncio.gather(*(_ask(serving.port, request) for request in slow * 20))

    with _serving(classifier) as serving:
        answers = asyncio.run(crawl(serving))
    assert Counter(status for status, _ in answers) == {408: 20, 0: 40}


def test_a_client_that_is_slow_with_its_second_request_is_given_up_too(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.serve._HEAD_SECONDS", 1.0)
    whole = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    async def crawl(port: int) -> tuple[list[bytes], float]:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        answers = []
        for pause in (0.0, 2.0):  # a connection that is idle may stay
            await asyncio.sleep(pause)
            writer.write(whole)
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = re.findall(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length))
            answers.append(head.split()[1])
        began = time.monotonic()
        writer.write(whole[:20])
        rest = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        return [*answers, rest], time.monotonic() - began

    with _serving(classifier) as serving:
        answers, seconds = asyncio.run(crawl(serving.port))
    assert answers == [b"200", b"200", b""]
    assert seconds >= 0.9


def test_a_body_that_is_too_long_is_refused_before_it_is_there_and_too_many_long_ones_wait(
    classifier: Classifier,
) -> None:
    async def endless(port: int) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
                await writer.drain()
                if reader.at_eof() or reader._buffer:  # type: ignore[attr-defined]
                    break
        answer = await reader.readline()
        writer.close()
        return answer

    async def flood(serving: Serving) -> Counter[int]:
        """Bodies whose last byte does not come: each is held until its client goes."""
        open_ = [await asyncio.open_connection(LOOPBACK, serving.port) for _ in range(20)]
        for _, writer in open_:
            writer.write(_request(body=b" " * 90_000, length=90_001))
            await writer.drain()
        while serving.count(429) < 12:
            await asyncio.sleep(0.05)
        for _, writer in open_:
            writer.transport.abort()
        while serving.count(400) < 8:
            await asyncio.sleep(0.05)
        status, _ = await _ask(serving.port, _request())  # what they held is free again
        return Counter({429: int(serving.count(429)), status: 1})

    with _serving(classifier, HTTP_MAX_BYTES="100000") as serving:
        assert b" 413 " in asyncio.run(endless(serving.port))
        assert asyncio.run(flood(serving)) == {429: 12, 200: 1}


# --- its own document ---------------------------------------------------------------------------------------------


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """Two holders, one of whom may ask seldom."""
    hashes = [sha256(token).hexdigest() for token in (b"often", b"seldom")]
    (tmp_path / "tokens").write_text(f"often:{hashes[0]}:100000\nseldom:{hashes[1]}:2\n")
    return Tokens.read(tmp_path / "tokens")


@pytest.fixture
def api(classifier: Classifier) -> Iterator[Api]:
    """The API of a ready service without history."""
    metrics = Metrics()
    inference = Inference(classifier, metrics, max_waiting=32)
    health = Health(warm=True, joined=True, turned=math.inf)  # as if its loop turned
    yield Api(Settings.from_env({}), inference=inference, history=None, metrics=metrics, health=health)
    inference.close()


@pytest.fixture
def document(
    api: Api, tokens: Tokens, classifier: Classifier, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> BaseSchema:
    """The OpenAPI document of a service that knows a classification of object 7."""
    api.history = History(connect(valkey.url), ttl=timedelta(days=1), max_points=100, window_days=395)
    assert api.history.check() is None
    known = classifier.classify(alerts.batch(alerts.elasticc()))
    full = np.ones(1, dtype=np.bool_)
    (datum,) = broker_classifications(
        known, classifier, broker=("b", "1"), published_ms=[1], ingested_ms=2, full_history=full
    )
    api.history.remember([(7, alerts.FIRST_MJD, datum)])
    monkeypatch.setattr("service.reconcile.apart", lambda *_, **__: {"complete": True})  # a test below has the real one
    return schemathesis.openapi.from_asgi("/openapi.json", create_app(api, tokens=tokens))


def _operations(document: BaseSchema) -> Iterator[Any]:
    for operation in document.get_all_operations():
        assert isinstance(operation, Ok)
        yield operation.ok()


def test_the_api_does_what_its_openapi_document_says(document: BaseSchema) -> None:
    # JSON Schema cannot say that lists are equally long, or which bytes are Avro: a valid body may be refused for it.
    schemathesis.serializer("application/avro")(lambda _, value: getattr(value, "data", str(value).encode()))
    tried: Counter[str] = Counter()
    health_checks = list(HealthCheck)

    def validate(operation: Any) -> None:
        @settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=health_checks)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            tried[operation.label] += 1
            case.call_and_validate(headers=_as("often"), excluded_checks=[positive_data_acceptance])

        ask()

    for operation in _operations(document):
        validate(operation)
    known = {"POST /v1/classify", "GET /v1/objects/{diaObjectId}", "GET /v1/reconciliation", "GET /metrics"}
    assert known <= set(tried)
    assert tried["POST /v1/classify"] >= 30


def test_whatever_the_document_offers_succeeds_with_an_answer_of_the_form_that_it_says(document: BaseSchema) -> None:
    """What is made up at random may be refused each time, and no object of that name be known."""
    body = document.raw_schema["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["example"]
    given: dict[str, dict[str, Any]] = {
        "POST /v1/classify": {"query": {"embedding": "true"}, "body": body, "media_type": "application/json"},
        "GET /v1/objects/{diaObjectId}": {"path_parameters": {"diaObjectId": 7}},
        "GET /v1/reconciliation": {"query": {"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"}},
    }
    answers = {}
    for operation in _operations(document):
        case = operation.Case(**given.get(operation.label, {}))
        answers[operation.label] = answer = case.call_and_validate(headers=_as("often"))
        assert answer.status_code == 200, operation.label
        assert answer.content, operation.label
    (result,) = answers["POST /v1/classify"].json()["results"]
    assert result["predicted"] in result["probabilities"]
    assert result["embedding"]
    assert answers["GET /v1/objects/{diaObjectId}"].json()["diaObjectId"] == "7"


# --- limits and the reconciliation --------------------------------------------------------------------------------


def _as(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def test_each_token_has_its_own_rate(api: Api, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("service.auth.monotonic", lambda: now[0])
    with TestClient(create_app(api, tokens=tokens)) as client:

        def ask(who: str, times: int) -> list[int]:
            return [client.get("/v1/model", headers=_as(who)).status_code for _ in range(times)]

        assert ask("seldom", 6) == [200] * 4 + [429] * 2  # two seconds' worth at once
        refused = client.get("/v1/model", headers=_as("seldom"))
        assert (refused.headers["retry-after"], refused.json()["detail"]) == ("1", "more than 2 requests a second")
        assert ask("often", 20) == [200] * 20
        assert client.get("/healthz").status_code == 200
        now[0] += 1.0
        assert ask("seldom", 3) == [200, 200, 429]
        now[0] += 100.0
        assert ask("seldom", 5) == [200] * 4 + [429]


@pytest.mark.parametrize("rate", ["0", "-1", "x", "1e3", ""])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: str) -> None:
    (tmp_path / "tokens").write_text(f"a:{'0' * 64}:{rate}\n")
    with pytest.raises(Misconfigured, match=r"line 1 of .* is not name:sha256"):
        Tokens.read(tmp_path / "tokens")


def test_one_reconciliation_at_a_time_and_only_for_holders_of_tokens(
    api: Api, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ending = threading.Event(), threading.Event()

    def apart(*_: object, **__: object) -> dict[str, bool]:
        begun.set()
        assert ending.wait(30)
        return {"complete": True}

    monkeypatch.setattr("service.reconcile.apart", apart)
    window = "/v1/reconciliation?from=2026-01-01T00:00:00&to=2026-01-02T00:00:00"
    with TestClient(create_app(api)) as open_client:
        assert open_client.get(window).status_code == 403
    with TestClient(create_app(api, tokens=tokens)) as client:
        assert client.get(window).status_code == 401
        assert client.get("/v1/reconciliation?from=yesterday&to=x", headers=_as("often")).status_code == 422
        answers: list[Any] = []
        first = threading.Thread(target=lambda: answers.append(client.get(window, headers=_as("often"))))
        first.start()
        assert begun.wait(30)
        second = client.get(window, headers=_as("often"))
        assert (second.status_code, "one at a time" in second.text) == (429, True)
        assert "retry-after" in second.headers
        ending.set()
        first.join()
        assert (answers[0].status_code, answers[0].json()) == (200, {"complete": True})
        reversed_ = "/v1/reconciliation?from=2026-01-02T00:00:00&to=2026-01-01T00:00:00"
        assert client.get(reversed_, headers=_as("often")).status_code == 422
        # It is the service's fault, and not the client's, if Kafka refuses its password.
        for error in (KafkaUnavailable("Kafka does not answer"), Refused("Kafka: Authentication failed")):
            monkeypatch.setattr("service.reconcile.apart", Mock(side_effect=error))
            failed = client.get(window, headers=_as("often"))
            assert (failed.status_code, failed.json()) == (503, {"detail": str(error)})

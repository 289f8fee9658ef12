"""The schema registry over real HTTP: what it definitely says is kept, and what it fails to say is asked for again."""

import base64
import contextlib
import json
import socket
import time
import urllib.request
from collections.abc import Iterator

import pytest

from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from service.errors import Misconfigured, RegistryUnavailable
from service.registry import Registry
from tests import alerts
from tests.service.confluent import GOOD, NO_SUCH_ID, Confluent


def test_an_id_is_asked_for_once_and_remembered(confluent: Confluent) -> None:
    registry = Registry(confluent.url)
    first = registry.schema(4711)
    assert isinstance(first, dict)
    assert first["name"] == "alert"
    assert registry.schema(4711) is first
    assert confluent.asked == [("/schemas/ids/4711", None)]


def test_an_id_that_there_is_not_is_asked_for_again_a_minute_later(
    confluent: Confluent, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(confluent.url)
    confluent.status, confluent.body = 404, NO_SUCH_ID
    assert registry.schema(4711) is None
    confluent.status, confluent.body = 200, GOOD
    assert registry.schema(4711) is None
    assert len(confluent.asked) == 1
    later = time.monotonic() + 61
    monkeypatch.setattr("service.registry.time.monotonic", lambda: later)
    assert registry.schema(4711) is not None


def test_an_id_that_no_registry_can_have_is_none_though_a_registry_would_call_it_a_wrong_address(
    confluent: Confluent,
) -> None:
    confluent.status, confluent.body = 404, b'{"error_code":404,"message":"HTTP 404 Not Found"}'
    registry = Registry(confluent.url)
    assert registry.schema(2**31) is None
    assert registry.schema(2**32 - 1) is None
    with pytest.raises(RegistryUnavailable, match="answers 404"):
        registry.schema(2**31 - 1)
    assert confluent.asked == [("/schemas/ids/2147483647", None)]


def test_an_alert_of_id_0_is_no_framed_one_whose_schema_the_registry_must_know(confluent: Confluent) -> None:
    confluent.status, confluent.body = 404, b'{"error_code":404,"message":"HTTP 404 Not Found"}'
    bare = alerts.datum(alerts.elasticc(alerts.source(2**40, alerts.FIRST_MJD), alert_id=0))
    decoded = alert_batch([avro.unread(bare, schema_by_id=Registry(confluent.url).schema)])
    assert decoded.alerts.dia_source_id.tolist() == [2**40]


@pytest.mark.parametrize(
    "answer",
    [
        {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3";'},
        {"schemaType": "JSON", "schema": "{}"},
        {"schema": "{}"},
        {"schema": '{"type": "array", "items": ' * 5000 + '"long"' + "}" * 5000},
        {"schema": '"elsewhere.Alert"', "references": [{"name": "elsewhere.Alert", "subject": "a", "version": 1}]},
    ],
)
def test_an_id_of_no_schema_that_can_be_read_is_definitely_none(confluent: Confluent, answer: object) -> None:
    registry = Registry(confluent.url)
    confluent.body = json.dumps(answer).encode()
    assert registry.schema(4711) is None
    assert registry.schema(4711) is None
    assert len(confluent.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "cut", "reason"),
    [
        (404, b"<html>no such page</html>", 0, "answers 404"),
        (404, b'["no"]', 0, "answers 404"),
        (404, NO_SUCH_ID, 9, "answers 404"),
        (500, b"", 0, "answers 500"),
        (200, GOOD, 9, "breaks off"),
        (200, b"<html>log in first</html>", 0, "no schema"),
        (200, b"[1, 2]", 0, "no schema"),
        (200, b'{"subject": "alerts"}', 0, "no schema"),
        (200, b'{"schema": 5}', 0, "no schema"),
    ],
)
def test_any_other_answer_is_none_and_the_id_is_asked_for_again(
    confluent: Confluent, status: int, body: bytes, cut: int, reason: str
) -> None:
    registry = Registry(confluent.url)
    confluent.status, confluent.body, confluent.cut = status, body, cut
    with pytest.raises(RegistryUnavailable, match=reason):
        registry.schema(4711)
    confluent.status, confluent.body, confluent.cut = 200, GOOD, 0
    assert registry.schema(4711) is not None


@pytest.fixture
def silent(confluent: Confluent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that takes questions and does not answer."""
    monkeypatch.setattr("service.registry._TIMEOUT_SECONDS", 0.2)
    confluent.silent.clear()
    yield Registry(confluent.url)
    confluent.silent.set()


def test_after_a_time_out_other_ids_are_not_asked_for_until_a_while_later(
    confluent: Confluent, silent: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for schema_id in range(5000, 5020):
        with pytest.raises(RegistryUnavailable, match="cannot be reached: timed out"):
            silent.schema(schema_id)
    assert [path for path, _ in confluent.asked] == ["/schemas/ids/5000"]
    assert silent.schema(1100) == schemas.rubin(1100)  # bundled: nobody need be asked
    confluent.silent.set()
    monkeypatch.setattr("service.registry.time.monotonic", lambda: float("inf"))
    assert silent.schema(5001) is not None


def test_a_registry_that_does_not_answer_is_asked_less_and_less_often(
    confluent: Confluent, silent: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    asked_at = []
    for second in range(120):
        monkeypatch.setattr("service.registry.time.monotonic", lambda now=now + second: now)
        before = len(confluent.asked)
        with pytest.raises(RegistryUnavailable):
            silent.schema(5000)
        if len(confluent.asked) > before:
            asked_at.append(second)
    assert asked_at == [0, 3, 9, 21, 45, 75, 105]


def test_a_registry_that_is_away_is_unavailable() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(RegistryUnavailable, match="refused"):
        Registry(f"http://127.0.0.1:{port}").schema(4711)


def test_a_password_in_the_address_is_sent_and_not_shown(confluent: Confluent) -> None:
    registry = Registry(confluent.url.replace("http://", "http://me:hunter2@"))
    confluent.status = 500
    with pytest.raises(RegistryUnavailable) as error:
        registry.schema(4711)
    assert confluent.asked == [("/schemas/ids/4711", "Basic bWU6aHVudGVyMg==")]
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("encoded", "password"), [("p%40ss%2Fword%23", "p@ss/word#"), ("p+ss", "p+ss")])
def test_a_password_may_have_any_characters_percent_encoded(confluent: Confluent, encoded: str, password: str) -> None:
    Registry(confluent.url.replace("http://", f"http://m%3Ae:{encoded}@")).schema(4711)
    token = base64.b64encode(f"m:e:{password}".encode()).decode()
    assert confluent.asked == [("/schemas/ids/4711", f"Basic {token}")]


def test_an_address_may_be_of_ipv6_without_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_(request: urllib.request.Request, **_: object) -> None:
        asked.append(request.full_url)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", open_)
    with pytest.raises(RegistryUnavailable):
        Registry("http://me:word@[2001:db8::1]/registry/").schema(4711)
    assert asked == ["http://[2001:db8::1]/registry/schemas/ids/4711"]


@pytest.mark.parametrize(
    "url", ["http://me:secret#ss@host:8081", "http://me:secret/ss@host:80", "http://me:secret?@h:1"]
)
def test_a_password_that_is_not_encoded_is_told_without_a_word_of_it(url: str) -> None:
    with pytest.raises(Misconfigured, match="percent-encoded") as error:
        Registry(url)
    assert "secret" not in str(error.value)


def test_without_an_address_only_bundled_schemas_are_known() -> None:
    assert Registry(None).schema(4711) is None
    with pytest.raises(Misconfigured, match="no http"):
        Registry("registry:8081")

"""The same alert gives the same probabilities through the command line, HTTP and Kafka, given the same history."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models.classifier import Classifier
from models.inputs.alert import alert_batch
from models.inputs.avro import message, messages
from service.__main__ import main
from service.api import Api, create_app
from service.health import Health
from tests import alerts
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Running, Topics, decoded, running


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    """The shipped model."""
    return Classifier.load()


def _elasticc(data: Path, name: str) -> list[bytes]:
    values = list(messages((data / "elasticc" / "alerts" / name).read_bytes()))
    assert all(isinstance(value, bytes) for value in values)
    return [value for value in values if isinstance(value, bytes)]


def _epoch(value: bytes) -> float:
    (epoch,) = alert_batch([message(value)]).alerts.epoch
    return float(epoch)


def _by_command(values: list[bytes], directory: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, float]]:
    directory.mkdir()
    paths = [directory / f"{place:05d}" for place in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        path.write_bytes(value)
    assert main(["classify", *map(str, paths)]) == 0
    return [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]


def _by_http(values: list[bytes], up: Running, topics: Topics, *, history: bool) -> list[dict[str, float]]:
    health = Health(warm=True, joined=True)
    api = Api(topics.settings(), inference=up.inference, history=up.history, metrics=up.metrics, health=health)
    answers = []
    with TestClient(create_app(api)) as client:
        for value in values:
            headers = {"content-type": "application/avro"}
            answer = client.post(f"/v1/classify?history={history}".lower(), content=value, headers=headers)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json()["results"][0]["probabilities"])
    return answers


def _by_kafka(topics: Topics, shipped: Classifier, count: int) -> list[dict[str, float]]:
    names = dict(zip(shipped.taxonomy.class_ids, shipped.taxonomy.names, strict=True))
    seen = sorted(topics.wait_for(count), key=lambda one: one.origin)
    return [
        {names[entry["classId"]]: entry["probability"] for entry in record["classifications"]}
        for record in decoded(seen)
    ]


def _same(one: list[dict[str, float]], two: list[dict[str, float]]) -> None:
    assert len(one) == len(two)
    for left, right in zip(one, two, strict=True):
        assert left == pytest.approx(right, abs=1e-5)


def _generated() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [alerts.datum(alerts.random_elasticc(rng, 1 + number % 40, alert_id=number)) for number in range(80)]


def _sparse(*, with_past: bool = False) -> list[bytes]:
    """Alerts of ten objects in time order, each of which carries its own detection alone: the rest is to be remembered.

    Every third carries forced photometry as well, of before the alert that came before it, which did not have it yet.
    ``with_past``: each carries besides all that the earlier ones of its object have carried.
    """
    rng = np.random.default_rng(1)
    made = []
    detections: dict[int, list[alerts.Record]] = defaultdict(list)
    measured: dict[int, list[alerts.Record]] = defaultdict(list)
    for number in range(80):
        mjd = alerts.FIRST_MJD + number / 2
        flux, late = float(rng.normal(900, 300)), float(rng.normal(-2000, 100))
        forced = [alerts.forced(90_000 + number, mjd - 6, flux=late)] if number % 3 == 0 and number >= 20 else []
        trigger = alerts.source(10_000 + number, mjd, band="gri"[number % 7 % 3], flux=flux)
        name = 1 + number % 10
        measured[name].extend(forced)
        carried = {"previous": detections[name], "forced": measured[name]} if with_past else {"forced": forced}
        made.append(alerts.datum(alerts.elasticc(trigger, alert_id=number, object_=alerts.dia_object(name), **carried)))
        detections[name].append(trigger)
    return made


@pytest.mark.parametrize("kind", ["generated", "real"])
def test_without_history_three_ways_give_one_answer(  # noqa: PLR0917
    kafka: str,
    shipped: Classifier,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    topics = Topics(kafka, partitions=1)
    values = (
        _generated() if kind == "generated" else _elasticc(request.getfixturevalue("data"), "tallam.gentype51.avro")
    )
    topics.send(values)
    with running(topics, shipped) as up:
        streamed = _by_kafka(topics, shipped, len(values))
        asked = _by_http(values, up, topics, history=False)
    _same(streamed, asked)
    _same(streamed, _by_command(values, tmp_path / "files", capsys))


def _remembered(
    topics: Topics, values: list[bytes], shipped: Classifier, valkey: ValkeyServer
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """What a stream with its history answers, which a replay and requests must, too; and what alerts get alone."""
    topics.send(values)
    with running(topics, shipped, redis_url=valkey.url) as up:
        first = _by_kafka(topics, shipped, len(values))
        replayed = Topics(topics.servers, partitions=1)
        replayed.send(values)
        with running(replayed, shipped, redis_url=valkey.url):
            again = _by_kafka(replayed, shipped, len(values))
        asked = _by_http(values, up, topics, history=True)
        alone = _by_http(values, up, topics, history=False)
    assert {one.headers["history"] for one in topics.read()} == {"full"}
    _same(first, again)
    _same(first, asked)
    return first, alone


def test_after_its_earlier_alerts_an_alert_gets_one_answer_by_stream_and_by_request(
    kafka: str, data: Path, shipped: Classifier, valkey: ValkeyServer
) -> None:
    """Replayed, or asked again over HTTP when everything is cached, an alert still gets what it got in the stream."""
    values = sorted(_elasticc(data, "finktut.gentype35.avro"), key=_epoch)
    _remembered(Topics(kafka, partitions=1), values, shipped, valkey)


def test_what_alerts_lack_is_remembered_and_no_more_than_was_known_whichever_way_they_come(
    kafka: str, shipped: Classifier, valkey: ValkeyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = Topics(kafka, partitions=1)
    first, alone = _remembered(topics, _sparse(), shipped, valkey)
    changed = [any(abs(one[name] - two[name]) > 1e-3 for name in one) for one, two in zip(first, alone, strict=True)]
    assert not any(changed[:10])  # the first of each object has nothing to be remembered
    assert sum(changed[10:]) > 60
    _same(first, _by_command(_sparse(with_past=True), tmp_path / "files", capsys))


def test_all_real_elasticc_alerts_go_through_kafka_once(kafka: str, data: Path, shipped: Classifier) -> None:
    topics = Topics(kafka, partitions=4)
    names = sorted(path.name for path in (data / "elasticc" / "alerts").glob("*.avro"))
    values = [value for name in names for value in _elasticc(data, name)]
    keys = _keys(values)
    topics.send(values, keys=keys)
    with running(topics, shipped):
        seen = topics.wait_for(len(values), seconds=180)
    assert len(values) == len(seen) == len({one.origin for one in seen}) == 13_747
    assert {one.topic for one in seen} == {topics.classifications}
    order: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for one in seen:
        order[(one.key or b"").decode()].append(one.origin)
    assert all(origins == sorted(origins) for origins in order.values())
    sent = {key: keys.count(key) for key in set(keys[:50])}
    assert {key: len(order[key]) for key in sent} == sent
    totals = [sum(entry["probability"] for entry in record["classifications"]) for record in decoded(seen)]
    np.testing.assert_allclose(totals, 1, atol=1e-5)


def _keys(values: list[bytes]) -> list[str]:
    return [str(id_) for id_ in alert_batch([message(value) for value in values]).alerts.dia_object_id]

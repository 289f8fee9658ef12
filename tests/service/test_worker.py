"""The stream on a real Apache Kafka: every message answered once, in one transaction with its offset."""

import contextlib
import copy
import json
import math
import signal
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import redis
import torch
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from fastapi.testclient import TestClient

from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from service.api import Api, create_app
from service.errors import Fatal, Misconfigured, RegistryUnavailable, TransactionAborted
from service.inference import Inference
from service.kafka.local import InProcessCluster
from service.kafka.messages import Message, Output
from service.kafka.stream import KafkaStream
from service.metrics import Metrics
from service.outputs import read_result
from service.registry import Registry
from service.settings import Settings
from tests import alerts
from tests.servers import LOOPBACK, free_ports
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Running, Topics, decoded, running, served, toy_alerts, until

POISON = b"not an alert"
KINDS = ("in", "out", "dead")
"""Of topics: what their names end with."""


def test_every_message_has_one_answer_and_a_bad_one_is_a_dead_letter(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(200)
    for place in (3, 77, 150):
        values[place] = POISON
    topics.send(values, keys=keys)
    before = time.time() * 1000
    with running(topics, classifier) as up:
        seen = topics.wait_for(200)
        up.stop()
        assert up.metric("classifier_alerts_total", outcome="classified", schema="v0_9_1") == 197
        assert up.metric("classifier_alerts_total", outcome="dead_letter", schema="unknown") == 3
        assert up.metric("classifier_transactions_total", outcome="aborted") == 0
        assert up.metric("classifier_alert_latency_seconds_count") == 200
        assert up.metric("classifier_history_total", kind="alert_only") == 197
        assert up.metric("classifier_history_up") == 0
        names = zip(classifier.taxonomy.class_ids, classifier.taxonomy.names, strict=True)
        predicted = {id_: up.metric("classifier_predicted_total", **{"class": name}) for id_, name in names}
    assert len({one.origin for one in seen}) == len(seen) == topics.committed() == 200
    dead = [one for one in seen if one.topic == topics.dead_letters]
    assert [one.value for one in dead] == [POISON] * 3
    assert all("no ELAsTiCC schema reads" in one.headers["reason"] for one in dead)

    good = [one for one in seen if one.topic == topics.classifications]
    best = Counter(
        max(record["classifications"], key=lambda entry: float(entry["probability"]))["classId"]
        for record in decoded(good)
    )
    assert predicted == {id_: best[id_] for id_ in predicted}
    for one, record in zip(good, decoded(good), strict=True):
        assert one.headers["history"] == "alert_only"
        assert one.headers["model-version"] == "toy/1"
        assert one.key == str(1 + record["alertId"] % 10).encode()
        assert {entry["classId"] for entry in record["classifications"]} == {2222, 2224, 2332}
        assert sum(entry["probability"] for entry in record["classifications"]) == pytest.approx(1, abs=1e-5)
        published = record["elasticcPublishTimestamp"].timestamp() * 1000
        assert published == int(one.headers["origin-timestamp"])
        assert record["brokerIngestTimestamp"].timestamp() * 1000 >= before - 1


def test_the_order_of_an_object_is_kept(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(300)
    topics.send(values, keys=keys)
    with running(topics, classifier, BATCH_ALERTS="37"):
        seen = topics.wait_for(300)
    by_key = defaultdict(list)
    for one in seen:
        by_key[one.key].append(one.origin[2])
    assert all(offsets == sorted(offsets) for offsets in by_key.values())


class _FailsOnce(KafkaStream):
    """A stream whose third transaction is aborted half-way, as by a fault of Kafka."""

    transactions = 0

    @contextlib.contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        self.transactions += 1
        with super().transaction(messages) as send:
            yield send
            if self.transactions == 3:
                raise TransactionAborted("as if Kafka had failed")


class _FailsOnceWithoutRewind(_FailsOnce):
    def rewind(self) -> None:
        """What librdkafka does by itself: nothing."""


def _after_an_abort(kafka: str, classifier: Classifier, stream: type[KafkaStream]) -> tuple[int, Counter[object]]:
    """How many aborts there were, and how often each input was answered, when nothing more comes."""
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(200)[0])
    with running(topics, classifier, stream=stream, BATCH_ALERTS="40") as up:
        end = time.monotonic() + 20
        while topics.committed() < 200 and time.monotonic() < end:  # one of those who are asked never gets there
            time.sleep(0.2)
        aborted = int(up.metric("classifier_transactions_total", outcome="aborted"))
    return aborted, Counter(one.origin for one in topics.read())


def test_after_an_abort_the_batch_is_done_again(kafka: str, classifier: Classifier) -> None:
    aborted, answers = _after_an_abort(kafka, classifier, _FailsOnce)
    assert aborted == 1
    assert len(answers) == 200
    assert set(answers.values()) == {1}


def test_without_the_rewind_an_aborted_batch_would_be_lost(kafka: str, classifier: Classifier) -> None:
    aborted, answers = _after_an_abort(kafka, classifier, _FailsOnceWithoutRewind)
    assert aborted == 1
    assert len(answers) < 200


class _Refused(KafkaStream):
    """A stream whose transactions are aborted until Kafka has it otherwise, as where writing is forbidden."""

    refused = True

    @contextlib.contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        with super().transaction(messages) as send:
            yield send
            if _Refused.refused:
                raise TransactionAborted("as if writing were forbidden")


def test_while_every_transaction_is_aborted_the_worker_is_not_ready_and_tries_less_and_less_often(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(20)[0])
    _Refused.refused = True
    with running(topics, classifier, stream=_Refused) as up:

        def aborted() -> float:
            return up.metric("classifier_transactions_total", outcome="aborted")

        until(lambda: aborted() >= 2, what="two attempts")
        end = time.monotonic() + 7  # a probe of Kafka every five seconds finds nothing wrong
        told = []
        while time.monotonic() < end:
            told.append(up.health.unready())
            time.sleep(0.05)
        assert all("Kafka: as if writing were forbidden" in reasons for reasons in told)
        assert aborted() <= 7
        _Refused.refused = False
        assert len(topics.wait_for(20)) == 20
        until(lambda: not up.health.unready(), what="ready")


class _Overtaken(Consumer):
    """A consumer whose first seek comes to nothing, as when a rebalance overtakes it."""

    seeks = 0

    def seek(self, partition: TopicPartition) -> None:
        _Overtaken.seeks += 1
        if _Overtaken.seeks == 1:
            raise KafkaException(KafkaError(KafkaError._OUTDATED))
        super().seek(partition)


class _FailsOnceAndStays(_FailsOnce):
    """One that is overtaken, too, and must not begin anew for that."""

    consumer = _Overtaken
    closed = 0

    def close(self) -> None:
        _FailsOnceAndStays.closed += 1
        super().close()


def test_a_seek_that_was_overtaken_is_made_again_and_the_group_is_not_left_for_it(
    kafka: str, classifier: Classifier
) -> None:
    aborted, answers = _after_an_abort(kafka, classifier, _FailsOnceAndStays)
    assert (aborted, len(answers), set(answers.values())) == (1, 200, {1})
    assert (_Overtaken.seeks, _FailsOnceAndStays.closed) == (2, 1), "more than at its end"


class _Repeating(Consumer):
    """A consumer that brings everything twice, as librdkafka did after a resume (its issue 4637)."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._came: list[Any] = []

    def consume(self, *arguments: Any) -> list[Any]:
        again, self._came = self._came, []
        if again:
            return again
        self._came = super().consume(*arguments)
        return list(self._came)


class _Repeated(KafkaStream):
    """To which everything comes twice."""

    consumer = _Repeating


def test_messages_that_come_a_second_time_are_answered_once(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=2)
    topics.send(toy_alerts(60)[0])
    with running(topics, classifier, stream=_Repeated, BATCH_ALERTS="20"):
        topics.wait_for(60)
    answered = Counter(one.origin for one in topics.read())
    assert (len(answered), set(answered.values())) == (60, {1})


def test_a_message_that_the_model_fails_on_is_found_and_the_others_answered(kafka: str, classifier: Classifier) -> None:
    class Failing(Classifier):
        def classify(self, batch: object) -> object:  # type: ignore[override]
            if 13 in batch.alert_id:  # type: ignore[attr-defined]
                raise RuntimeError("arithmetic")
            return super().classify(batch)  # type: ignore[arg-type]

    failing = Failing(
        classifier.model, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="failing", version="1"
    )
    topics = Topics(kafka)
    topics.send(toy_alerts(40)[0])
    with running(topics, failing):
        seen = topics.wait_for(40)
    (dead,) = [one for one in seen if one.topic == topics.dead_letters]
    assert dead.headers["reason"] == "the model failed on it: RuntimeError"
    assert dead.value == toy_alerts(40)[0][13]


def test_a_worker_does_not_start_with_a_model_whose_answers_are_no_numbers(classifier: Classifier) -> None:
    inference = Inference(_of_nothing(classifier), Metrics(), max_waiting=1)
    with pytest.raises(Misconfigured, match="not finite"):
        inference.warm_up()
    inference.close()


def test_a_model_whose_answers_are_no_numbers_any_more_gives_up_no_alert(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    topics.send(toy_alerts(40)[0])
    with running(topics, _of_nothing(classifier), fails=Fatal) as up:
        until(lambda: bool(up.failure), what="the worker ends")
    assert "fails on everything" in str(up.failure[0])
    assert "not finite" in str(up.failure[0])
    assert topics.read() == []
    assert topics.committed() == 0


def _of_nothing(classifier: Classifier) -> Classifier:
    """As after a training that diverged, or on a broken GPU."""
    model = copy.deepcopy(classifier.model)
    with torch.no_grad():
        for weights in model.module.parameters():  # type: ignore[attr-defined]
            weights.fill_(math.nan)
    return Classifier(model, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="broken", version="1")


def test_a_stop_is_heard_while_a_long_batch_is_gathered(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    with running(topics, classifier, BATCH_SECONDS="3600") as up:
        until(lambda: up.health.joined, what="it has its partition")
        topics.send(toy_alerts(1)[0])
        until(lambda: up.metric("classifier_stage_seconds_count", stage="decode") == 1, what="the first is polled")
        before = up.health.turned
        until(lambda: up.health.turned > before + 1, what="the loop turns")
        up.stop()
        assert topics.committed() == 1


@pytest.mark.parametrize(("most_alerts", "most_tokens", "alerts_a_batch"), [("8", "16384", 8), ("1024", "1", 1)])
def test_a_batch_closes_at_its_alerts_or_its_tokens(
    kafka: str, classifier: Classifier, most_alerts: str, most_tokens: str, alerts_a_batch: int
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(24)[0])  # of one point each; five seconds are time enough for all of them
    with running(topics, classifier, BATCH_SECONDS="5", BATCH_ALERTS=most_alerts, BATCH_TOKENS=most_tokens) as up:
        topics.wait_for(24)
        until(lambda: up.metric("classifier_batch_alerts_sum") == 24, what="all are counted")
        assert up.metric("classifier_batch_alerts_count") == 24 / alerts_a_batch
        most = {"le": f"{alerts_a_batch}.0"}
        assert up.metric("classifier_batch_alerts_bucket", **most) == up.metric("classifier_batch_alerts_count")


def test_what_a_batch_was_made_of_and_what_it_took_is_measured(
    kafka: str, classifier: Classifier, valkey: ValkeyServer
) -> None:
    let_go = threading.Event()

    class Held(KafkaStream):
        @contextlib.contextmanager
        def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
            with super().transaction(messages) as send:
                yield send
                let_go.wait(10)

    topics = Topics(kafka, partitions=1)
    topics.send([*toy_alerts(20)[0], POISON], seconds_ago=7200)
    topics.send(toy_alerts(1)[0], seconds_ago=-3600)  # by a clock that is an hour ahead
    with running(topics, classifier, redis_url=valkey.url, stream=Held) as up:
        started = up.metric("classifier_last_commit_timestamp_seconds")
        until(lambda: up.metric("classifier_transaction_open_since_timestamp_seconds") > started, what="one is open")
        assert up.metric("classifier_transaction_open_since_timestamp_seconds") <= time.time()
        assert up.metric("classifier_last_commit_timestamp_seconds") == started
        let_go.set()
        topics.wait_for(22)
        until(lambda: up.metric("classifier_alert_latency_seconds_count") == 22, what="all are counted")
        stages = ("decode", "history", "queue", "inference", "encode", "produce", "commit")
        batches = up.metric("classifier_transactions_total", outcome="committed")
        for stage in stages:
            assert up.metric("classifier_stage_seconds_count", stage=stage) >= batches, stage
            assert up.metric("classifier_stage_seconds_sum", stage=stage) > 0, stage
        assert up.metric("classifier_batch_tokens_sum") == 21
        (dead,) = [
            sample
            for family in up.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "classifier_dead_letters_total"
        ]
        assert (list(dead.labels), dead.value) == (["reason"], 1)
        assert started < up.metric("classifier_last_commit_timestamp_seconds") <= time.time()
        assert up.metric("classifier_alert_latency_seconds_sum") == pytest.approx(21 * 7200, rel=0.05)
        assert up.metric("classifier_clock_skew_total") == 1
        assert up.metric("classifier_alert_latency_seconds_bucket", le="0.001") >= 1  # of which it took no time
        assert up.metric("classifier_transaction_open_since_timestamp_seconds") == 0


def test_what_was_aborted_is_no_latest_classification(kafka: str, classifier: Classifier, valkey: ValkeyServer) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(20)[0])
    with redis.Redis.from_url(valkey.url) as client:
        _Refused.refused = True
        with running(topics, classifier, stream=_Refused, redis_url=valkey.url) as up:
            until(lambda: up.metric("classifier_transactions_total", outcome="aborted") >= 2, what="two attempts")
            assert client.keys("points:*")
            assert not client.keys("latest:*")
            _Refused.refused = False
            topics.wait_for(20)
            until(lambda: bool(client.keys("latest:*")), what="it is remembered")


def test_a_worker_that_has_no_partition_is_ready(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    one, two = (running(topics, classifier, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-{n}") for n in range(2))
    with one as first, two as second:
        until(lambda: not any(up.health.unready() for up in (first, second)), what="both are ready")


def test_alerts_without_an_object_are_counted_apart_from_those_whose_history_is_missing(
    kafka: str, classifier: Classifier, valkey: ValkeyServer
) -> None:
    topics = Topics(kafka, partitions=1)
    nameless = alerts.elasticc(alerts.source(1, alerts.FIRST_MJD) | {"diaObjectId": 0}, object_=None)
    topics.send([*toy_alerts(4)[0], alerts.datum(nameless)])
    with running(topics, classifier, redis_url=valkey.url) as up:
        began = time.time() - up.metric("classifier_last_commit_timestamp_seconds")
        seen = topics.wait_for(5)
        up.stop()
        found = [up.metric("classifier_history_total", kind=kind) for kind in ("full", "no_object", "alert_only")]
    assert found == [4, 1, 0]
    assert sorted((one.origin[2], one.key is None) for one in seen) == [(place, place == 4) for place in range(5)]
    assert 0 <= began < 60


def test_history_completes_later_alerts_and_says_so(kafka: str, classifier: Classifier, valkey: ValkeyServer) -> None:
    topics = Topics(kafka, partitions=1)
    values, keys = toy_alerts(30, objects=3)
    topics.send(values, keys=keys)
    with running(topics, classifier, redis_url=valkey.url, BATCH_ALERTS="7") as up:
        seen = topics.wait_for(30)
        assert up.history is not None
        until(lambda: _latest_of(up, 1) == "27", what="the last is told")
        latest = up.history.latest(1)
        api = Api(topics.settings(), inference=up.inference, history=up.history, metrics=up.metrics, health=up.health)
        with TestClient(create_app(api)) as client:
            asked, unknown = (client.get(f"/v1/objects/{number}") for number in (1, 999))
    assert latest is not None
    assert (asked.status_code, asked.json()) == (200, read_result(latest, 1))
    assert unknown.status_code == 404
    assert {one.headers["history"] for one in seen} == {"full"}
    observations = [json.loads(record["classifierParams"])["nObservations"] for record in decoded(seen)]
    assert observations == [1 + place // 3 for place in range(30)]


def _latest_of(up: Running, dia_object_id: int) -> str | None:
    """The alert that the latest classification of an object is of."""
    latest = None if up.history is None else up.history.latest(dia_object_id)
    return None if latest is None else read_result(latest, dia_object_id)["alertId"]


def test_without_redis_the_stream_goes_on_alone(kafka: str, classifier: Classifier, valkey: ValkeyServer) -> None:
    topics = Topics(kafka, partitions=1)
    valkey.kill()
    topics.send(toy_alerts(30)[0])
    with running(topics, classifier, redis_url=valkey.url) as up:
        seen = topics.wait_for(30)
        until(lambda: up.health.unready() == [], what="ready")
        assert up.history is not None
        assert up.history.fault
        until(lambda: up.metric("classifier_history_up") == 0, what="it is told of")
        assert up.metric("classifier_history_total", kind="alert_only") == 30
    assert {one.headers["history"] for one in seen} == {"alert_only"}


def test_a_redis_that_is_set_to_forget_while_it_is_used_is_used_no_more(
    kafka: str, classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker._CHECK_SECONDS", 0.5)
    topics = Topics(kafka, partitions=1)
    values, _ = toy_alerts(20)
    with (
        ValkeyServer(tmp_path / "valkey") as server,
        redis.Redis.from_url(server.url) as connection,
        running(topics, classifier, redis_url=server.url) as up,
    ):
        topics.send(values[:10])
        assert {one.headers["history"] for one in topics.wait_for(10)} == {"full"}
        connection.config_set("maxmemory-policy", "allkeys-lru")
        until(lambda: bool(up.health.history), what="it is told of")
        topics.send(values[10:])
        assert {one.headers["history"] for one in topics.wait_for(20)[10:]} == {"alert_only"}
    assert "maxmemory-policy is allkeys-lru" in str(up.health.history)


class _Unreachable(Registry):
    """A registry that is away until it is told otherwise."""

    away = True

    def schema(self, schema_id: int) -> object:  # type: ignore[override]
        if schema_id == 4711 and self.away:
            raise RegistryUnavailable("the registry is away")
        return super().schema(schema_id)


def test_an_unknown_schema_id_holds_its_partition_until_the_registry_answers(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker._RETRY_SECONDS", 1.0)
    topics = Topics(kafka, partitions=2)
    values, _ = toy_alerts(20, objects=10)
    framed = alerts.confluent(values[0], 4711)
    keys = [str(number) for number in range(20)]
    registry = _Unreachable(None)
    topics.send([*values, framed, *values], keys=[*keys, "held", *keys])
    with running(topics, classifier, registry=registry) as up:
        until(lambda: up.metric("classifier_partitions_held") == 1, what="it is held")
        end = time.monotonic() + 6
        while time.monotonic() < end:  # asked again every second, it is held all the while
            assert up.metric("classifier_partitions_held") == 1
            time.sleep(0.01)
        early = topics.read()
        assert not [one for one in early if one.value == framed]
        assert 20 <= len(early) < 41
        assert up.health.unready() == []
        assert up.health.waiting() == ["schema registry: the registry is away"]
        registry.away = False
        seen = topics.wait_for(41)
    (dead,) = [one for one in seen if one.topic == topics.dead_letters]
    assert dead.headers["schema-id"] == "4711"
    assert len({one.origin for one in seen}) == 41


def test_a_worker_whose_every_partition_waits_for_the_registry_is_not_ready(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker._RETRY_SECONDS", 1.0)
    topics = Topics(kafka, partitions=1)
    registry = _Unreachable(None)
    topics.send([alerts.confluent(toy_alerts(1)[0][0], 4711)])
    with running(topics, classifier, registry=registry) as up:
        until(lambda: up.health.unready() == ["every partition waits"], what="it waits")
        assert up.health.waiting() == ["schema registry: the registry is away"]
        registry.away = False
        topics.wait_for(1)
        until(lambda: not up.health.unready(), what="it goes on")


def test_a_held_partition_goes_on_though_another_one_went_to_another_worker_meanwhile(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker._RETRY_SECONDS", 1.0)
    topics = Topics(kafka, partitions=4)
    framed = alerts.confluent(toy_alerts(1)[0][0], 4711)
    topics.send([framed] * 40, keys=[str(number) for number in range(40)])  # some in each partition
    registry = _Unreachable(None)
    with running(topics, classifier, registry=registry) as first:
        until(lambda: first.metric("classifier_partitions_held") == 4, what="the first holds all")
        with running(topics, classifier, registry=registry, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2") as second:
            until(lambda: second.metric("classifier_partitions_held") == 2, what="the second holds what it was given")
            until(lambda: len(first.stream.assignment.next) == 2, what="the first has the others")
            registry.away = False
            seen = topics.wait_for(40)
            assert first.metric("classifier_alerts_total", outcome="dead_letter", schema="unknown") > 0
    assert len({one.origin for one in seen}) == len(seen) == 40


def test_a_partition_that_left_while_it_was_paused_is_read_again_when_it_comes_back(kafka: str) -> None:
    topics = Topics(kafka, partitions=2)
    with contextlib.closing(KafkaStream(topics.settings())) as first:
        first.open()
        until(lambda: len(first.assignment.next) == 2, what="the first has both", meanwhile=lambda: first.poll(1, 0.1))
        first.idle()
        other = topics.settings(KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2")
        with contextlib.closing(KafkaStream(other)) as second:
            second.open()

            def both_poll() -> None:
                first.idle()
                second.poll(1, 0.1)

            until(lambda: len(second.assignment.next) == 1, what="the second has one", meanwhile=both_poll)
            first.resume()
        until(lambda: len(first.assignment.next) == 2, what="it is back", meanwhile=lambda: first.poll(1, 0.1))
        topics.send([b"%d" % number for number in range(40)], keys=[str(number) for number in range(40)])
        read: set[int] = set()

        def poll() -> None:
            read.update(message.partition for message in first.poll(10, 0.1)[0])

        until(lambda: read == {0, 1}, what="both are read", meanwhile=poll)


class _Late(Consumer):
    """A consumer whose first pause comes to nothing, as of a partition that comes with the very poll after it."""

    pauses = 0

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.pauses += bool(partitions)
        if self.pauses > 1:
            super().pause(partitions)


class _Surprised(KafkaStream):
    """To which a message comes when it has paused its partition."""

    consumer = _Late


def test_a_message_that_comes_while_a_batch_takes_its_time_comes_again_when_reading_goes_on(kafka: str) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send([b"%d" % number for number in range(3)])
    read: list[bytes] = []
    with contextlib.closing(_Surprised(topics.settings())) as stream:

        def poll() -> None:
            read.extend(message.value for message in stream.poll(1, 0.1)[0])

        stream.open()
        until(lambda: len(read) == 1, what="the first is read", meanwhile=poll)  # and the others are at hand
        for _ in range(3):
            assert stream.idle() == set()
        stream.resume()
        until(lambda: len(read) == 3, what="the others are read", meanwhile=poll)
    assert read == [b"0", b"1", b"2"]


def _start_fails(topics: Topics, **values: str) -> str:
    stream = KafkaStream(topics.settings(**values))
    with contextlib.closing(stream), pytest.raises(Misconfigured) as error:
        _open_and_poll(stream)
    return str(error.value)


def _open_and_poll(stream: KafkaStream) -> None:
    stream.open()
    for _ in range(40):
        stream.poll(1, 0.5)


def test_a_first_start_wants_to_know_where_to_begin(kafka: str) -> None:
    topics = Topics(kafka)
    assert "KAFKA_CONFIG_AUTO_OFFSET_RESET" in _start_fails(topics, KAFKA_CONFIG_AUTO_OFFSET_RESET="")


def test_the_groups_strategy_is_the_services_own(kafka: str) -> None:
    with pytest.raises(Misconfigured, match="KAFKA_CONFIG_PARTITION_ASSIGNMENT_STRATEGY is range"):
        KafkaStream(Topics(kafka).settings(KAFKA_CONFIG_PARTITION_ASSIGNMENT_STRATEGY="range"))


def test_a_partition_that_is_added_later_is_read_from_its_beginning(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(5)[0])
    with running(topics, classifier):
        topics.wait_for(5)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_partitions([NewPartitions(topics.alerts, 3)]).values():
        future.result(20)
    keys = [str(number) for number in range(12)]
    topics.send(toy_alerts(12)[0], keys=keys)
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET=""):
        seen = topics.wait_for(17)
    assert len({one.origin for one in seen}) == 17
    assert len({one.origin[1] for one in seen}) == 3


def test_with_latest_still_set_a_partition_that_is_added_is_read_from_its_end(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=1)
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET="latest") as up:
        until(lambda: up.health.joined, what="it has begun")
        topics.send(toy_alerts(5)[0])
        topics.wait_for(5)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_partitions([NewPartitions(topics.alerts, 3)]).values():
        future.result(20)
    keys = [str(number) for number in range(12)]
    counts = Counter(zlib.crc32(key.encode()) % 3 for key in keys)
    topics.send(toy_alerts(12)[0], keys=keys)
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET="latest") as up:
        until(lambda: len(up.stream.assignment.next) == 3, what="it has all three")
        topics.send(toy_alerts(12)[0], keys=keys)
        seen = topics.wait_for(5 + 2 * counts[0] + counts[1] + counts[2])
    for number in (1, 2):
        offsets = sorted(one.origin[2] for one in seen if one.origin[1] == number)
        assert offsets == list(range(counts[number], 2 * counts[number]))


def test_latest_begins_at_the_end(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(10)[0])
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET="latest") as up:
        until(lambda: up.health.joined, what="it has begun")
        time.sleep(1)
        topics.send(toy_alerts(3)[0])
        seen = topics.wait_for(3)
        time.sleep(1)
    assert [one.origin[2] for one in seen] == [10, 11, 12]


@pytest.mark.parametrize(
    ("config", "values", "reason"),
    [
        ({}, {"KAFKA_OUTPUT_TOPIC": "nowhere"}, "no topic nowhere"),
        *(({kind: {"cleanup.policy": "compact"}}, {}, f"-{kind} has cleanup.policy=compact") for kind in KINDS),
        *(({kind: {"max.message.bytes": "5000"}}, {}, "max.message.bytes=5000") for kind in ("out", "dead")),
    ],
)
def test_topics_that_would_lose_messages_are_refused(
    kafka: str, config: dict[str, dict[str, str]], values: dict[str, str], reason: str
) -> None:
    assert reason in _start_fails(Topics(kafka, config=config), **values)


def test_offsets_that_retention_removed_stop_the_partition_and_are_named(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(10)[0])
    with running(topics, classifier):
        topics.wait_for(10)
    topics.send(toy_alerts(10)[0])
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topics.alerts, 0, 15)]).values():
        future.result(20)
    with running(topics, classifier) as up:
        until(lambda: bool(up.health.stopped), what="it stands still")
        (reason,) = up.health.waiting()
        assert "offsets 10 to 14 were removed by retention" in reason
        until(lambda: up.health.unready() == ["every partition waits"], what="there is no other")
        time.sleep(1)
        assert up.metric("classifier_partitions_stopped") == 1
    assert len(topics.read()) == 10


def test_an_offset_behind_the_end_is_not_taken_for_one_that_retention_removed(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(10)[0])
    group = Consumer({"bootstrap.servers": kafka, "group.id": topics.name})
    group.commit(offsets=[TopicPartition(topics.alerts, 0, 1000)], asynchronous=False)
    group.close()
    with running(topics, classifier) as up:
        until(lambda: up.health.stopped != {}, what="it stands still")
        (reason,) = up.health.waiting()
    assert "its next offset is 1000 and it ends at 10" in reason
    assert topics.read() == []


def test_a_kafka_that_does_not_tell_its_topics_settings_is_used_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    cluster = InProcessCluster(["alerts", "classifications", "dead-letters"])
    stream = KafkaStream(Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": cluster.servers}))
    stream.open()
    assert stream.poll(1, 0.1) == ([], set())
    stream.close()
    assert "the topics' settings cannot be read and are not checked" in caplog.text


def test_a_request_that_has_begun_is_answered_before_the_end(
    kafka: str, classifier: Classifier, tmp_path: Path
) -> None:
    topics = Topics(kafka, partitions=1)
    (port,) = free_ports(1)
    one = {"mjd": [60_000.0], "band": ["r"], "psfFlux": [900.0], "psfFluxErr": [20.0], "detected": [True]}
    body = json.dumps({"objects": [one] * 500}).encode()
    with served(topics, classifier, tmp_path, HTTP_PORT=str(port)) as process:
        until(lambda: _answers(port), what="ready")
        with contextlib.closing(HTTPConnection(LOOPBACK, port, timeout=30)) as client:
            client.putrequest("POST", "/v1/classify")
            client.putheader("Content-Type", "application/json")
            client.putheader("Content-Length", str(len(body)))
            client.endheaders(body[:-100])
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            client.send(body[-100:])
            answer = client.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["results"]) == 500
        assert process.wait(30) == 0


def _answers(port: int) -> bool:
    client = HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.suppress(OSError), contextlib.closing(client):
        client.request("GET", "/readyz")
        return client.getresponse().status == 200
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_next_worker_goes_on_behind_it(
    kafka: str, classifier: Classifier, tmp_path: Path, number: signal.Signals
) -> None:
    topics = Topics(kafka)
    topics.send(toy_alerts(100)[0])
    with served(topics, classifier, tmp_path) as process:
        topics.wait_for(100)
        process.send_signal(number)
        assert process.wait(30) == 0
        assert "drained" in (tmp_path / "service.log").read_text()
    topics.send(toy_alerts(50)[0])
    with running(topics, classifier):
        seen = topics.wait_for(150)
    assert len({one.origin for one in seen}) == len(seen) == 150

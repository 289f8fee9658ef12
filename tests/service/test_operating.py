"""The stream under a slow model, large messages, and workers replaced one by one."""

import contextlib
import threading
import time
from collections import defaultdict

import pytest
from confluent_kafka import Producer

from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier
from models.inputs.alert_batch import AlertBatch
from service.errors import Fatal
from service.kafka.stream import KafkaStream
from tests.service.stream import Running, Seen, Topics, running, toy_alerts, until


class _Slow(Classifier):
    """A model that takes its time with each batch of the stream."""

    seconds = 10.0

    def classify(self, batch: AlertBatch) -> Classifications:
        time.sleep(self.seconds)
        return super().classify(batch)


def _like(classifier: Classifier, kind: type[Classifier] = Classifier, *, version: str = "1") -> Classifier:
    return kind(classifier.model, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="toy", version=version)


def _each_once_in_order(seen: list[Seen], count: int) -> None:
    assert len({one.origin for one in seen}) == len(seen) == count
    by_key = defaultdict(list)
    for one in seen:
        by_key[one.key].append(one.origin[2])
    assert all(offsets == sorted(offsets) for offsets in by_key.values())


def _lag(up: Running) -> float:
    """Messages that the worker says are not answered yet."""
    where = ({"topic": topic, "partition": str(number)} for topic, number in list(up.stream.assignment.next))
    return sum(up.metric("classifier_lag_messages", **one) for one in where)


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_what_no_reader_sees_is_not_classified_and_no_lag_whatever_the_client_is_told(
    kafka: str, classifier: Classifier, isolation: str
) -> None:
    topics = Topics(kafka, partitions=1)
    values, _ = toy_alerts(5)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topics.name}-upstream"})
    producer.init_transactions(20)
    for some, end in ((values[:3], producer.commit_transaction), (values[3:], producer.abort_transaction)):
        producer.begin_transaction()
        for value in some:
            producer.produce(topics.alerts, value=value)
        producer.flush(20)
        end(20)
    where = {"topic": topics.alerts, "partition": "0"}
    with running(topics, classifier, KAFKA_CONFIG_ISOLATION_LEVEL=isolation) as up:
        topics.wait_for(3)
        until(lambda: up.metrics.registry.get_sample_value("classifier_lag_messages", where) == 0, seconds=20)
        topics.send(values[:1])
        assert len(topics.wait_for(4)) == 4
        until(lambda: up.metrics.registry.get_sample_value("classifier_lag_messages", where) == 0, seconds=20)


def test_what_is_polled_is_not_committed_for_that_whatever_the_client_is_told(kafka: str) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send([b"an alert"])
    settings = topics.settings(
        KAFKA_CONFIG_ENABLE_AUTO_COMMIT="true",
        KAFKA_CONFIG_ENABLE_AUTO_OFFSET_STORE="true",
        KAFKA_CONFIG_AUTO_COMMIT_INTERVAL_MS="100",
    )
    with contextlib.closing(KafkaStream(settings)) as stream:  # the end is when such a client commits, too
        stream.open()
        until(lambda: bool(stream.poll(1, 0.1)[0]), what="the message comes", meanwhile=lambda: None)
        time.sleep(0.5)
        assert topics.committed() == 0
    assert topics.committed() == 0


# --- a slow model -------------------------------------------------------------------------------------------------


def test_a_model_slower_than_the_poll_interval_keeps_its_partitions_and_does_nothing_twice(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(30)
    topics.send(values, keys=keys)
    batches = []

    class Counting(_Slow):
        def classify(self, batch: AlertBatch) -> Classifications:
            batches.append(len(batch))
            return super().classify(batch)

    with running(
        topics, _like(classifier, Counting), KAFKA_CONFIG_MAX_POLL_INTERVAL_MS="6500", BATCH_SECONDS="0.5"
    ) as up:
        until(lambda: _lag(up) == 30)
        topics.send(values, keys=keys)  # they wait in Kafka, their partitions paused
        until(lambda: _lag(up) == 60)
        topics.wait_for(60, seconds=120)
        assert up.metric("classifier_transactions_total", outcome="aborted") == 0
        until(lambda: up.metric("classifier_transactions_total", outcome="committed") == len(batches))
        assert up.health.unready() == []
    _each_once_in_order(topics.read(), 60)


def test_partitions_that_go_while_the_model_works_are_done_by_who_gets_them(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(40)
    topics.send(values, keys=keys)
    begun = threading.Event()

    class Noting(_Slow):
        seconds = 6.0

        def classify(self, batch: AlertBatch) -> Classifications:
            begun.set()
            return super().classify(batch)

    with running(topics, _like(classifier, Noting)):
        assert begun.wait(60)
        with running(topics, classifier, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2") as second:
            topics.wait_for(40, seconds=120)
            assert second.metric("classifier_transactions_total", outcome="committed") > 0
    _each_once_in_order(topics.read(), 40)


def test_a_model_that_hangs_ends_the_worker_and_its_batch_is_done_by_the_next(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker._MODEL_SECONDS", 3.0)
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(5)[0])
    monkeypatch.setattr(_Slow, "seconds", 6.0)
    with running(topics, _like(classifier, _Slow), fails=Fatal) as up:
        up.thread.join(40)
        assert "the model has not answered in 3 s" in str(up.failure[0])
    with running(topics, classifier):
        _each_once_in_order(topics.wait_for(5), 5)


# --- large messages -----------------------------------------------------------------------------------------------


def test_a_batch_of_large_messages_closes_at_its_bytes(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 2_000_000})
    for _ in range(40):
        producer.produce(topics.alerts, b"x" * 1_000_000)
        producer.poll(0)
    producer.flush(60)
    with running(topics, classifier, BATCH_SECONDS="5") as up:  # which is time enough for all of them
        topics.wait_for(40, seconds=120)
        assert up.metric("classifier_batch_alerts_bucket", le="32.0") == up.metric("classifier_batch_alerts_count")
        assert up.metric("classifier_batch_alerts_count") >= 2


# --- another model, one worker after the other --------------------------------------------------------------------


def test_workers_replaced_one_by_one_under_traffic_lose_nothing_and_say_which_model_answered(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=4)
    values, keys = toy_alerts(40, objects=16)
    old, new = _like(classifier), _like(classifier, version="2")
    ending, sent = threading.Event(), [0]

    def send() -> None:
        while not ending.is_set():
            topics.send(values, keys=keys)
            sent[0] += len(values)
            ending.wait(0.1)

    traffic = threading.Thread(target=send)
    with contextlib.ExitStack() as workers:

        def start(name: str, model: Classifier, *, batch: str) -> Running:
            named = running(topics, model, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-{name}", BATCH_ALERTS=batch)
            up = workers.enter_context(named)
            until(lambda: up.metric("classifier_batch_alerts_count") > 1)
            return up

        traffic.start()
        workers.callback(traffic.join)
        workers.callback(ending.set)
        first, second = start("a", old, batch="1000"), start("b", old, batch="1000")
        first.stop()
        start("a", new, batch="10")  # the settings change, too
        second.stop()
        start("b", new, batch="10")
        ending.set()
        traffic.join()
        topics.wait_for(sent[0], seconds=120)
    seen = topics.read()
    _each_once_in_order(seen, sent[0])
    by_partition = defaultdict(list)
    for one in seen:
        by_partition[one.origin[:2]].append(one)
    for answers in by_partition.values():
        answers.sort(key=lambda one: one.origin)
        assert answers[0].headers["model-version"] == "toy/1"
        assert answers[-1].headers["model-version"] == "toy/2"

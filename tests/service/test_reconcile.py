"""Reconciliation: every message of a window accounted for, and what is lost or doubled found."""

import io
import json
import threading
from datetime import UTC, datetime, timedelta

import fastavro
import pytest
from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.classifier import Classifier
from service.__main__ import main
from service.errors import KafkaUnavailable, Misconfigured
from service.reconcile import Account, Report, apart, reconcile
from tests.service.stream import CLASSIFICATION, Topics, running, toy_alerts

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Night:
    """One partition of alerts dated by hand, and outputs as a worker would publish them."""

    def __init__(self, servers: str, *, outputs: dict[str, str] | None = None) -> None:
        """``outputs``: settings of the topic of classifications."""
        self.topics = Topics(servers, partitions=1, config={"out": outputs or {}})
        self.plain = Producer({"bootstrap.servers": servers})
        self.transactional = Producer({"bootstrap.servers": servers, "transactional.id": f"{self.topics.name}-night"})
        self.transactional.init_transactions(20)

    def alerts(self, *minutes: float) -> None:
        """An alert so many minutes after noon, each."""
        for minute in minutes:
            self.plain.produce(self.topics.alerts, b"alert", timestamp=_ms(NOON + timedelta(minutes=minute)))
        self.plain.flush(20)

    def answers(self, *offsets: int, dead: bool = False, commit: bool = True, value: bytes = b"?") -> None:
        """An output for each of these offsets, in one transaction."""
        self.transactional.begin_transaction()
        for offset in offsets:
            self.transactional.produce(
                self.topics.dead_letters if dead else self.topics.classifications,
                value,
                headers=[
                    ("origin-topic", self.topics.alerts.encode()),
                    ("origin-partition", b"0"),
                    ("origin-offset", str(offset).encode()),
                    ("origin-timestamp", str(_ms(NOON + timedelta(minutes=offset))).encode()),
                ],
            )
        if commit:
            self.transactional.commit_transaction(20)
        else:
            self.transactional.flush(20)

    def commits(self, offset: int) -> None:
        """The group's offset, as a worker's transaction would leave it."""
        consumer = Consumer({"bootstrap.servers": self.topics.servers, "group.id": self.topics.name})
        consumer.commit(offsets=[TopicPartition(self.topics.alerts, 0, offset)], asynchronous=False)
        consumer.close()

    def report(self, begin: datetime = NOON, end: datetime = NOON + HOUR) -> Report:
        """What the reconciliation says."""
        return reconcile(self.topics.settings(), begin, end)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _forget(topic: str, servers: str, before: int) -> None:
    """What retention does."""
    admin = AdminClient({"bootstrap.servers": servers})
    (done,) = admin.delete_records([TopicPartition(topic, 0, before)]).values()
    done.result(20)


def test_a_night_that_was_classified_is_complete(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(120)
    values[7] = values[70] = b"poison"
    topics.send(values, keys=keys)
    with running(topics, classifier):
        topics.wait_for(120)
    topics.send(toy_alerts(5)[0])  # which nobody has read yet
    for name, value in topics.environment().items():
        monkeypatch.setenv(name, value)
    now = datetime.now(UTC)
    window = ["--from", (now - HOUR).isoformat(), "--to", (now + HOUR).isoformat()]
    assert main(["reconcile", *window]) == 0
    *partitions, total = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [line["partition"] for line in partitions] == [0, 1]
    assert all(line["missingOffsets"] == line["doubleOffsets"] == [] for line in partitions)
    assert total["complete"] is True
    assert (total["messages"], total["classified"], total["deadLettered"], total["inFlight"]) == (125, 118, 2, 5)


def test_what_is_missing_or_double_is_found_listed_and_an_error(
    kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    night = Night(kafka)
    night.alerts(*range(10))
    night.answers(0, 1, 5, 7)
    night.answers(2, dead=True)
    night.answers(1, 2)  # a second time, and as a classification beside a dead letter
    night.commits(8)
    (one,) = night.report().partitions
    assert one.missing == [(3, 4), (6, 6)]
    assert one.double == [(1, 2)]
    assert one.account == Account(messages=10, classified=4, dead_lettered=1, in_flight=2, missing=3, double=2)
    for name, value in night.topics.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["reconcile", "--from", NOON.isoformat(), "--to", (NOON + HOUR).isoformat()]) == 1
    assert json.loads(capsys.readouterr().out.splitlines()[0])["missingOffsets"] == [[3, 4], [6, 6]]


def test_the_window_is_of_kafkas_timestamps_in_whatever_order(kafka: str) -> None:
    night = Night(kafka)
    night.alerts(-5, 10, 70, 20, -1, 59, 60)
    night.answers(*range(7))
    night.commits(7)
    assert night.report().total == Account(messages=3, classified=3)
    assert night.report(NOON - HOUR, NOON).total == Account(messages=2, classified=2)
    assert night.report(NOON + 5 * HOUR, NOON + 6 * HOUR).total == Account()


def test_a_message_that_comes_late_is_of_its_own_window(kafka: str) -> None:
    """As of a producer that tries again while another one's go through."""
    night = Night(kafka)
    night.alerts(10, *[61 + number / 1000 for number in range(2000)], 20)
    night.answers(0)
    night.commits(2002)
    assert night.report().total == Account(messages=2, classified=1, missing=1)


def test_a_window_may_begin_when_time_did(kafka: str) -> None:
    night = Night(kafka)
    night.alerts(0)
    night.answers(0)
    night.commits(1)
    assert night.report(begin=datetime.min.replace(tzinfo=UTC)).total == Account(messages=1, classified=1)


def test_a_header_without_a_value_is_somebody_elses(kafka: str) -> None:
    night = Night(kafka)
    night.alerts(0)
    night.answers(0)
    night.transactional.begin_transaction()
    night.transactional.produce(night.topics.classifications, b"x", headers={"origin-topic": None})
    night.transactional.commit_transaction(20)
    night.commits(1)
    assert night.report().total == Account(messages=1, classified=1)


def test_what_is_declined_is_told_apart(kafka: str, classifier: Classifier) -> None:
    night = Night(kafka)
    night.alerts(0, 1)
    night.answers(0, value=_classification(declined=True))
    night.answers(1, value=_classification(declined=False))
    night.commits(2)
    assert night.report().total == Account(messages=2, classified=1, declined=1)


def _classification(*, declined: bool) -> bytes:
    record = {
        "alertId": 1,
        "diaSourceId": 1,
        "elasticcPublishTimestamp": 0,
        "brokerIngestTimestamp": 0,
        "brokerName": "b",
        "brokerVersion": "1",
        "classifierName": "c",
        "classifierParams": "{}",
        "classifications": [{"classId": 300 if declined else 2222, "probability": 1.0}],
    }
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, CLASSIFICATION, record)
    return stream.getvalue()


def test_what_retention_removed_is_unknown_and_not_missing(kafka: str) -> None:
    night = Night(kafka)
    night.alerts(*range(6))
    night.answers(0, 1, 2)
    night.commits(4)
    _forget(night.topics.alerts, kafka, 2)
    (one,) = night.report().partitions
    assert one.cut
    assert one.account == Account(messages=6, classified=1, unknown=2, missing=1, in_flight=2)
    # The outputs were published now, long after the alerts: where some of them are gone, the alerts' may be, too.
    _forget(night.topics.classifications, kafka, 1)
    assert night.report().total == Account(messages=5, classified=1, unknown=2, missing=0, in_flight=2)


@pytest.mark.parametrize(("by_size", "unknown"), [({}, 2), ({"retention.bytes": "1000000"}, 3)])
def test_where_every_output_is_gone_only_what_retention_spares_is_missing(
    kafka: str, by_size: dict[str, str], unknown: int
) -> None:
    """By time it spares what is younger than an hour, by size nothing."""
    night, now = Night(kafka, outputs={"retention.ms": "3600000", **by_size}), datetime.now(UTC)
    night.alerts(*((now - NOON) / timedelta(minutes=1) - ago for ago in (90, 70, 50)))
    night.answers(0, 1, 2)
    night.commits(3)
    _forget(night.topics.classifications, kafka, OFFSET_END)
    report = night.report(now - 2 * HOUR, now)
    assert report.total == Account(messages=3, unknown=unknown, missing=3 - unknown)


def test_an_open_transaction_is_waited_for_and_an_aborted_one_is_not_seen(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = Night(kafka)
    night.alerts(0, 1)
    night.answers(0, commit=False)
    night.commits(2)
    monkeypatch.setattr("service.kafka.reader._STALLED_SECONDS", 2.0)
    with pytest.raises(KafkaUnavailable, match="an open transaction"):
        night.report()
    monkeypatch.undo()
    ending = threading.Timer(3, lambda: night.transactional.abort_transaction(20))
    ending.start()
    assert night.report().partitions[0].missing == [(0, 1)]
    ending.join()
    night.answers(0, 1)
    assert night.report().is_complete


def test_it_is_exact_while_workers_work(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    values, keys = toy_alerts(200)
    begin = datetime.now(UTC) - HOUR
    topics.send(values, keys=keys)
    reports = [reconcile(topics.settings(), begin, begin + 2 * HOUR)]
    assert reports[0].total == Account(messages=200, in_flight=200)
    with running(topics, classifier, BATCH_ALERTS="20"):
        for _ in range(3):
            topics.send(values, keys=keys)
            reports.append(reconcile(topics.settings(), begin, begin + 2 * HOUR))
        topics.wait_for(800)
    assert all(report.is_complete for report in reports)
    assert [report.total.messages for report in reports] == [200, 400, 600, 800]
    assert reconcile(topics.settings(), begin, begin + 2 * HOUR).total == Account(messages=800, classified=800)


def test_in_a_process_of_its_own_it_fails_as_it_does_here_and_ends_in_time(kafka: str) -> None:
    settings = Topics(kafka, partitions=1).settings()
    with pytest.raises(Misconfigured, match="is empty"):
        apart(settings, NOON, NOON, seconds=60)
    with pytest.raises(KafkaUnavailable, match="not done in 0 s"):
        apart(settings, NOON, NOON + HOUR, seconds=0.01)


def test_a_topic_that_is_not_there_is_one_line(
    kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in Topics(kafka).environment(KAFKA_OUTPUT_TOPIC="nowhere").items():
        monkeypatch.setenv(name, value)
    assert main(["reconcile", "--from", "2026-01-01", "--to", "2026-01-02"]) == 2
    assert capsys.readouterr().err == "error: no topic nowhere that this client may see; none is created by itself\n"

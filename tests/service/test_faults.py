"""What must not cost an alert: frozen workers, killed servers, lost partitions, models and messages that break."""

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from service.errors import Fatal, Fenced, RegistryUnavailable, TransactionAborted
from service.kafka.messages import Message, Output, Partition
from service.kafka.stream import KafkaStream
from service.registry import Registry
from tests import alerts
from tests.servers import free_ports
from tests.servers.kafka import KafkaServer, skip_without_kafka
from tests.service.stream import Running, Seen, Topics, running, served, toy_alerts, until


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A Kafka server that may be killed and frozen."""
    skip_without_kafka()
    with KafkaServer(tmp_path / "kafka", controller_apart=True) as server:
        yield server


def _readyz(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


def _each_once(seen: list[Seen], count: int) -> None:
    assert len({one.origin for one in seen}) == len(seen) == count


class _Sending:
    """Sends the same alerts again and again, in a thread."""

    def __init__(self, topics: Topics, values: list[bytes], keys: list[str]) -> None:
        self._topics, self._values, self._keys = topics, values, keys
        self._stopping = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._stopping.is_set():
            self._topics.send(self._values, keys=self._keys)
            self.sent += len(self._values)
            self._stopping.wait(0.1)

    def stop(self) -> int:
        """End; returns how many were sent."""
        self._stopping.set()
        self._thread.join()
        return self.sent


@contextlib.contextmanager
def _sending(topics: Topics, values: list[bytes], keys: list[str]) -> Iterator[_Sending]:
    sending = _Sending(topics, values, keys)
    try:
        yield sending
    finally:
        sending.stop()


# --- the group ----------------------------------------------------------------------------------------------------


def test_a_worker_frozen_past_its_session_loses_nothing(kafka: str, classifier: Classifier, tmp_path: Path) -> None:
    topics = Topics(kafka)
    topics.send(toy_alerts(40)[0])
    sent = 40
    with served(topics, classifier, tmp_path) as process:
        topics.wait_for(sent)
        for _ in range(2):
            process.send_signal(signal.SIGSTOP)
            time.sleep(8)  # the group's session is 6 s
            topics.send(toy_alerts(300)[0])
            sent += 300
            process.send_signal(signal.SIGCONT)
            topics.wait_for(sent)
    _each_once(topics.read(), sent)


def test_workers_that_join_and_leave_take_over_from_each_other(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=4)
    values, keys = toy_alerts(40, objects=16)
    with _sending(topics, values, keys) as sending, running(topics, classifier) as first:
        until(lambda: first.metric("classifier_batch_alerts_count") > 0, seconds=40, what="the first works")
        with running(topics, classifier, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2") as second:
            until(lambda: second.metric("classifier_batch_alerts_count") > 2, seconds=40, what="the second works")
        with running(topics, classifier, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-3") as third:
            until(lambda: third.metric("classifier_batch_alerts_count") > 2, seconds=40, what="the third works")
            sent = sending.stop()
            topics.wait_for(sent)
    _each_once(topics.read(), sent)


def test_a_second_worker_of_the_same_name_ends_the_first(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka)
    topics.send(toy_alerts(20)[0])
    sent = 20
    with running(topics, classifier, fails=Fenced) as first:
        topics.wait_for(sent)
        with running(topics, classifier):
            # The first finds out with its next transaction, when its partitions have messages again.
            for _ in range(20):
                topics.send(toy_alerts(20)[0])
                sent += 20
                first.thread.join(1)
                if not first.thread.is_alive():
                    break
            assert first.metric("classifier_transactions_total", outcome="fenced") == 1
            topics.wait_for(sent)
    _each_once(topics.read(), sent)


class _Unaware(KafkaStream):
    """A stream whose client has its turns in the group without it."""

    def turn(self) -> None:
        """The client hears of the group."""
        self._consumer.consume(1, 0.1)

    def is_member(self) -> bool:
        """Whether the client is one, though the stream may not have heard of it."""
        return bool(self._consumer.memberid())

    def leave(self) -> None:
        """The client leaves the group."""
        self._consumer.unsubscribe()
        until(lambda: not self.is_member(), seconds=30, what="it has left", meanwhile=self.turn)


def _publish(stream: KafkaStream, topics: Topics, messages: list[Message]) -> None:
    with stream.transaction(messages) as send:
        send(Output(topics.classifications, key=None, value=b"an answer", headers=[]))


def test_outside_its_group_a_worker_commits_nothing(kafka: str) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send([b"an alert"])
    message = Message(topics.alerts, partition=0, offset=0, timestamp_ms=0, value=b"an alert")
    with contextlib.closing(_Unaware(topics.settings())) as stream:

        def open_and_idle() -> None:
            stream.close()
            stream.open()
            stream.idle()

        def commits_nothing() -> None:
            with pytest.raises(TransactionAborted, match="not a member"):
                _publish(stream, topics, [message])

        stream.open()
        commits_nothing()
        until(lambda: stream.assignment.joined, what="its client is a member", meanwhile=stream.turn)
        open_and_idle()
        # It may be quick to join.
        until(lambda: not stream.is_member(), what="it is outside still", meanwhile=open_and_idle)
        until(lambda: stream.assignment.joined, what="its client is a member", meanwhile=stream.turn)
        commits_nothing()  # a commit without a generation would pass for one of somebody who needs no group
        until(lambda: bool(stream.poll(1, 0.1)[0]), what="the message comes", meanwhile=lambda: None)
        stream.leave()
        commits_nothing()
    assert topics.read() == []
    assert topics.committed() == 0


def test_a_worker_that_is_stopped_while_it_joins_does_not_wait_to_know_where_it_would_begin(kafka: str) -> None:
    topics, waited = Topics(kafka, partitions=1), list[str]()
    stream = KafkaStream(topics.settings(), waiting=waited.append)
    stream.open()
    time.sleep(1)  # its client has been given the partition by then, and the stream has not heard of it
    stream.close()
    assert waited == []
    assert stream.assignment.next == {}


def test_what_was_polled_before_its_partition_went_to_another_worker_is_not_committed(kafka: str) -> None:
    topics = Topics(kafka)
    topics.send([b"an alert"] * 2, keys=["0", "4"])  # which are of different partitions
    polled: list[Message] = []
    quick = {"KAFKA_CONFIG_HEARTBEAT_INTERVAL_MS": "200"}
    other = topics.settings(KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2", **quick)
    with (
        contextlib.closing(_Unaware(topics.settings(**quick))) as first,
        contextlib.closing(KafkaStream(other)) as second,
    ):
        first.open()
        until(lambda: len(polled) == 2, what="both messages", meanwhile=lambda: polled.extend(first.poll(2, 0.1)[0]))
        second.open()

        def both_turn() -> None:
            first.turn()
            second.poll(1, 0.1)

        until(lambda: len(second.assignment.next) == 1, what="the second has one", meanwhile=both_turn)
        (gone,) = (one for one in polled if (one.topic, one.partition) in second.assignment.next)
        with pytest.raises(TransactionAborted, match="generation"):
            _publish(first, topics, [gone])
    assert topics.read() == []
    assert topics.committed() == 0


def test_a_worker_that_was_away_too_long_has_not_joined_its_group_until_it_is_back(kafka: str) -> None:
    topics = Topics(kafka, partitions=1)
    short = {"KAFKA_CONFIG_SESSION_TIMEOUT_MS": "1000", "KAFKA_CONFIG_HEARTBEAT_INTERVAL_MS": "300"}
    with contextlib.closing(KafkaStream(topics.settings(KAFKA_CONFIG_MAX_POLL_INTERVAL_MS="1000", **short))) as stream:
        stream.open()
        until(lambda: stream.assignment.joined, what="it joins", meanwhile=lambda: stream.poll(1, 0.1))

        def is_lost() -> bool:
            time.sleep(1.5)
            return bool(stream.poll(1, 0.0)[1]) and not stream.assignment.joined

        until(is_lost, seconds=20, what="its partition is lost")
        until(lambda: stream.assignment.joined, what="it joins again", meanwhile=lambda: stream.poll(1, 0.1))


def test_partitions_that_kafka_does_not_answer_for_are_told_of_and_keep_their_lag(own_kafka: KafkaServer) -> None:
    topics = Topics(own_kafka.bootstrap_servers)
    topics.send(toy_alerts(6)[0], keys=["the same"] * 6)
    stream = KafkaStream(topics.settings())
    stream.open()
    try:
        until(lambda: bool(stream.poll(1, 0.1)[0]), seconds=30, what="a message")
        until(lambda: sorted(stream.lags().values()) == [0, 6], seconds=30, what="the lag")
        os.kill(own_kafka.pid, signal.SIGSTOP)
        try:
            until(lambda: bool(stream.lags()) and len(stream.unread) == 2, seconds=30, what="nothing is answered")
            assert sorted(stream.lags().values()) == [0, 6]
        finally:
            os.kill(own_kafka.pid, signal.SIGCONT)
        until(lambda: bool(stream.lags()) and not stream.unread, seconds=60, what="all is answered")
    finally:
        stream.close()


def test_a_worker_shows_the_partitions_that_are_not_answered_for(kafka: str, classifier: Classifier) -> None:
    class Deaf(KafkaStream):
        @property
        def unread(self) -> Mapping[Partition, str]:
            return {(topics.alerts, 1): "Kafka has not answered"}

    topics = Topics(kafka)
    with running(topics, classifier, stream=Deaf) as up:
        until(lambda: up.metric("classifier_partitions_unread") == 1, seconds=30, what="it is counted")
        assert f"partition {topics.alerts}/1: Kafka has not answered" in up.health.waiting()


@pytest.mark.parametrize("where", ["earliest", "latest"])
def test_where_a_group_begins_is_kept_over_a_restart_that_comes_before_any_answer(
    kafka: str, classifier: Classifier, where: str
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(5)[0])
    old = 5 if where == "earliest" else 0
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET=where) as first:
        until(lambda: first.stream.assignment.next != {}, seconds=30, what="the partition is assigned")
        topics.wait_for(old)
    topics.send(toy_alerts(4)[0])
    with running(topics, classifier, KAFKA_CONFIG_AUTO_OFFSET_RESET=where) as second:
        until(lambda: second.stream.assignment.next != {}, seconds=30, what="the partition is assigned")
        topics.send(toy_alerts(2)[0])
        _each_once(topics.wait_for(old + 6), old + 6)


# --- Kafka --------------------------------------------------------------------------------------------------------


def test_a_kafka_that_is_killed_costs_nothing_and_the_worker_says_so_meanwhile(
    own_kafka: KafkaServer, classifier: Classifier, tmp_path: Path
) -> None:
    topics = Topics(own_kafka.bootstrap_servers)
    topics.send(toy_alerts(100)[0])
    (port,) = free_ports(1)
    with served(topics, classifier, tmp_path, HTTP_PORT=str(port)) as process:
        topics.wait_for(100)
        until(lambda: _readyz(port)[0] == 200, seconds=20, what="ready")
        own_kafka.kill()
        until(lambda: _readyz(port)[0] == 503, seconds=20, what="unready without Kafka")
        until(lambda: "Kafka" in " ".join(_readyz(port)[1]["reasons"]), seconds=20, what="and says why")
        own_kafka.start()
        topics.send(toy_alerts(50)[0])
        topics.wait_for(150, seconds=90)
        until(lambda: _readyz(port)[0] == 200, seconds=60, what="ready again")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    _each_once(topics.read(), 150)


def test_a_kafka_that_restarts_under_load_costs_nothing(
    own_kafka: KafkaServer, classifier: Classifier, tmp_path: Path
) -> None:
    topics = Topics(own_kafka.bootstrap_servers)
    values, keys = toy_alerts(100)
    with served(topics, classifier, tmp_path, BATCH_ALERTS="20"):
        topics.send(values, keys=keys)
        topics.wait_for(100)
        with _sending(topics, values, keys) as sending:
            topics.wait_for(200)
            own_kafka.kill()
            before = sending.sent
            own_kafka.start()
            until(lambda: sending.sent > before, what="it is sent to again", seconds=90)
            sent = 100 + sending.stop()
        topics.wait_for(sent, seconds=120)
    _each_once(topics.read(), sent)


class _Doubtful(Producer):
    """Its second transaction ends, one way or the other, and Kafka says that it was in no state to."""

    takes_place = True
    calls = 0

    def commit_transaction(self, *arguments: float) -> None:
        _Doubtful.calls += 1
        if self.calls != 2:
            super().commit_transaction(*arguments)
            return
        (super().commit_transaction if self.takes_place else super().abort_transaction)(*arguments)
        raise KafkaException(KafkaError(KafkaError.INVALID_TXN_STATE, "in doubt", fatal=True))


class _Doubting(KafkaStream):
    """Whose producer is in doubt."""

    producer = _Doubtful


@pytest.mark.parametrize("takes_place", [True, False])
def test_a_transaction_in_doubt_costs_nothing_and_the_worker_goes_on(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, *, takes_place: bool
) -> None:
    topics = Topics(kafka)
    monkeypatch.setattr(_Doubtful, "takes_place", takes_place)
    monkeypatch.setattr(_Doubtful, "calls", 0)
    with running(topics, classifier, stream=_Doubting) as worker:
        for sent in (20, 40, 60):
            topics.send(toy_alerts(20)[0])
            topics.wait_for(sent)
        assert worker.metric("classifier_transactions_total", outcome="aborted") == 1
    _each_once(topics.read(), 60)


class _Kept(Producer):
    """Something of its second transaction goes wrong; it can be called upon when the worker has taken another."""

    made: ClassVar[list["_Kept"]] = []
    late = False
    """Kafka is late with its answer to a commit, instead of refusing the offsets."""
    commits = offsets = 0

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.made.append(self)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self.offsets += 1
        if self is self.made[0] and self.offsets == 2 and not self.late:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, "refused"))
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: float) -> None:
        self.commits += 1
        if self is self.made[0] and self.commits == 2 and self.late:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "late", retriable=True))
        super().commit_transaction(*arguments)


class _Keeping(KafkaStream):
    """Whose producers are kept."""

    producer = _Kept


@pytest.mark.parametrize("late", [True, False])
def test_what_a_transaction_that_went_wrong_has_still_on_its_way_is_refused(
    kafka: str, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    topics = Topics(kafka, partitions=1)
    monkeypatch.setattr(_Kept, "made", [])
    monkeypatch.setattr(_Kept, "late", late)
    topics.send(toy_alerts(80)[0])
    with running(topics, classifier, stream=_Keeping, BATCH_ALERTS="20"):
        topics.wait_for(80)
    first, second = _Kept.made
    assert (first.commits, second.commits) == ((3, 2) if late else (1, 3))
    first.begin_transaction()
    first.produce(topics.classifications, b"late")
    with pytest.raises(KafkaException) as refused:
        first.commit_transaction(20)
    assert refused.value.args[0].code() in {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
    _each_once(topics.read(), 80)


def test_a_worker_waits_for_a_kafka_that_is_not_there_yet(
    own_kafka: KafkaServer, classifier: Classifier, tmp_path: Path
) -> None:
    topics = Topics(own_kafka.bootstrap_servers)
    topics.send(toy_alerts(10)[0])
    own_kafka.stop()
    with served(topics, classifier, tmp_path) as process:
        time.sleep(12)
        assert process.poll() is None
        own_kafka.start()
        _each_once(topics.wait_for(10, seconds=90), 10)


@pytest.mark.parametrize(("drain", "signals"), [("3", 1), ("300", 2)])
def test_a_drain_ends_in_time_or_at_the_second_signal_even_if_kafka_answers_no_more(
    own_kafka: KafkaServer, classifier: Classifier, tmp_path: Path, drain: str, signals: int
) -> None:
    topics = Topics(own_kafka.bootstrap_servers)
    topics.send(toy_alerts(50)[0])
    with served(topics, classifier, tmp_path, DRAIN_SECONDS=drain) as process:
        topics.wait_for(50)
        os.kill(own_kafka.pid, signal.SIGSTOP)
        try:
            for _ in range(signals):
                process.send_signal(signal.SIGTERM)
                time.sleep(1)
            process.wait(10)
        finally:
            os.kill(own_kafka.pid, signal.SIGCONT)
    topics.send(toy_alerts(50)[0])
    with running(topics, classifier):
        _each_once(topics.wait_for(100), 100)


# --- messages and models ------------------------------------------------------------------------------------------


def test_the_longest_message_that_a_topic_takes_becomes_a_dead_letter(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(3)[0])
    longest = b"x" * 1_048_000  # Kafka's own limit, less what a message is wrapped in
    producer = Producer({"bootstrap.servers": kafka, "message.max.bytes": 2_000_000})
    producer.produce(topics.alerts, longest)
    producer.flush(20)
    topics.send(toy_alerts(3)[0])
    with running(topics, classifier):
        seen = topics.wait_for(7)
    (dead,) = (one for one in seen if one.topic == topics.dead_letters)
    assert dead.value == longest


def test_a_reason_that_quotes_a_long_message_is_cut(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send([alerts.datum(alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, band="ü" * 300_000)))])
    with running(topics, classifier):
        (dead,) = topics.wait_for(1)
    assert dead.headers["reason"].startswith("unknown band 'ü")
    assert len(dead.headers["reason"].encode()) <= 500


def test_a_model_that_fails_on_everything_ends_the_worker_and_no_alert_is_given_up(
    kafka: str, classifier: Classifier
) -> None:
    class Broken(Classifier):
        def classify(self, _: object) -> Any:
            raise RuntimeError("no such device")

    broken = Broken(
        classifier.model, taxonomy=classifier.taxonomy, calibration=UNCALIBRATED, name="broken", version="1"
    )
    topics = Topics(kafka, partitions=1)
    topics.send(toy_alerts(10)[0])
    with running(topics, broken, fails=Fatal) as up:
        up.thread.join(30)
        assert "the model fails on everything: RuntimeError: no such device" in str(up.failure[0])
    with running(topics, classifier):
        seen = topics.wait_for(10)
    assert {one.topic for one in seen} == {topics.classifications}


# --- what is shown ------------------------------------------------------------------------------------------------


class _Away(Registry):
    def __init__(self) -> None:
        super().__init__(None)

    def schema(self, schema_id: int) -> Any:
        raise RegistryUnavailable(f"no answer for {schema_id}")


def test_lag_grows_while_a_partition_is_held_and_goes_when_another_worker_has_it(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=2)
    values = toy_alerts(8)[0][1:]  # the first begins with a zero, which might be Confluent's
    framed = alerts.confluent(b"unreadable", 99_999)
    registry = _Away()

    def behind(up: Running) -> dict[str, float | None]:
        """Messages that a worker says each partition is behind by; None where it says nothing of it."""
        where = {"topic": topics.alerts}
        told = up.metrics.registry.get_sample_value
        return {at: told("classifier_lag_messages", where | {"partition": at}) for at in ("0", "1")}

    with running(topics, classifier, registry=registry) as up:
        for key in ("0", "4"):  # which are of different partitions
            topics.send([framed, *values], keys=[key] * 8, seconds_ago=3600)
        until(lambda: behind(up) == {"0": 8, "1": 8}, seconds=30, what="all behind is counted")
        where = {"topic": topics.alerts, "partition": "0"}
        before = up.metric("classifier_lag_seconds", **where)
        assert before > 3600  # since the first that waits was published, however young the worker
        assert up.health.registry == "no answer for 99999"
        until(lambda: up.metric("classifier_lag_seconds", **where) > before + 1, seconds=20, what="lag grows")
        assert up.metric("classifier_partitions_held") == 2
        with running(topics, classifier, registry=registry, KAFKA_TRANSACTIONAL_ID=f"{topics.name}-2") as other:

            def is_shared() -> bool:
                one, two = behind(up), behind(other)
                return all({one[at], two[at]} == {8, None} for at in one) and None in one.values()

            until(is_shared, seconds=40, what="one partition is the other worker's, and shown by it alone")
            until(lambda: {one.metric("classifier_partitions") for one in (up, other)} == {1}, seconds=10)
            assert up.metric("classifier_rebalances_total") == 2  # two came, one went
            at = next(at for at, lag in behind(other).items() if lag is not None)
            where = {"topic": topics.alerts, "partition": at}
            until(lambda: other.metric("classifier_lag_seconds", **where) > 3600, seconds=20)

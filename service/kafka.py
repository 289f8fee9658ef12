"""Kafka: a consumer and a transactional producer that move together. The one module that imports confluent_kafka.

A batch's classifications, dead letters and consumer offsets become visible together or not at all. librdkafka leaves
four things to its user, and they are here: telling abortable errors from fatal ones, going back to the committed
offsets after an abort and after a partition was lost, never committing for a group generation that the batch was not
polled in, and getting away from calls that do not come back when Kafka was restarted.
"""

import logging
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from service.bounded import Hanging, bounded
from service.errors import Fatal, KafkaUnavailable, Misconfigured, TransactionAborted
from service.settings import Settings

log = logging.getLogger(__name__)

TRANSACTION_SECONDS = 15
"""A transaction that its worker has left behind is aborted by Kafka after this long, and delays readers until then."""

_CALL_SECONDS = 5.0
_HANGING_SECONDS = 20.0
"""A call with a time-out of _CALL_SECONDS that takes longer than this will not come back."""
_TRANSIENT = {
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._WAIT_COORD,
    KafkaError._RESOLVE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError._OUTDATED,  # a seek that was overtaken by the start of the fetching that an assignment brought
}
"""Errors that the same call may not meet again; librdkafka marks them as such in its transactional calls only."""
_HEADER_BYTES = 2048
"""What headers may add to a message on its way to the dead letters."""
_LEAST_DEAD_LETTER_BYTES = 8192
"""A dead-letter topic that takes no more than this would keep hardly any alert."""
_DEFAULT_MESSAGE_BYTES = 1_000_000
"""What librdkafka sends, unless it is told otherwise."""

Client = TypeVar("Client", Consumer, Producer)
Partition = tuple[str, int]
Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True)
class Message:
    """One message and where it is from: (topic, partition, offset) names it for ever."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """Kafka's, of the message."""
    value: bytes

    @property
    def origin(self) -> Headers:
        """The headers by which every output names its input."""
        return [
            ("origin-topic", self.topic.encode()),
            ("origin-partition", str(self.partition).encode()),
            ("origin-offset", str(self.offset).encode()),
            ("origin-timestamp", str(self.timestamp_ms).encode()),
        ]


@dataclass(frozen=True)
class Output:
    """One message to publish."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers


@dataclass
class Assignment:
    """The partitions that this worker has, and what stands in the way of some."""

    next: dict[Partition, int] = field(default_factory=dict)
    """The offset behind the last message of each partition that was answered."""
    stopped: dict[Partition, str] = field(default_factory=dict)
    """Partitions that cannot go on without an operator, and why."""
    joined: bool = False


@dataclass(frozen=True)
class _Limits:
    """``max.message.bytes`` of the output topics."""

    classification: int
    dead_letter: int

    @property
    def options(self) -> dict[str, int]:
        """A producer's: messages as long as a topic takes, and no batch longer than every topic takes."""
        return {
            "message.max.bytes": max(self.classification, self.dead_letter),
            "batch.size": min(self.classification, self.dead_letter, _DEFAULT_MESSAGE_BYTES),
        }


class KafkaStream:
    """The input topics' messages in, transactions out. To be used by one thread.

    ``waiting`` is called with a reason while a call is made again and again, so that whoever watches knows.
    """

    def __init__(self, settings: Settings, *, waiting: Callable[[str], None] = lambda _: None) -> None:
        if not settings.kafka_bootstrap_servers:
            raise Misconfigured("KAFKA_BOOTSTRAP_SERVERS is not set")
        common = {"log_level": 3, "allow.auto.create.topics": False, **settings.kafka_clients()}
        self._reset = common.pop("auto.offset.reset", None)
        if self._reset not in {None, "earliest", "latest"}:
            raise Misconfigured(f"KAFKA_CONFIG_AUTO_OFFSET_RESET is {self._reset}: earliest or latest")
        self.waiting = waiting
        self._topics = settings.input_topics
        self._output_topics = [settings.kafka_output_topic, settings.kafka_dead_letter_topic]
        self._common = common
        self._group_id = settings.kafka_group_id
        self._transactional_id = settings.kafka_transactional_id
        self.max_dead_letter_bytes = int(common.get("message.max.bytes", _DEFAULT_MESSAGE_BYTES)) - _HEADER_BYTES
        """A longer message cannot be published as a dead letter. Becomes less when Kafka refuses one."""
        self._refused_bytes = 0
        """The longest dead letter that Kafka has refused since ``open``."""
        self._begin_again()
        self._consumer = (
            self._new_consumer()
        )  # here, so that an option that Kafka's client does not know ends the start

    def _begin_again(self) -> None:
        """Forget everything of a membership in the group."""
        self.assignment = Assignment()
        self._revoked: set[Partition] = set()
        self._polled_in: Any = None
        self._failure: Exception | None = None

    def _new_consumer(self) -> Consumer:
        options = {
            "partition.assignment.strategy": "cooperative-sticky",
            **self._common,
            "group.id": self._group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            # Where a group begins is decided in _begin; a position that is gone is an error, never a silent jump.
            "auto.offset.reset": "error",
        }
        return _client(Consumer, options)

    def _new_producer(self, limits: "_Limits | None") -> Producer:
        options = {
            "linger.ms": 5,
            "compression.type": "lz4",
            **{name: value for name, value in self._common.items() if name != "allow.auto.create.topics"},
            **({} if limits is None else limits.options),
            "transactional.id": self._transactional_id,
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
            "delivery.timeout.ms": (TRANSACTION_SECONDS - 5) * 1000,
        }
        return _client(Producer, options)

    # --- start and end --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Check the topics, fence earlier runs of this worker, and join the group.

        May be called again after ``abandon``. Raises KafkaUnavailable, Misconfigured or Fatal.
        """
        self._begin_again()
        partitions, limits = self._check_topics()
        if limits is not None:
            self.max_dead_letter_bytes = limits.dead_letter - _HEADER_BYTES
        elif self._refused_bytes:
            self.max_dead_letter_bytes = min(self.max_dead_letter_bytes, self._refused_bytes // 2)
            limits = _Limits(_DEFAULT_MESSAGE_BYTES, 1)  # a message a batch: one that is refused takes no other with it
        self._refused_bytes = 0
        log.info("partitions: %s", ", ".join(f"{topic} {count}" for topic, count in partitions.items()))
        self._producer = self._new_producer(limits)
        try:
            self._transact(lambda: self._producer.init_transactions(10))
        except TransactionAborted as error:
            raise KafkaUnavailable(str(error)) from error
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._left, on_lost=self._lost)

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        try:
            bounded(self._consumer.close, _HANGING_SECONDS)
        except Hanging as error:
            log.warning("the group could not be left: %s", error)

    def abandon(self) -> None:
        """Give up the connections, perhaps with a call that hangs in one. ``open`` begins with new ones.

        Whatever transaction is open is aborted when ``open`` takes over the transactional id.
        """
        self.close()
        self._consumer = self._new_consumer()

    def _check_topics(self) -> tuple[dict[str, int], "_Limits | None"]:
        """Partitions by topic, and how long the output topics' messages may be, if that may be known."""
        admin = AdminClient({name: value for name, value in self._common.items() if name != "allow.auto.create.topics"})
        try:
            topics = admin.list_topics(timeout=_CALL_SECONDS).topics
        except KafkaException as error:
            raise KafkaUnavailable(f"no answer: {error.args[0].str()}") from error
        names = [*self._topics, *self._output_topics]
        absent = [name for name in names if name not in topics or topics[name].error is not None]
        if absent:
            raise Misconfigured(f"no topic {', '.join(absent)}: create it, with cleanup.policy=delete")
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        try:
            answers = {
                resource.name: future.result(2 * _CALL_SECONDS)
                for resource, future in admin.describe_configs(resources, request_timeout=_CALL_SECONDS).items()
            }
        except KafkaException as error:  # not allowed to, or no real Kafka
            log.warning("the topics' settings cannot be read and are not checked: %s", error.args[0].str())
            return {name: len(topics[name].partitions) for name in names}, None
        limits: dict[str, int] = {}
        for name, config in answers.items():
            policy = config["cleanup.policy"].value
            if policy != "delete":
                raise Misconfigured(f"topic {name} has cleanup.policy={policy}: it must be delete, or messages vanish")
            limits[name] = int(config["max.message.bytes"].value)
        needed = max(limits[topic] for topic in self._topics) + _HEADER_BYTES
        dead_letters = self._output_topics[1]
        if limits[dead_letters] < needed:
            text = f"topic {dead_letters} has max.message.bytes={limits[dead_letters]}, it needs {needed}"
            if limits[dead_letters] <= _LEAST_DEAD_LETTER_BYTES:
                raise Misconfigured(text)
            log.warning("%s: of a longer dead letter only size and hash will be kept", text)
        outputs = _Limits(*(limits[topic] for topic in self._output_topics))
        return {name: len(topics[name].partitions) for name in names}, outputs

    # --- the group ------------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            consumer.incremental_assign([self._begin(consumer, partition) for partition in partitions])
            stopped = [TopicPartition(*partition) for partition in self.assignment.stopped]
            consumer.pause([partition for partition in partitions if partition in stopped])
        except (KafkaException, KafkaUnavailable, Misconfigured, TransactionAborted) as error:
            self._failure = error if isinstance(error, Misconfigured) else KafkaUnavailable(str(error))
        self.assignment.joined = True

    def _begin(self, consumer: Consumer, partition: TopicPartition) -> TopicPartition:
        """Where to go on: at the committed offset; for a first start, where the operator says."""
        name = (partition.topic, partition.partition)
        low, high = self._attempt(lambda: consumer.get_watermark_offsets(partition, timeout=_CALL_SECONDS))
        (committed,) = self._attempt(lambda: consumer.committed([partition], timeout=_CALL_SECONDS))
        offset = committed.offset
        if offset < 0:
            if self._reset is None:
                where = f"{name[0]}/{name[1]}"
                raise Misconfigured(
                    f"the group has read nothing of {where} yet: set KAFKA_CONFIG_AUTO_OFFSET_RESET, earliest or latest"
                )
            offset = low if self._reset == "earliest" else high
            # Committed before anything is read: a restart that comes first must not begin elsewhere.
            first = TopicPartition(*name, offset)
            self._attempt(lambda: consumer.commit(offsets=[first], asynchronous=False))
        elif offset < low:
            self._stop(name, f"offsets {offset} to {low - 1} were removed by retention before they were read")
        self.assignment.next[name] = offset
        return TopicPartition(*name, offset)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assignment.joined = False
        self._left(consumer, partitions)

    def _left(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Revoked or lost. No transaction is open: they live between two polls, and this runs within one."""
        for partition in partitions:
            name = (partition.topic, partition.partition)
            self._revoked.add(name)
            self.assignment.next.pop(name, None)
            self.assignment.stopped.pop(name, None)
        consumer.incremental_unassign(partitions)

    def _stop(self, name: Partition, reason: str) -> None:
        if name in self.assignment.stopped:  # Kafka may tell of the same gap again, with less to say
            return
        log.error("partition %s/%d stands still: %s", *name, reason)
        self.assignment.stopped[name] = reason

    # --- reading --------------------------------------------------------------------------------------------------

    def poll(self, max_messages: int, timeout: float) -> tuple[list[Message], set[Partition]]:
        """Messages that came, and the partitions that went.

        Where some went, nothing comes and the consumer is back at the committed offsets: a partition may have gone and
        come back in one call, with its position behind messages that were not answered. What was polled since the last
        commit is to be forgotten then.
        """
        try:
            raw = self._consumer.consume(max_messages, timeout)
        except KafkaException as error:
            raise _of_consumer(error) from error
        if self._failure is not None:
            raise self._failure
        revoked, self._revoked = self._revoked, set()
        if revoked:
            self.rewind()
            return [], revoked
        messages = [message for message in map(self._message, raw) if message is not None]
        if messages:
            self._polled_in = self._consumer.consumer_group_metadata()
        return messages, revoked

    def _message(self, raw: RawMessage) -> Message | None:
        error = raw.error()
        if error is None:
            return Message(
                topic=raw.topic() or "",
                partition=raw.partition() or 0,
                offset=raw.offset() or 0,
                timestamp_ms=raw.timestamp()[1],
                value=raw.value() or b"",
            )
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            name = (raw.topic() or "", raw.partition() or 0)
            self._stop(name, "its next offset was removed by retention before it was read")
            self._consumer.pause([TopicPartition(*name)])
        elif error.fatal():
            raise Fatal(error.str())
        elif error.code() != KafkaError._PARTITION_EOF:
            log.warning("Kafka: %s", error.str())
        return None

    def hold(self, message: Message) -> None:
        """Stop reading a partition, and go back to this message of it. Raises KafkaUnavailable."""
        partition = TopicPartition(message.topic, message.partition, message.offset)
        try:
            self._consumer.pause([partition])
        except KafkaException as error:
            raise _of_consumer(error) from error
        self._seek(partition)

    def _seek(self, partition: TopicPartition) -> None:
        """Raises KafkaUnavailable."""
        try:
            self._attempt(lambda: self._consumer.seek(partition))
        except TransactionAborted as error:
            raise KafkaUnavailable(f"the consumer cannot go back: {error}") from error

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Read held partitions again."""
        mine = {(partition.topic, partition.partition) for partition in self._consumer.assignment()}
        self._consumer.resume([TopicPartition(*partition) for partition in set(partitions) & mine])

    def lags(self, *, held: Collection[Partition] = ()) -> dict[Partition, int]:
        """Messages not answered yet, by partition, as the last fetch told.

        Of a partition that is held or stands still nothing is fetched: its end is asked for.
        """
        asked = {*held, *self.assignment.stopped}
        ends = {name: self._end(TopicPartition(*name), asked=name in asked) for name in self.assignment.next}
        return {name: max(end - self.assignment.next[name], 0) for name, end in ends.items() if end >= 0}

    def _end(self, partition: TopicPartition, *, asked: bool) -> int:
        """The offset behind a partition's last message; negative if it is not known."""
        try:
            _, high = self._consumer.get_watermark_offsets(partition, cached=not asked, timeout=_CALL_SECONDS)
        except KafkaException:  # a figure for a graph: nothing depends on it
            return -1
        return high

    def probe(self) -> str | None:
        """Why Kafka does not answer; None if it does."""
        try:
            self._consumer.list_topics(self._topics[0], timeout=2.0)
        except KafkaException as error:
            reason: str = error.args[0].str()
            return reason
        return None

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        """Publish what the body sends, and the offsets of ``messages``, together.

        On any exception nothing becomes visible and the consumer is back at the committed offsets. A Kafka error that
        only this batch suffers from comes out as TransactionAborted, one that ends the process as Fatal; after
        KafkaUnavailable ``abandon`` and ``open`` are due.
        """
        try:
            self._transact(self._producer.begin_transaction)
        except TransactionAborted as error:  # the last one was not brought to an end: only a new producer can go on
            raise KafkaUnavailable(str(error)) from error
        try:
            metadata = self._membership()
            yield self._send
            offsets = _next_offsets(messages)
            self._transact(lambda: self._producer.send_offsets_to_transaction(offsets, metadata, _CALL_SECONDS))
            self._transact(lambda: self._producer.commit_transaction(_CALL_SECONDS))
            self.assignment.next |= {(one.topic, one.partition): one.offset for one in offsets}
        except (Fatal, KafkaUnavailable):
            raise
        except BaseException:
            self._abort()
            raise

    def _send(self, output: Output) -> None:
        while True:
            try:
                self._producer.produce(
                    output.topic,
                    value=output.value,
                    key=output.key,
                    headers=output.headers,
                    on_delivery=self._dead_letter_delivered if output.topic == self._output_topics[1] else None,
                )
            except BufferError:  # the local queue is full: let deliveries make room
                self._producer.poll(0.1)
            except KafkaException as error:
                self._note_size(output.topic, len(output.value), error.args[0])
                raise _outcome(error) from error
            else:
                return

    def _dead_letter_delivered(self, error: KafkaError | None, message: RawMessage) -> None:
        if error is not None:
            self._note_size(message.topic() or "", len(message), error)

    def _note_size(self, topic: str, size: int, error: KafkaError) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and topic == self._output_topics[1]:
            self._refused_bytes = max(self._refused_bytes, size)

    def _abort(self) -> None:
        try:
            self._transact(lambda: self._producer.abort_transaction(_CALL_SECONDS))
        except TransactionAborted as error:  # Kafka would not even abort: only a new producer can go on
            raise KafkaUnavailable(f"the transaction could not be aborted: {error}") from error
        self.rewind()
        if self._refused_bytes:  # done again as it is, the batch would be refused again
            raise KafkaUnavailable(f"topic {self._output_topics[1]} takes less than was known: {self._refused_bytes}")

    def rewind(self) -> None:
        """Back to the committed offsets: librdkafka goes on behind an aborted batch by itself, and would lose it.

        Raises KafkaUnavailable.
        """
        try:
            committed = self._attempt(lambda: self._consumer.committed(self._consumer.assignment(), _CALL_SECONDS))
            for partition in committed:
                name = (partition.topic, partition.partition)
                if name not in self.assignment.stopped:
                    offset = partition.offset if partition.offset >= 0 else self.assignment.next[name]
                    self._seek(TopicPartition(*name, offset))
        except (KafkaException, TransactionAborted) as error:
            raise KafkaUnavailable(f"the consumer cannot go back: {error}") from error

    def _membership(self) -> Any:
        """The group membership that the batch was polled in. Raises TransactionAborted if there is none."""
        if self._polled_in is None or _generation(self._polled_in) < 0 or not self._consumer.memberid():
            raise TransactionAborted("the worker is not a member of its group now")
        return self._polled_in

    def _attempt(self, call: Callable[[], Any], *, limit: float = TRANSACTION_SECONDS) -> Any:
        """Make a call again while Kafka says that the same call may succeed later."""
        until = time.monotonic() + limit
        pause = 0.05
        while True:
            try:
                return call()
            except KafkaException as error:
                if not _is_transient(error) or time.monotonic() > until:
                    raise _outcome(error) from error
                self.waiting(error.args[0].str())
                time.sleep(pause)
                pause = min(2 * pause, 1.0)

    def _transact(self, call: Callable[[], Any]) -> None:
        """The same for a call of the producer's, which may not come back after a restart of Kafka.

        Not for the consumer's calls: within a callback they do not get on from another thread.
        """
        try:
            self._attempt(lambda: bounded(call, _HANGING_SECONDS))
        except Hanging as error:
            raise KafkaUnavailable(f"a call to Kafka's client hangs: {error}") from error


def _client(make: Callable[[dict[str, Any]], Client], options: dict[str, Any]) -> Client:
    """A client of Kafka's. Raises Misconfigured for an option that it does not know or take."""
    try:
        return make(options)
    except (KafkaException, TypeError, ValueError) as error:
        cause = error.args[0]
        raise Misconfigured(f"Kafka's client: {cause.str() if isinstance(cause, KafkaError) else cause}") from error


def _is_transient(error: KafkaException) -> bool:
    cause: KafkaError = error.args[0]
    return cause.retriable() or cause.code() in _TRANSIENT


def _of_consumer(error: KafkaException) -> Exception:
    cause: KafkaError = error.args[0]
    return Fatal(cause.str()) if cause.fatal() else KafkaUnavailable(cause.str())


def _outcome(error: KafkaException) -> Exception:
    cause: KafkaError = error.args[0]
    if cause.fatal() or cause.code() in {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH}:
        return Fatal(cause.str())
    return TransactionAborted(cause.str())


def _next_offsets(messages: Sequence[Message]) -> list[TopicPartition]:
    offsets: dict[Partition, int] = {}
    for message in messages:
        name = (message.topic, message.partition)
        offsets[name] = max(offsets.get(name, 0), message.offset + 1)
    return [TopicPartition(*name, offset) for name, offset in offsets.items()]


def _generation(metadata: Any) -> int:
    """The generation in librdkafka's serialised group metadata: a magic word, then the generation as an int32."""
    data = bytes(metadata)
    magic = b"CGMDv2:"
    if not data.startswith(magic):
        raise Fatal(f"librdkafka's group metadata has a form that is not known: {data[:8]!r}")
    generation: int = struct.unpack_from("=i", data, len(magic))[0]
    return generation


# --- without a group or a transaction: for the commands -----------------------------------------------------------


class Publisher:
    """A plain producer, for putting alerts on a topic."""

    def __init__(self, settings: Settings) -> None:
        if not settings.kafka_bootstrap_servers:
            raise Misconfigured("KAFKA_BOOTSTRAP_SERVERS is not set")
        self._failed = 0
        options = {name: value for name, value in settings.kafka_clients().items() if name != "auto.offset.reset"}
        self._producer = Producer({"log_level": 3, "linger.ms": 5, "enable.idempotence": True, **options})

    def send(self, topic: str, *, value: bytes, key: bytes | None, headers: Headers) -> None:
        """Queue one message, waiting while the queue is full."""
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=headers, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def close(self) -> int:
        """Wait until everything is delivered; returns how many messages were not."""
        return self._producer.flush(60) + self._failed

    def _delivered(self, error: KafkaError | None, _: RawMessage) -> None:
        if error is not None:
            self._failed += 1
            log.error("not published: %s", error.str())


def read_window(
    settings: Settings, topic: str, begin: datetime, end: datetime
) -> Iterator[tuple[bytes, bytes | None, int]]:
    """What was committed to a topic from ``begin`` up to ``end`` by Kafka's timestamps: value, key, timestamp [ms]."""
    options = {name: value for name, value in settings.kafka_clients().items() if name != "auto.offset.reset"}
    consumer = Consumer(
        {"log_level": 3, **options, "group.id": f"{settings.kafka_group_id}-reader", "enable.partition.eof": True}
    )
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic]
        if known.error is not None:
            raise Misconfigured(f"no topic {topic}: {known.error.str()}")
        milliseconds = int(begin.timestamp() * 1000)
        starts = [TopicPartition(topic, number, milliseconds) for number in known.partitions]
        open_ = {p.partition: p for p in consumer.offsets_for_times(starts, timeout=10) if p.offset >= 0}
        consumer.assign(list(open_.values()))
        while open_:
            for raw in consumer.consume(500, 1.0):
                partition = raw.partition() or 0
                error = raw.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                timestamp = raw.timestamp()[1]
                if error is not None or timestamp >= end.timestamp() * 1000:
                    if open_.pop(partition, None) is not None:
                        consumer.incremental_unassign([TopicPartition(topic, partition)])
                elif partition in open_:
                    key = raw.key()
                    yield raw.value() or b"", key.encode() if isinstance(key, str) else key, timestamp
    finally:
        consumer.close()


class Tail:
    """A reader of topics from their beginning, outside of any group."""

    def __init__(self, servers: str, topics: Sequence[str]) -> None:
        options = {"bootstrap.servers": servers, "group.id": "tail", "enable.auto.commit": False, "log_level": 2}
        self._consumer = Consumer({**options, "isolation.level": "read_committed"})
        known = self._consumer.list_topics(timeout=10).topics
        self._consumer.assign([TopicPartition(name, number, 0) for name in topics for number in known[name].partitions])

    def poll(self, timeout: float) -> list[tuple[str, str, bytes, dict[str, str]]]:
        """What came: topic, key, value, headers."""
        polled = []
        for raw in self._consumer.consume(500, timeout):
            if raw.error() is None:
                pairs: Any = raw.headers() or ()
                headers = {name: value.decode() for name, value in pairs}
                key: Any = raw.key() or b""
                polled.append((raw.topic() or "", key.decode(), raw.value() or b"", headers))
        return polled

    def close(self) -> None:
        """End."""
        self._consumer.close()


class InProcessCluster:
    """librdkafka's in-process cluster, which other processes can join: for show, as it isolates no transactions."""

    def __init__(self, topics: Sequence[str]) -> None:
        self._producer = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 2})
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        for topic in topics:  # asking for a topic is what creates it there
            self._producer.list_topics(topic, timeout=10)

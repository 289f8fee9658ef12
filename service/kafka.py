"""Kafka: a consumer and a transactional producer that move together. The one module that imports confluent_kafka.

A batch's classifications, dead letters and consumer offsets become visible together or not at all. librdkafka leaves
five things to its user, and they are here: telling abortable errors from fatal ones, going back to the committed
offsets after an abort and after a partition was lost, never committing for a group generation that the batch was not
polled in, getting away from calls that do not come back when Kafka was restarted, and taking a new epoch where a
request of the last transaction may still be on its way.
"""

import logging
import math
import socket
import ssl
import struct
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from service.bounded import Hanging, bounded
from service.errors import Fatal, Fenced, KafkaUnavailable, Misconfigured, Refused, TooLong, TransactionAborted
from service.settings import Settings

log = logging.getLogger(__name__)

TRANSACTION_SECONDS = 15
"""A transaction that its worker has left behind is aborted by Kafka after this long, and delays readers until then."""

_CALL_SECONDS = 5.0
_ENDS_SECONDS = 2.0
"""So often the ends of partitions are asked for."""
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
_REFUSED = {KafkaError._AUTHENTICATION, KafkaError._SSL}
"""What trying again does not mend: who this client is, or whom it trusts."""
_FENCED = {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
_HEADER_BYTES = 2048
"""What headers may add to a message on its way to the dead letters."""
_LEAST_DEAD_LETTER_BYTES = 8192
"""A dead-letter topic that takes no more than this would keep hardly any alert."""
_DEFAULT_MESSAGE_BYTES = 1_000_000
"""What librdkafka sends, unless it is told otherwise."""

POLL_BYTES = 16 * 2**20
"""What one poll brings at most, by the topics' own max.message.bytes, and what is fetched ahead of it."""

_USUAL_BYTES = 2**20
"""Kafka's own max.message.bytes, for topics whose settings may not be read."""

_COMMON: dict[str, Any] = {
    "log_level": 2,  # what fails is told where it is handled, once, and not by each connection that is tried
    "reconnect.backoff.ms": 500,
}

Client = TypeVar("Client", Consumer, Producer, AdminClient)
Partition = tuple[str, int]
Header = tuple[str, str | bytes | None]
Headers = list[Header]


@dataclass(frozen=True)
class Message:
    """One message and where it is from: (topic, partition, offset) names it for ever."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """Kafka's, of the message."""
    value: bytes
    key: bytes | None = None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    """Of what is read outside of the group; the worker asks for none."""

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
    partition: int | None = None
    """None: the one that its key belongs to."""


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


class _Ends:
    """The ends of partitions, asked for every few seconds, whether they are fetched or not. Nothing waits for them."""

    def __init__(self, common: Mapping[str, Any]) -> None:
        options = _for_any_client(common)
        # Another leader is only looked for when topics are asked for anew.
        self._admin = _client(AdminClient, {**options, "topic.metadata.refresh.interval.ms": 10_000})
        self._asked: dict[Partition, Future[Any]] = {}
        self._ask_again = 0.0
        self.known: dict[Partition, int] = {}
        """The offset behind the last message of each partition, as it was last told."""
        self.unread: dict[Partition, str] = {}
        """Partitions that the last question was not answered of, and why."""

    def ask(self, partitions: Collection[Partition]) -> None:
        """Take what has been answered, and ask again when it is time. Other partitions are forgotten."""
        for known in (self.known, self.unread, self._asked):
            for gone in known.keys() - set(partitions):
                del known[gone]
        for name in [name for name, answer in self._asked.items() if answer.done()]:
            self._take(name, self._asked.pop(name))
        now = time.monotonic()
        if self._asked or now < self._ask_again or not partitions:
            return
        self._ask_again = now + _ENDS_SECONDS
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        answers = self._admin.list_offsets(
            {TopicPartition(*name): latest for name in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=_CALL_SECONDS,
        )
        self._asked = {(one.topic, one.partition): answer for one, answer in answers.items()}

    def _take(self, name: Partition, answer: "Future[Any]") -> None:
        try:
            end = answer.result().offset
        except KafkaException as error:
            self.unread[name] = error.args[0].str()
            return
        if end < 0:  # what Kafka's client makes of a time-out
            self.unread[name] = f"Kafka has not answered in {_CALL_SECONDS:.0f} s"
        else:
            self.known[name] = end
            self.unread.pop(name, None)


class KafkaStream:
    """The input topics' messages in, transactions out. To be used by one thread.

    ``waiting`` is called with a reason while a call is made again and again, so that whoever watches knows.
    """

    consumer: type[Consumer] = Consumer
    producer: type[Producer] = Producer
    """Kafka's clients, which a stream of another kind may have otherwise."""

    def __init__(self, settings: Settings, *, waiting: Callable[[str], None] = lambda _: None) -> None:
        common = {"allow.auto.create.topics": False, **_common(settings)}
        self._reset = settings.kafka_clients().get("auto.offset.reset")
        if self._reset not in {None, "earliest", "latest"}:
            raise Misconfigured(f"KAFKA_CONFIG_AUTO_OFFSET_RESET is {self._reset}: earliest or latest")
        self.waiting = waiting
        self._topics = settings.input_topics
        self._output_topics = [settings.kafka_output_topic, settings.kafka_dead_letter_topic]
        self._common = common
        self._group_id = settings.kafka_group_id
        self._transactional_id = settings.kafka_transactional_id
        self.max_dead_letter_bytes = _message_bytes(common) - _HEADER_BYTES
        """A longer message cannot be published as a dead letter. Becomes less when Kafka refuses one."""
        self._refused_bytes = 0
        """The longest dead letter that Kafka has refused since ``open``."""
        self._begin_again()
        self._at_once = POLL_BYTES // _USUAL_BYTES
        """Messages that one call into Kafka's client may bring."""
        self._limits: _Limits | None = None
        self._doubtful = False
        """Whether a request of the last transaction may still be on its way."""
        self._was_open = False
        self._told: str | None = None
        """What Kafka's client last told of its connections."""
        # Here, so that an option that Kafka's client does not know ends the start.
        self._consumer = self._new_consumer()
        self._ends = _Ends(common)

    def _begin_again(self) -> None:
        """Forget everything of a membership in the group."""
        self.assignment = Assignment()
        self._revoked: set[Partition] = set()
        self._polled_in: Any = None
        self._failure: Exception | None = None
        self._reads_on: dict[Partition, int] = {}
        """The offset behind the last message that came."""
        self._without_messages: dict[Partition, tuple[int, int]] = {}
        """From one offset up to another there are only ends of transactions, and what was aborted."""

    def _new_consumer(self) -> Consumer:
        options = {
            "partition.assignment.strategy": "cooperative-sticky",
            "queued.max.messages.kbytes": POLL_BYTES // 1024,
            "fetch.max.bytes": POLL_BYTES,
            **self._common,
            "error_cb": self._note,
            "group.id": self._group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # Where a group begins is decided in _begin; a position that is gone is an error, never a silent jump.
            "auto.offset.reset": "error",
        }
        return _client(self.consumer, options)

    def _new_producer(self) -> Producer:
        options = {
            "linger.ms": 5,
            "compression.type": "lz4",
            **_for_any_client(self._common),
            **({} if self._limits is None else self._limits.options),
            "transactional.id": self._transactional_id,
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
            "delivery.timeout.ms": (TRANSACTION_SECONDS - 5) * 1000,
        }
        return _client(self.producer, options)

    # --- start and end --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Check the topics, fence earlier runs of this worker, and join the group.

        May be called again after ``abandon``. Raises KafkaUnavailable, Misconfigured or Fatal.
        """
        self._begin_again()
        try:
            partitions, limits = self._check_topics()
        except Refused as error:
            if self._was_open:  # a certificate or a password that is being changed: the worker did its work with it
                raise KafkaUnavailable(str(error)) from error
            raise
        if limits is not None:
            self.max_dead_letter_bytes = limits.dead_letter - _HEADER_BYTES
        elif self._refused_bytes:
            self.max_dead_letter_bytes = min(self.max_dead_letter_bytes, self._refused_bytes // 2)
            limits = _Limits(_DEFAULT_MESSAGE_BYTES, 1)  # a message a batch: one that is refused takes no other with it
        self._refused_bytes = 0
        self._limits = limits
        log.info("partitions: %s", ", ".join(f"{topic} {count}" for topic, count in partitions.items()))
        self._take_over()
        self._was_open = True
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._left, on_lost=self._lost)

    def _take_over(self) -> None:
        """A producer of the next epoch: what earlier ones left open is aborted, and what they sent comes too late.

        Raises KafkaUnavailable or Fatal.
        """
        self._producer = self._new_producer()
        try:
            self._transact(lambda: self._producer.init_transactions(10))
        except TransactionAborted as error:
            raise KafkaUnavailable(str(error)) from error
        self._doubtful = False

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
        admin, topics = _ask(self._common)
        names = [*self._topics, *self._output_topics]
        _must_be_there(names, topics)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        try:
            answers = {
                resource.name: future.result(2 * _CALL_SECONDS)
                for resource, future in admin.describe_configs(resources, request_timeout=_CALL_SECONDS).items()
            }
        except KafkaException as error:
            # A time-out may mean that nobody is there to answer: the demo's Kafka, librdkafka's own, has no controller.
            if _is_transient(error) and error.args[0].code() != KafkaError._TIMED_OUT:
                raise KafkaUnavailable(f"the topics' settings cannot be read: {error.args[0].str()}") from error
            # Not allowed to, or no real Kafka.
            log.warning("the topics' settings cannot be read and are not checked: %s", error.args[0].str())
            return {name: len(topics[name].partitions) for name in names}, None
        limits: dict[str, int] = {}
        for name, config in answers.items():
            policy = config["cleanup.policy"].value
            if policy != "delete":
                raise Misconfigured(f"topic {name} has cleanup.policy={policy}: it must be delete, or messages vanish")
            limits[name] = int(config["max.message.bytes"].value)
            copies = len(topics[name].partitions[0].replicas)
            if copies > 1 and int(config["min.insync.replicas"].value) < 2:
                log.warning("topic %s has min.insync.replicas=1: with its leader, messages may be lost", name)
        longest = max(limits[topic] for topic in self._topics)
        self._at_once = max(POLL_BYTES // longest, 1)
        needed = longest + _HEADER_BYTES
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
            # librdkafka keeps a pause for when the partition comes back: it may have left while a batch took its time.
            consumer.resume([partition for partition in partitions if partition not in stopped])
            consumer.pause([partition for partition in partitions if partition in stopped])
        except (KafkaException, KafkaUnavailable, Misconfigured, TransactionAborted) as error:
            self._failure = error if isinstance(error, Misconfigured) else KafkaUnavailable(str(error))
        self.assignment.joined = True

    def _begin(self, consumer: Consumer, partition: TopicPartition) -> TopicPartition:
        """Where to go on: at the committed offset; for a first start, where the operator says.

        A partition that was added to a topic which the group reads is read from its beginning, if nothing else is said.
        """
        name = (partition.topic, partition.partition)
        low, high = self._attempt(lambda: consumer.get_watermark_offsets(partition, timeout=_CALL_SECONDS))
        (committed,) = self._attempt(lambda: consumer.committed([partition], timeout=_CALL_SECONDS))
        offset = committed.offset
        if offset < 0:
            reset = self._reset or ("earliest" if self._has_read(consumer, partition.topic) else None)
            if reset is None:
                where = f"{name[0]}/{name[1]}"
                raise Misconfigured(
                    f"the group has read nothing of {where} yet: set KAFKA_CONFIG_AUTO_OFFSET_RESET, earliest or latest"
                )
            offset = low if reset == "earliest" else high
            # Committed before anything is read: a restart that comes first must not begin elsewhere.
            first = TopicPartition(*name, offset)
            self._attempt(lambda: consumer.commit(offsets=[first], asynchronous=False))
        elif offset < low:
            self._stop(name, _gap(offset, low, high))
        self.assignment.next[name] = self._reads_on[name] = offset
        return TopicPartition(*name, offset)

    def _has_read(self, consumer: Consumer, topic: str) -> bool:
        """Whether the group has committed an offset of any partition of a topic."""
        told = self._attempt(lambda: consumer.list_topics(topic, timeout=_CALL_SECONDS))
        every = [TopicPartition(topic, number) for number in told.topics[topic].partitions]
        committed = self._attempt(lambda: consumer.committed(every, timeout=_CALL_SECONDS))
        return any(partition.offset >= 0 for partition in committed)

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
            self._reads_on.pop(name, None)
            self._without_messages.pop(name, None)
        consumer.incremental_unassign(partitions)

    def _stop(self, name: Partition, reason: str) -> None:
        if name in self.assignment.stopped:  # Kafka may tell of the same gap again, with less to say
            return
        log.error("partition %s/%d stands still: %s", *name, reason)
        self.assignment.stopped[name] = reason

    # --- reading --------------------------------------------------------------------------------------------------

    def poll(self, max_messages: int, timeout: float) -> tuple[list[Message], set[Partition]]:
        """Messages that came, at most so many and hardly more than POLL_BYTES, and the partitions that went.

        Where some went, nothing comes and the consumer is back at the committed offsets: a partition may have gone and
        come back in one call, with its position behind messages that were not answered. What was polled since the last
        commit is to be forgotten then.
        """
        raw = self._consume(max_messages, timeout)
        revoked = self._gone()
        if revoked:
            return [], revoked
        messages = [message for message in map(self._message, raw) if message is not None]
        if messages:
            self._polled_in = self._consumer.consumer_group_metadata()
        return messages, revoked

    def idle(self) -> set[Partition]:
        """Poll and read nothing while a batch takes its time, or the group would take this worker for dead.

        Returns the partitions that went, as ``poll`` does. All that are left are paused, until ``resume``.
        """
        self._consumer.pause(self._consumer.assignment())
        for early in self._consume(1, 0.0):  # of a partition that came with this very poll
            message = self._message(early)
            if message is not None:
                self.hold(message)
        revoked = self._gone()
        if not revoked:  # the partitions are this worker's as before, if perhaps in another generation
            self._polled_in = self._consumer.consumer_group_metadata()
        return revoked

    def _consume(self, max_messages: int, timeout: float) -> list[RawMessage]:
        """Messages, until there are so many or POLL_BYTES of them, or the time is over, or the group had its say."""
        until = time.monotonic() + timeout
        raw: list[RawMessage] = []
        size, left = 0, timeout
        while len(raw) < max_messages and size < POLL_BYTES and left >= 0 and not self._revoked:
            try:
                came = self._consumer.consume(min(max_messages - len(raw), self._at_once), left)
            except KafkaException as error:
                raise _of_consumer(error) from error
            if self._failure is not None:
                raise self._failure
            raw += came
            size += sum(map(len, came))
            left = until - time.monotonic() if came else -1
        return raw

    def _gone(self) -> set[Partition]:
        """The partitions that went since the last time; where some did, the others are back where they were."""
        revoked, self._revoked = self._revoked, set()
        if revoked:
            self.rewind()
        return revoked

    def _message(self, raw: RawMessage) -> Message | None:
        error = raw.error()
        if error is None:
            message = _received(raw)
            if message.offset < self._reads_on.get((message.topic, message.partition), 0):
                return None  # it came before: librdkafka has brought messages again that nobody had gone back to
            self._reads_on[message.topic, message.partition] = message.offset + 1
            return message
        name = (raw.topic() or "", raw.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:
            if name in self._reads_on:
                self._without_messages[name] = (self._reads_on[name], raw.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._stop(name, self._why_out_of_range(name))
            self._consumer.pause([TopicPartition(*name)])
        elif error.fatal():
            raise Fatal(error.str())
        else:
            log.warning("Kafka: %s", error.str())
        return None

    def _why_out_of_range(self, name: Partition) -> str:
        """Why a partition's next offset is none of its own."""
        offset = self._reads_on.get(name, self.assignment.next.get(name, 0))
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*name), timeout=_CALL_SECONDS)
        except KafkaException:
            return f"its next offset {offset} is not there"
        return _gap(offset, low, high)

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
        self._reads_on[partition.topic, partition.partition] = partition.offset
        try:
            self._attempt(lambda: self._consumer.seek(partition))
        except TransactionAborted as error:
            raise KafkaUnavailable(f"the consumer cannot go back: {error}") from error

    def resume(self, *, held: Collection[Partition] = ()) -> None:
        """Read every partition again, but those that are held or stand still."""
        mine = {(partition.topic, partition.partition) for partition in self._consumer.assignment()}
        waiting = {*held, *self.assignment.stopped}
        self._consumer.resume([TopicPartition(*partition) for partition in mine - waiting])

    def lags(self) -> dict[Partition, int]:
        """Messages not answered yet, by partition, as the last fetch told, or Kafka when it was last asked.

        What is paused, stands still or cannot be fetched tells of no message: all are asked for.
        """
        self._ends.ask(self.assignment.next)
        ends = {name: max(self._fetched_end(name), self._ends.known.get(name, -1)) for name in self.assignment.next}
        return {name: max(end - self._answered_to(name), 0) for name, end in ends.items() if end >= 0}

    @property
    def unread(self) -> Mapping[Partition, str]:
        """Partitions that Kafka was asked about in vain, and why: as far as can be told they cannot be read either."""
        return self._ends.unread

    def _answered_to(self, name: Partition) -> int:
        """Up to which offset all messages of a partition are answered."""
        answered = self.assignment.next[name]
        since, until = self._without_messages.get(name, (answered, answered))
        return max(answered, until) if answered >= since else answered

    def _fetched_end(self, name: Partition) -> int:
        """The offset behind a partition's last message, as the last fetch told; negative if none did."""
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*name), cached=True)
        except KafkaException:  # a figure for a graph: nothing depends on it
            return -1
        return high

    def probe(self) -> str | None:
        """Why Kafka does not answer; None if it does."""
        try:
            self._consumer.list_topics(self._topics[0], timeout=2.0)
        except KafkaException as error:
            reason: str = self._told or error.args[0].str()
            return reason
        return None

    def _note(self, error: KafkaError) -> None:
        self._told = error.str()

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        """Publish what the body sends, and the offsets of ``messages``, together.

        On any exception nothing becomes visible and the consumer is back at the committed offsets. A Kafka error that
        only this batch suffers from comes out as TransactionAborted, one that ends the process as Fatal; after
        KafkaUnavailable ``abandon`` and ``open`` are due.

        librdkafka's transactions share an epoch, so Kafka takes a delayed request of one for a request of the next: it
        would commit half of it, or what was aborted (KIP-890, which librdkafka does not know). So the next transaction
        gets a new epoch where any call of the last one failed. It is taken at once, while Kafka has just accepted the
        old one: later, it might be taken from another worker that has replaced this one.
        """
        if self._doubtful:
            self._take_over()
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
        if self._doubtful:
            with suppress(KafkaUnavailable):  # the next one needs it, and this one is committed
                self._take_over()

    def _send(self, output: Output) -> None:
        while True:
            try:
                told = self._dead_letter_delivered if output.topic == self._output_topics[1] else None
                _produce(self._producer, output, on_delivery=told)
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
        self._take_over()
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

        def once() -> None:
            try:
                bounded(call, _HANGING_SECONDS)
            except KafkaException:
                self._doubtful = True
                raise

        try:
            self._attempt(once)
        except Hanging as error:
            raise KafkaUnavailable(f"a call to Kafka's client hangs: {error}") from error


def _client(make: Callable[[dict[str, Any]], Client], options: dict[str, Any]) -> Client:
    """A client of Kafka's. Raises Misconfigured for an option that it does not know or take."""
    try:
        return make(options)
    except (KafkaException, TypeError, ValueError) as error:
        cause = error.args[0]
        raise Misconfigured(f"Kafka's client: {cause.str() if isinstance(cause, KafkaError) else cause}") from error


def _common(settings: Settings) -> dict[str, Any]:
    """What every client is made with. Raises Misconfigured."""
    if not settings.kafka_bootstrap_servers:
        raise Misconfigured("KAFKA_BOOTSTRAP_SERVERS is not set")
    options = {**_COMMON, **settings.kafka_clients()}
    options.pop("auto.offset.reset", None)  # of the group's beginning, which KafkaStream decides
    return options


def _for_any_client(common: Mapping[str, Any]) -> dict[str, Any]:
    """Of these options, what others than consumers take, too."""
    return {name: value for name, value in common.items() if name != "allow.auto.create.topics"}


def _message_bytes(common: Mapping[str, Any]) -> int:
    """The longest message that may be published. Raises Misconfigured."""
    told = common.get("message.max.bytes", _DEFAULT_MESSAGE_BYTES)
    try:
        return int(told)
    except ValueError as error:
        raise Misconfigured(f"KAFKA_CONFIG_MESSAGE_MAX_BYTES is {told}: a number of bytes") from error


def _ask(common: Mapping[str, Any]) -> tuple[AdminClient, dict[str, TopicMetadata]]:
    """A client to ask with, and every topic.

    Raises Refused where Kafka does not let this client in, or shows it a certificate that it cannot trust, and
    KafkaUnavailable where it does not answer.
    """
    told: list[KafkaError] = []
    options = _for_any_client(common)
    admin = _client(AdminClient, {**options, "error_cb": told.append})
    until = time.monotonic() + _CALL_SECONDS
    while True:
        try:
            return admin, admin.list_topics(timeout=1.0).topics
        except KafkaException as error:
            admin.poll(0)  # which is when ``told`` is told
            for one in told:
                if one.code() in _REFUSED:
                    why = _distrust(common) if one.code() == KafkaError._SSL else None
                    raise Refused(f"Kafka: {why or one.str()}") from error
            if time.monotonic() > until:
                # That they are all down says less than what became of one of them.
                reasons = [one.str() for one in told if one.code() != KafkaError._ALL_BROKERS_DOWN]
                raise KafkaUnavailable(f"Kafka does not answer: {[error.args[0].str(), *reasons][-1]}") from error


def _must_be_there(names: Sequence[str], topics: Mapping[str, TopicMetadata]) -> None:
    """Raises Misconfigured for topics that are not there, and KafkaUnavailable for one that cannot be used now."""
    errors = {name: topics[name].error for name in names if name in topics}
    for name, error in errors.items():
        if error is not None and error.code() in _TRANSIENT:
            raise KafkaUnavailable(f"topic {name}: {error.str()}")
    absent = [name for name in names if name not in errors or errors[name] is not None]
    if absent:  # what a client may not see is not told of
        raise Misconfigured(f"no topic {', '.join(absent)} that this client may see; none is created by itself")


def _distrust(common: Mapping[str, Any]) -> str | None:
    """Why the first server's certificate is not trusted, which Kafka's client does not tell; None if that is not it."""
    host, _, port = common["bootstrap.servers"].split(",")[0].rpartition(":")
    try:
        context = ssl.create_default_context(cafile=common.get("ssl.ca.location"), cadata=common.get("ssl.ca.pem"))
        with socket.create_connection((host, int(port)), timeout=_CALL_SECONDS) as connection:
            context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {host}:{port} is not trusted: {error.verify_message}"
    except (OSError, ValueError):
        return None
    return None


def _gap(offset: int, low: int, high: int) -> str:
    """Why the next offset of a partition with offsets from ``low`` to before ``high`` is none of its own."""
    if offset > high:
        return f"its next offset is {offset} and it ends at {high}: its end was lost, or the topic was made anew"
    return f"offsets {offset} to {low - 1} were removed by retention before they were read"


def _received(raw: RawMessage) -> Message:
    key: Any = raw.key()
    return Message(
        topic=raw.topic() or "",
        partition=raw.partition() or 0,
        offset=raw.offset() or 0,
        timestamp_ms=raw.timestamp()[1],
        value=raw.value() or b"",
        key=key,
    )


def _produce(producer: Producer, output: Output, **options: Any) -> None:
    """Queue one message. Raises BufferError while there is no room, and KafkaException."""
    if output.partition is not None:
        options["partition"] = output.partition
    producer.produce(output.topic, value=output.value, key=output.key, headers=output.headers, **options)


def _is_transient(error: KafkaException) -> bool:
    cause: KafkaError = error.args[0]
    return cause.retriable() or cause.code() in _TRANSIENT


def _of_consumer(error: KafkaException) -> Exception:
    cause: KafkaError = error.args[0]
    return Fatal(cause.str()) if cause.fatal() else KafkaUnavailable(cause.str())


def _outcome(error: KafkaException) -> Exception:
    """What to do about it.

    A Kafka that has just come back may say that the transaction is not in a state to be ended: whether it took place is
    not known, and the producer is done for. A new one brings it to its end either way, and the committed offsets tell.
    """
    cause: KafkaError = error.args[0]
    if cause.code() in _FENCED:
        return Fenced(cause.str())
    if cause.code() == KafkaError.INVALID_TXN_STATE:
        return KafkaUnavailable(cause.str())
    if cause.fatal():
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


# --- without a group: for the commands ----------------------------------------------------------------------------

_COMMAND_SECONDS = 30.0
_READ_MESSAGES = 500
_READ_SECONDS = 0.1
"""Kafka's client waits so long for as many, even where there are no more."""
_STALLED_SECONDS = 60.0
_SETTLED_MESSAGES = 1000
"""So many messages in a row that are dated behind a window end its reading: clocks of producers differ a little."""


_ANY_LENGTH = {"message.max.bytes": 1_000_000_000}
"""How long a message may be is for its topic to say, not for the producer."""


class Publisher:
    """A plain producer, for putting alerts on a topic."""

    def __init__(self, settings: Settings) -> None:
        """Raises Refused or KafkaUnavailable where Kafka does not answer."""
        self._failed = 0
        common = _common(settings)
        _ask(common)
        options = {"linger.ms": 5, "enable.idempotence": True, **_ANY_LENGTH, **common}
        self._producer = _client(Producer, options)

    def send(self, output: Output) -> None:
        """Queue one message, waiting while the queue is full. ``close`` counts those that Kafka did not take."""
        while True:
            try:
                _produce(self._producer, output, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self._delivered(error.args[0], None)
                return
            else:
                self._producer.poll(0)
                return

    def close(self) -> int:
        """Wait until everything is delivered; returns how many messages were not."""
        return self._producer.flush(60) + self._failed

    def _delivered(self, error: KafkaError | None, _: RawMessage | None) -> None:
        if error is not None:
            self._failed += 1
            log.error("not published: %s", error.str())


class TransactionalPublisher:
    """A producer for what must become visible together. One at a time: a second one of its name ends the first."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Returns when whatever an earlier one left open is done with. Raises Refused, KafkaUnavailable or Fenced."""
        common = _common(settings)
        _ask(common)
        self._options = {
            **_ANY_LENGTH,
            **common,
            "transactional.id": f"{settings.kafka_group_id}-{name}",
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,  # the workers wait for it, if it was left open
        }
        self._begin()

    def _begin(self) -> None:
        self._too_long = ""
        self._producer = _client(Producer, self._options)
        self._do(lambda: self._producer.init_transactions(_COMMAND_SECONDS))

    def publish(self, outputs: Iterable[Output]) -> None:
        """All of them, or none. Raises TooLong, KafkaUnavailable, Fenced or Fatal."""
        self._do(self._producer.begin_transaction)
        try:
            for output in outputs:
                self._do(lambda output=output: _produce(self._producer, output, on_delivery=self._delivered))  # type: ignore[misc]
            self._do(lambda: self._producer.commit_transaction(_COMMAND_SECONDS))
        except BaseException as error:  # an interrupt, too
            with suppress(KafkaException):
                self._producer.abort_transaction(_COMMAND_SECONDS)
            self._producer.poll(0)
            if not self._too_long or not isinstance(error, (KafkaUnavailable, Fatal)):
                raise
            too_long = TooLong(self._too_long)
            self._begin()  # behind a message that was not taken, a producer's numbers have a gap: it is done for
            raise too_long from error

    def _delivered(self, error: KafkaError | None, message: RawMessage) -> None:
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_long = f"{message.topic()} does not take a message of that length"

    def _do(self, call: Callable[[], None]) -> None:
        try:
            call()
        except KafkaException as error:
            outcome = _outcome(error)
            raise (KafkaUnavailable(str(outcome)) if isinstance(outcome, TransactionAborted) else outcome) from error


class Reader:
    """Reads topics from one offset to another, outside of any group. What is not committed is not seen.

    Every call raises Refused or KafkaUnavailable where Kafka does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        common = _common(settings)
        self._admin, self._topics = _ask(common)
        options = {
            **common,
            "group.id": settings.kafka_group_id,  # which is asked for its offsets, and never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        self._consumer = _client(Consumer, options)

    def close(self) -> None:
        """End."""
        self._consumer.close()

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """All of these topics'. Raises Misconfigured where one is not there."""
        names = list(topics)
        _must_be_there(names, self._topics)
        return [(topic, number) for topic in names for number in sorted(self._topics[topic].partitions)]

    def first(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The first offset that is left."""
        earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
        return {name: offset for name, (offset, _) in self._offsets(partitions, earliest).items()}

    def end(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The offset behind the last message, of an open transaction even."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return {name: offset for name, (offset, _) in self._offsets(partitions, latest).items()}

    def since(self, partitions: Iterable[Partition], moment: datetime) -> dict[Partition, tuple[int, int]]:
        """Offset and timestamp [ms] of the first message that is dated then or later, where there is one."""
        milliseconds = max(int(moment.timestamp() * 1000), 0)
        found = self._offsets(partitions, OffsetSpec.for_timestamp(milliseconds))
        return {name: place for name, place in found.items() if place[0] >= 0}

    def _offsets(self, partitions: Iterable[Partition], which: OffsetSpec) -> dict[Partition, tuple[int, int]]:
        asked = {TopicPartition(*name): which for name in partitions}
        if not asked:
            return {}
        futures = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_COMMAND_SECONDS
        )
        try:
            answers = {partition: future.result() for partition, future in futures.items()}
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka: {error.args[0].str()}") from error
        return {(one.topic, one.partition): (answer.offset, answer.timestamp) for one, answer in answers.items()}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The group's offsets, where it has any."""
        try:
            answers = self._consumer.committed([TopicPartition(*name) for name in partitions], _COMMAND_SECONDS)
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka: {error.args[0].str()}") from error
        return {(one.topic, one.partition): one.offset for one in answers if one.offset >= 0}

    def retention_ms(self, topic: str) -> int | None:
        """How long the topic keeps a message at least; None if it may go by size, or nobody tells."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            (future,) = self._admin.describe_configs([resource], request_timeout=_COMMAND_SECONDS).values()
            config = future.result()
        except KafkaException:  # not allowed to ask
            return None
        kept = int(config["retention.ms"].value)
        return kept if kept >= 0 and int(config["retention.bytes"].value) < 0 else None

    def read(
        self, begin: Mapping[Partition, int], end: Mapping[Partition, int]
    ) -> Generator[list[Message], Collection[Partition] | None]:
        """Messages from ``begin`` up to ``end``, in order within a partition, with their headers.

        The generator may be sent partitions that need not be read on. Where a transaction is open before an end, waits
        for it.
        """
        left = {name: end[name] for name, offset in begin.items() if offset < end[name]}
        self._consumer.assign([TopicPartition(*name, begin[name]) for name in left])
        moved = time.monotonic()
        try:
            while left:
                came = self._consumer.consume(_READ_MESSAGES, _READ_SECONDS)
                messages, reached = _read(came)
                messages = [one for one in messages if one.offset < left.get((one.topic, one.partition), 0)]
                done = {name for name, offset in reached.items() if offset >= left.get(name, math.inf)}
                if messages:
                    done.update((yield messages) or ())
                for name in done & left.keys():
                    del left[name]
                    self._consumer.incremental_unassign([TopicPartition(*name)])
                if came:
                    moved = time.monotonic()  # behind the yield: the caller may take its time
                elif time.monotonic() - moved > _STALLED_SECONDS:
                    names = ", ".join(f"{topic}/{number}" for topic, number in left)
                    raise KafkaUnavailable(f"nothing more of {names} in {_STALLED_SECONDS:.0f} s: an open transaction?")
        finally:
            with suppress(RuntimeError):  # closed by now
                self._consumer.unassign()

    def window(self, topics: Iterable[str], begin: datetime, end: datetime) -> Iterator[list[Message]]:
        """What is dated from ``begin`` up to ``end`` by Kafka's timestamps, which need not be quite in order.

        A partition is read until _SETTLED_MESSAGES in a row are dated later.
        """
        partitions = self.partitions(topics)
        starts = {name: offset for name, (offset, _) in self.since(partitions, begin).items()}
        begin_ms, end_ms = begin.timestamp() * 1000, end.timestamp() * 1000
        later = dict.fromkeys(partitions, 0)
        reading = self.read(starts, self.end(partitions))
        messages = next(reading, None)
        while messages is not None:
            for one in messages:
                name = (one.topic, one.partition)
                later[name] = later[name] + 1 if one.timestamp_ms >= end_ms else 0
            yield [one for one in messages if begin_ms <= one.timestamp_ms < end_ms]
            try:
                messages = reading.send({name for name, count in later.items() if count >= _SETTLED_MESSAGES})
            except StopIteration:
                return


def _read(came: Iterable[RawMessage]) -> tuple[list[Message], dict[Partition, int]]:
    """Messages with their headers, and how far each partition is read. Raises KafkaUnavailable."""
    messages, reached = [], {}
    for raw in came:
        error = raw.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaUnavailable(f"Kafka: {error.str()}")
        name, offset = (raw.topic() or "", raw.partition() or 0), raw.offset() or 0
        if error is None:
            pairs: Any = raw.headers() or ()
            messages.append(replace(_received(raw), headers=dict(pairs)))
        # The end may be behind what no reader sees: the ends of transactions, and what was aborted.
        reached[name] = offset + 1 if error is None else offset
    return messages, reached


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

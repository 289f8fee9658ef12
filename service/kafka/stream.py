"""The worker's stream: a consumer and a transactional producer that move together.

A batch's classifications, dead letters and consumer offsets become visible together or not at all. librdkafka leaves
five things to its user, and they are here: telling abortable errors from fatal ones, going back to the committed
offsets after an abort and after a partition was lost, never committing for a group generation that the batch was not
polled in, getting away from calls that do not come back when Kafka was restarted, and taking a new epoch where a
request of the last transaction may still be on its way.
"""

import logging
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as RawMessage

from service.bounded import Hanging, bounded
from service.errors import Fatal, KafkaUnavailable, Misconfigured, Refused, TransactionAborted, Unmade
from service.kafka import topics
from service.kafka.client import (
    CALL_SECONDS,
    DEFAULT_MESSAGE_BYTES,
    TRANSACTION_SECONDS,
    committed_offsets,
    common_options,
    for_any_client,
    is_transient,
    message_bytes,
    new_client,
    of_consumer,
    outcome_of,
)
from service.kafka.ends import Ends
from service.kafka.messages import Message, Output, Partition, named, produce, received
from service.kafka.topics import HEADER_BYTES, USUAL_BYTES, OutputLimits, Topics
from service.settings import Settings

log = logging.getLogger(__name__)

_HANGING_SECONDS = 20.0
"""A call with a time-out of CALL_SECONDS that takes longer than this will not come back."""

POLL_BYTES = 16 * 2**20
"""What one poll brings at most, by the topics' own max.message.bytes, and what is fetched ahead of it."""

_STRATEGY, _COOPERATIVE = "partition.assignment.strategy", "cooperative-sticky"
"""How partitions move, for which the callbacks are written: a few at a time, while the others are read on."""


@dataclass
class Assignment:
    """The partitions that this worker has, and what stands in the way of some."""

    next: dict[Partition, int] = field(default_factory=dict)
    """The offset behind the last message of each partition that was answered."""
    stopped: dict[Partition, str] = field(default_factory=dict)
    """Partitions that cannot go on without an operator, and why."""
    joined: bool = False


def _common(settings: Settings) -> dict[str, Any]:
    """What the worker's clients are made with. Raises Misconfigured."""
    return {"allow.auto.create.topics": False, **common_options(settings)}


class KafkaStream:
    """The input topics' messages in, transactions out. To be used by one thread.

    ``waiting`` is called with a reason while a call is made again and again, so that whoever watches knows.
    """

    consumer: type[Consumer] = Consumer
    producer: type[Producer] = Producer
    """Kafka's clients, which a stream of another kind may have otherwise."""

    def __init__(self, settings: Settings, *, waiting: Callable[[str], None] = lambda _: None) -> None:
        common = _common(settings)
        self._reset = settings.kafka_clients().get("auto.offset.reset")
        if self._reset not in {None, "earliest", "latest"}:
            raise Misconfigured(f"KAFKA_CONFIG_AUTO_OFFSET_RESET is {self._reset}: earliest or latest")
        strategy = common.get(_STRATEGY, _COOPERATIVE)
        if strategy != _COOPERATIVE:
            raise Misconfigured(f"KAFKA_CONFIG_PARTITION_ASSIGNMENT_STRATEGY is {strategy}: {_COOPERATIVE} alone")
        self.waiting = waiting
        self._settings = settings
        self._topics = settings.input_topics
        self._output_topics = [settings.kafka_output_topic, settings.kafka_dead_letter_topic]
        self._common = common
        self._group_id = settings.kafka_group_id
        self._transactional_id = settings.kafka_transactional_id
        self.max_dead_letter_bytes = message_bytes(common) - HEADER_BYTES
        """A longer message cannot be published as a dead letter. Becomes less when Kafka refuses one."""
        self._refused_bytes = 0
        """The longest dead letter that Kafka has refused since ``open``."""
        self.rebalances = 0
        """How often partitions have come or gone."""
        self._begin_again()
        self._at_once = POLL_BYTES // USUAL_BYTES
        """Messages that one call into Kafka's client may bring."""
        self._limits: OutputLimits | None = None
        self._doubtful = False
        """Whether a request of the last transaction may still be on its way."""
        self._was_open = False
        self._is_left = False
        """Whether the clients are done for, and new ones not made yet."""
        self._told: str | None = None
        """What Kafka's client last told of its connections."""
        # Here, so that an option that Kafka's client does not know ends the start.
        self._consumer = self._new_consumer()
        self._ends = Ends(common)

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
            "queued.max.messages.kbytes": POLL_BYTES // 1024,
            "fetch.max.bytes": max(POLL_BYTES, message_bytes(self._common)),
            **self._common,
            _STRATEGY: _COOPERATIVE,
            "error_cb": self._note,
            "group.id": self._group_id,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # Where a group begins is decided in _begin; a position that is gone is an error, never a silent jump.
            "auto.offset.reset": "error",
        }
        return new_client(self.consumer, options)

    def _new_producer(self) -> Producer:
        options = {
            "linger.ms": 5,
            "compression.type": "lz4",
            **for_any_client(self._common),
            **({} if self._limits is None else self._limits.options),
            "transactional.id": self._transactional_id,
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
            "delivery.timeout.ms": (TRANSACTION_SECONDS - 5) * 1000,
        }
        return new_client(self.producer, options)

    # --- start and end --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Check the topics, fence earlier runs of this worker, and join the group.

        May be called again after ``close``. Raises KafkaUnavailable, Misconfigured or Fatal.
        """
        self._begin_again()
        with self._patient():
            if self._is_left:
                self._renew()
            known = self._check_topics()
        self._at_once = max(POLL_BYTES // known.longest, 1)
        limits = known.outputs
        if limits is not None:
            self.max_dead_letter_bytes = limits.dead_letter - HEADER_BYTES
        elif self._refused_bytes:
            self.max_dead_letter_bytes = min(self.max_dead_letter_bytes, self._refused_bytes // 2)
            # A message a batch: one that is refused takes no other with it.
            limits = OutputLimits(DEFAULT_MESSAGE_BYTES, 1)
        self._refused_bytes = 0
        self._limits = limits
        log.info("partitions: %s", ", ".join(f"{topic} {count}" for topic, count in known.partitions.items()))
        self._take_over()
        self._was_open = True
        self._consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._left, on_lost=self._lost)

    def _take_over(self) -> None:
        """A producer of the next epoch: what earlier ones left open is aborted, and what they sent comes too late.

        Raises KafkaUnavailable, Unmade or Fatal.
        """
        with self._patient():
            self._producer = self._new_producer()
        try:
            self._transact(lambda: self._producer.init_transactions(10))
        except TransactionAborted as error:
            raise KafkaUnavailable(str(error)) from error
        self._doubtful = False

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """What ends a start, a worker that did its work waits for: a certificate or a password is being changed."""
        try:
            yield
        except (Refused, Unmade) as error:
            if self._was_open:
                raise KafkaUnavailable(str(error)) from error
            raise

    def close(self) -> None:
        """Leave the group, so that the others take over at once, perhaps with a call that hangs in a client.

        ``open`` begins with new ones. Whatever transaction is open is aborted when it takes over the transactional id.
        """
        if self._is_left:
            return
        self._is_left = True
        try:
            bounded(self._consumer.close, _HANGING_SECONDS)
        except Hanging as error:
            log.warning("the group could not be left: %s", error)

    def _renew(self) -> None:
        """New clients, with the password that the file has by now, or the certificate. Raises Unmade."""
        self._settings = self._settings.renewed()
        self._common = _common(self._settings)
        self._consumer = self._new_consumer()
        self._ends = Ends(self._common)
        self._is_left = False

    def _check_topics(self) -> Topics:
        """Raises Misconfigured, KafkaUnavailable, Refused or Unmade."""
        return topics.checked(self._common, self._topics, *self._output_topics)

    # --- the group ------------------------------------------------------------------------------------------------

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_left:  # they came while the group was being left, and nobody will read them
            return
        try:
            consumer.incremental_assign([self._begin(consumer, partition) for partition in partitions])
            stopped = [TopicPartition(*partition) for partition in self.assignment.stopped]
            # librdkafka keeps a pause for when the partition comes back: it may have left while a batch took its time.
            consumer.resume([partition for partition in partitions if partition not in stopped])
            consumer.pause([partition for partition in partitions if partition in stopped])
        except (KafkaException, KafkaUnavailable, Misconfigured, TransactionAborted) as error:
            self._failure = error if isinstance(error, Misconfigured) else KafkaUnavailable(str(error))
        self.assignment.joined = True
        self._tell("came", partitions)

    def _tell(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        """Of a rebalance, if it moved anything."""
        if partitions:
            self.rebalances += 1
            names = named(*((partition.topic, partition.partition) for partition in partitions))
            log.info("partitions %s: %s; there are %d now", what, names, len(self.assignment.next))

    def _begin(self, consumer: Consumer, partition: TopicPartition) -> TopicPartition:
        """Where to go on: at the committed offset; for a first start, where the operator says.

        A partition that was added to a topic which the group reads is read from its beginning, if nothing else is said.
        """
        name = (partition.topic, partition.partition)
        low, high = self._attempt(lambda: consumer.get_watermark_offsets(partition, timeout=CALL_SECONDS))
        (committed,) = self._committed(consumer, [partition])
        offset = committed.offset
        if offset < 0:
            reset = self._reset or ("earliest" if self._has_read(consumer, partition.topic) else None)
            if reset is None:
                where = named(name)
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
        told = self._attempt(lambda: consumer.list_topics(topic, timeout=CALL_SECONDS))
        every = [TopicPartition(topic, number) for number in told.topics[topic].partitions]
        return any(partition.offset >= 0 for partition in self._committed(consumer, every))

    def _committed(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The group's offsets. Raises TransactionAborted, KafkaUnavailable or Fatal."""
        found: list[TopicPartition] = self._attempt(
            lambda: committed_offsets(consumer, partitions, seconds=CALL_SECONDS)
        )
        return found

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assignment.joined = False
        self._leave(consumer, partitions)
        self._tell("were lost", partitions)

    def _left(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(consumer, partitions)
        self._tell("went", partitions)

    def _leave(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """No transaction is open: they live between two polls, and this runs within one."""
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
                raise of_consumer(error) from error
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
            message = received(raw)
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
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*name), timeout=CALL_SECONDS)
        except KafkaException:
            return f"its next offset {offset} is not there"
        return _gap(offset, low, high)

    def hold(self, message: Message) -> None:
        """Stop reading a partition, and go back to this message of it. Raises KafkaUnavailable."""
        partition = TopicPartition(message.topic, message.partition, message.offset)
        try:
            self._consumer.pause([partition])
        except KafkaException as error:
            raise of_consumer(error) from error
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
        self._told = None
        return None

    def _note(self, error: KafkaError) -> None:
        self._told = error.str()

    # --- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        """Publish what the body sends, and the offsets of ``messages``, together.

        On any exception nothing becomes visible and the consumer is back at the committed offsets. A Kafka error that
        only this batch suffers from comes out as TransactionAborted, one that ends the process as Fatal; after
        KafkaUnavailable ``close`` and ``open`` are due.

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
            self._transact(lambda: self._producer.send_offsets_to_transaction(offsets, metadata, CALL_SECONDS))
            self._transact(lambda: self._producer.commit_transaction(CALL_SECONDS))
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
        told = self._dead_letter_delivered if output.topic == self._output_topics[1] else None
        try:
            produce(self._producer, output, on_delivery=told)
        except KafkaException as error:
            self._note_size(output.topic, len(output.value), error.args[0])
            raise outcome_of(error) from error

    def _dead_letter_delivered(self, error: KafkaError | None, message: RawMessage) -> None:
        if error is not None:
            self._note_size(message.topic() or "", len(message), error)

    def _note_size(self, topic: str, size: int, error: KafkaError) -> None:
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and topic == self._output_topics[1]:
            self._refused_bytes = max(self._refused_bytes, size)

    def _abort(self) -> None:
        try:
            self._transact(lambda: self._producer.abort_transaction(CALL_SECONDS))
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
            for partition in self._committed(self._consumer, self._consumer.assignment()):
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
                if not is_transient(error) or time.monotonic() > until:
                    raise outcome_of(error) from error
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


def _gap(offset: int, low: int, high: int) -> str:
    """Why the next offset of a partition with offsets from ``low`` to before ``high`` is none of its own."""
    if offset > high:
        return f"its next offset is {offset} and it ends at {high}: its end was lost, or the topic was made anew"
    return f"offsets {offset} to {low - 1} were removed by retention before they were read"


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

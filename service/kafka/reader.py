"""The reader of the commands: topics from one offset, or one time, to another."""

import math
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]

from service.errors import KafkaUnavailable
from service.kafka.client import (
    COMMAND_SECONDS,
    committed_offsets,
    common_options,
    known_topics,
    must_be_there,
    new_client,
)
from service.kafka.messages import Message, Partition, named, received
from service.settings import Settings

_READ_MESSAGES = 500
_READ_SECONDS = 0.1
"""Kafka's client waits so long for as many, even where there are no more."""
_STALLED_SECONDS = 60.0
_SETTLED_MESSAGES = 1000
_CLOCKS_MS = 600_000
"""So many messages in a row that are dated so far behind a window end its reading: clocks of producers differ, and a
batch that is tried again comes later than it is dated."""


class Reader:
    """Reads topics from one offset to another, outside of any group. What is not committed is not seen.

    Every call raises Refused or KafkaUnavailable where Kafka does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        common = common_options(settings)
        self._admin, self._topics = known_topics(common)
        options = {
            **common,
            "group.id": settings.kafka_group_id,  # which is asked for its offsets, and never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        self._consumer = new_client(Consumer, options)

    def close(self) -> None:
        """End."""
        self._consumer.close()

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """All of these topics'. Raises Misconfigured where one is not there."""
        names = list(topics)
        must_be_there(names, self._topics)
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
            asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=COMMAND_SECONDS
        )
        try:
            answers = {partition: future.result() for partition, future in futures.items()}
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka: {error.args[0].str()}") from error
        return {(one.topic, one.partition): (answer.offset, answer.timestamp) for one, answer in answers.items()}

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The group's offsets, where it has any."""
        try:
            asked = [TopicPartition(*name) for name in partitions]
            answers = committed_offsets(self._consumer, asked, seconds=COMMAND_SECONDS)
        except KafkaException as error:
            raise KafkaUnavailable(f"Kafka: {error.args[0].str()}") from error
        return {(one.topic, one.partition): one.offset for one in answers if one.offset >= 0}

    def retention_ms(self, topic: str) -> int | None:
        """How long the topic keeps a message at least; None if it may go by size, or nobody tells."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            (future,) = self._admin.describe_configs([resource], request_timeout=COMMAND_SECONDS).values()
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
                    told = f"nothing more of {named(*left)} in {_STALLED_SECONDS:.0f} s: an open transaction?"
                    raise KafkaUnavailable(told)
        finally:
            with suppress(RuntimeError):  # closed by now
                self._consumer.unassign()

    def window(self, topics: Iterable[str], begin: datetime, end: datetime) -> Iterator[list[Message]]:
        """What is dated from ``begin`` up to ``end`` by Kafka's timestamps, which need not be quite in order.

        A partition is read until _SETTLED_MESSAGES in a row are dated later by more than _CLOCKS_MS.
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
                later[name] = later[name] + 1 if one.timestamp_ms >= end_ms + _CLOCKS_MS else 0
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
            headers = {name: value or b"" for name, value in pairs}  # others may write headers without a value
            messages.append(replace(received(raw), headers=headers))
        # The end may be behind what no reader sees: the ends of transactions, and what was aborted.
        reached[name] = offset + 1 if error is None else offset
    return messages, reached

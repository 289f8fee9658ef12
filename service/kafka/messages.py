"""Messages, in and out, apart from the client that carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Message as RawMessage
from confluent_kafka import Producer

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


def named(*partitions: Partition) -> str:
    """Partitions as people write them."""
    return ", ".join(f"{topic}/{number}" for topic, number in sorted(partitions))


def received(raw: RawMessage) -> Message:
    """What came, without its headers."""
    key: Any = raw.key()
    return Message(
        topic=raw.topic() or "",
        partition=raw.partition() or 0,
        offset=raw.offset() or 0,
        timestamp_ms=raw.timestamp()[1],
        value=raw.value() or b"",
        key=key,
    )


def produce(producer: Producer, output: Output, **options: Any) -> None:
    """Queue one message, waiting while there is no room. Raises KafkaException."""
    if output.partition is not None:
        options["partition"] = output.partition
    while True:
        try:
            producer.produce(output.topic, value=output.value, key=output.key, headers=output.headers, **options)
        except BufferError:  # let deliveries make room
            producer.poll(0.1)
        else:
            return

"""What readers of Kafka see: of the output topics while the run goes on, and of the input topic when it is over."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.chaos.worker import TRANSACTION
from tests.service.stream import Topics

Origin = tuple[str, int, int]


@dataclass(frozen=True)
class Input:
    """One message of the input topic."""

    origin: Origin
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Answer:
    """One message of an output topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    origin: Origin
    origin_ms: int
    history: str | None
    """None for a dead letter."""
    transaction: str | None


class Reader(threading.Thread):
    """Reads both output topics from their beginning until it is told to stop, through restarts of Kafka."""

    def __init__(self, topics: Topics, *, committed: bool) -> None:
        super().__init__(name="committed" if committed else "uncommitted", daemon=True)
        self._consumer = Consumer(
            {
                "bootstrap.servers": topics.servers,
                "group.id": self.name,
                "enable.auto.commit": False,
                "isolation.level": f"read_{self.name}",
                "auto.offset.reset": "error",
                "log_level": 0,
            }
        )
        outputs = (topics.classifications, topics.dead_letters)
        self._consumer.assign([TopicPartition(topic, n, 0) for topic in outputs for n in range(topics.partitions)])
        self._stopping = threading.Event()
        self.answers: list[Answer] = []
        self.transactions: Counter[str] = Counter()
        """How many answers of each transaction there are."""
        self._latest: dict[tuple[str | None, int], int] = {}

    def run(self) -> None:
        """Read."""
        while not self._stopping.is_set():
            for raw in self._consumer.consume(500, 0.1):
                error = raw.error()
                if error is None:
                    self._note(raw)
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise RuntimeError(f"the output topic has lost what it held: {error.str()}")
        self._consumer.close()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self.join()

    def has_read_of(self, pid: int) -> bool:
        """Whether a process has answered anything."""
        return any(name.startswith(f"{pid}-") for name in list(self.transactions))

    def latest(self, input_partition: int, *, history: str | None = None) -> int:
        """Kafka's timestamp [ms] of the latest message of an input partition that was answered, perhaps like this."""
        return self._latest.get((history, input_partition), 0)

    def count_when_still(self, *, at_most: int, seconds: float) -> int:
        """Wait until there are ``at_most`` answers, or for so long no more; returns how many there are."""
        count, since = len(self.answers), time.monotonic()
        while count < at_most and time.monotonic() - since < seconds:
            time.sleep(0.2)
            if len(self.answers) > count:
                count, since = len(self.answers), time.monotonic()
        time.sleep(1)  # more than there should be would come now
        return len(self.answers)

    def _note(self, raw: Any) -> None:
        headers = {name: value.decode() for name, value in raw.headers() or ()}
        origin = (headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"]))
        answer = Answer(
            topic=raw.topic(),
            partition=raw.partition(),
            offset=raw.offset(),
            key=raw.key(),
            value=raw.value(),
            origin=origin,
            origin_ms=int(headers["origin-timestamp"]),
            history=headers.get("history"),
            transaction=headers.get(TRANSACTION),
        )
        self.answers.append(answer)
        if answer.transaction is not None:
            self.transactions[answer.transaction] += 1
        for history in (None, answer.history):
            place = (history, answer.origin[1])
            self._latest[place] = max(self._latest.get(place, 0), answer.origin_ms)


def inputs(topics: Topics) -> list[Input]:
    """Everything in the input topic, partition by partition in order."""
    consumer = Consumer({"bootstrap.servers": topics.servers, "group.id": "inputs", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topics.alerts, number, 0) for number in range(topics.partitions)])
    found, ended = [], 0
    while ended < topics.partitions:
        for raw in consumer.consume(1000, 5):
            error = raw.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
                continue
            key: Any = raw.key()
            origin = (raw.topic() or "", raw.partition() or 0, raw.offset() or 0)
            found.append(Input(origin, key, raw.value() or b""))
    consumer.close()
    return sorted(found, key=lambda one: one.origin)

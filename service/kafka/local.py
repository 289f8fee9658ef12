"""A Kafka within this process, and a look at all that passes through it: for the demo."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition


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

"""The ends of partitions, for the lag of what is paused, stands still or cannot be fetched."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from service.kafka.client import CALL_SECONDS, for_any_client, new_client
from service.kafka.messages import Partition

_ENDS_SECONDS = 2.0
"""So often the ends of partitions are asked for."""


class Ends:
    """The ends of partitions, asked for every few seconds, whether they are fetched or not. Nothing waits for them."""

    def __init__(self, common: Mapping[str, Any]) -> None:
        options = for_any_client(common)
        # Another leader is only looked for when topics are asked for anew.
        self._admin = new_client(AdminClient, {**options, "topic.metadata.refresh.interval.ms": 10_000})
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
            request_timeout=CALL_SECONDS,
        )
        self._asked = {(one.topic, one.partition): answer for one, answer in answers.items()}

    def _take(self, name: Partition, answer: "Future[Any]") -> None:
        try:
            end = answer.result().offset
        except KafkaException as error:
            self.unread[name] = error.args[0].str()
            return
        if end < 0:  # what Kafka's client makes of a time-out
            self.unread[name] = f"Kafka has not answered in {CALL_SECONDS:.0f} s"
        else:
            self.known[name] = end
            self.unread.pop(name, None)

"""Producers of the commands: one for alerts, and one for what must become visible together."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as RawMessage

from service.errors import Fatal, KafkaUnavailable, TooLong, TransactionAborted
from service.kafka.client import (
    COMMAND_SECONDS,
    MOST_MESSAGE_BYTES,
    TRANSACTION_SECONDS,
    common_options,
    known_topics,
    must_be_there,
    new_client,
    outcome_of,
)
from service.kafka.messages import Output, produce
from service.settings import Settings

log = logging.getLogger(__name__)

_ANY_LENGTH = {"message.max.bytes": MOST_MESSAGE_BYTES}
"""How long a message may be is for its topic to say, not for the producer, nor for a worker's settings."""


class Publisher:
    """A plain producer, for putting alerts on a topic."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Raises Misconfigured for no such topic, and Refused or KafkaUnavailable where Kafka does not answer."""
        self._failed = 0
        self.topic = topic
        common = common_options(settings)
        _, topics = known_topics(common)
        must_be_there([topic], topics)  # a Kafka that creates topics by itself would take a misspelt one
        options = {"linger.ms": 5, "enable.idempotence": True, **common, **_ANY_LENGTH}
        self._producer = new_client(Producer, options)

    def send(self, output: Output) -> None:
        """Queue one message, waiting while the queue is full. ``close`` counts those that Kafka did not take."""
        try:
            produce(self._producer, output, on_delivery=self._delivered)
        except KafkaException as error:
            self._delivered(error.args[0], None)
        else:
            self._producer.poll(0)

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
        common = common_options(settings)
        known_topics(common)
        self._options = {
            **common,
            **_ANY_LENGTH,
            "transactional.id": f"{settings.kafka_group_id}-{name}",
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,  # the workers wait for it, if it was left open
        }
        self._begin()

    def _begin(self) -> None:
        self._too_long = ""
        self._producer = new_client(Producer, self._options)
        self._do(lambda: self._producer.init_transactions(COMMAND_SECONDS))

    def publish(self, outputs: Iterable[Output]) -> None:
        """All of them, or none. Raises TooLong, KafkaUnavailable, Fenced or Fatal."""
        self._do(self._producer.begin_transaction)
        try:
            for output in outputs:
                self._do(lambda output=output: produce(self._producer, output, on_delivery=self._delivered))  # type: ignore[misc]
            self._do(lambda: self._producer.commit_transaction(COMMAND_SECONDS))
        except BaseException as error:  # an interrupt, too
            with suppress(KafkaException):
                self._producer.abort_transaction(COMMAND_SECONDS)
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
            outcome = outcome_of(error)
            raise (KafkaUnavailable(str(outcome)) if isinstance(outcome, TransactionAborted) else outcome) from error

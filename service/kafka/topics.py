"""The worker's topics: whether they are there and keep what they are given, and how long their messages may be."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigEntry,
    ConfigResource,
    ResourceType,
    TopicMetadata,
)

from service.errors import KafkaUnavailable, Misconfigured
from service.kafka.client import (
    CALL_SECONDS,
    DEFAULT_MESSAGE_BYTES,
    MOST_MESSAGE_BYTES,
    is_transient,
    known_topics,
    must_be_there,
)

log = logging.getLogger(__name__)

HEADER_BYTES = 2048
"""What headers may add to a message on its way to the dead letters."""
USUAL_BYTES = 2**20
"""Kafka's own max.message.bytes, for topics whose settings may not be read."""
_LEAST_BYTES = 8192
"""An output topic that takes no more than this would keep hardly any alert, or not a classification of many classes."""


@dataclass(frozen=True)
class OutputLimits:
    """``max.message.bytes`` of the output topics."""

    classification: int
    dead_letter: int

    @property
    def options(self) -> dict[str, int]:
        """A producer's: messages as long as a topic takes, and no batch longer than every topic takes."""
        return {
            "message.max.bytes": min(max(self.classification, self.dead_letter), MOST_MESSAGE_BYTES),
            "batch.size": min(self.classification, self.dead_letter, DEFAULT_MESSAGE_BYTES),
        }


@dataclass(frozen=True)
class Topics:
    """What is known of the topics of a worker."""

    partitions: Mapping[str, int]
    """How many each has."""
    longest: int = USUAL_BYTES
    """The longest message that may come."""
    outputs: OutputLimits | None = None
    """None where the topics' settings may not be read."""


def checked(common: Mapping[str, Any], inputs: Sequence[str], classification: str, dead_letter: str) -> Topics:
    """What Kafka tells of these topics. Raises KafkaUnavailable, Refused, Unmade, or Misconfigured for one that is not
    there, that loses messages, or that does not take them.
    """
    admin, known = known_topics(common)
    names = [*inputs, classification, dead_letter]
    must_be_there(names, known)
    partitions = {name: len(known[name].partitions) for name in names}
    settings = _settings(admin, names)
    if settings is None:
        return Topics(partitions)
    limits = {name: _limit(name, config, known[name]) for name, config in settings.items()}
    longest = max(limits[name] for name in inputs)
    for name, needed in ((classification, _LEAST_BYTES + 1), (dead_letter, longest + HEADER_BYTES)):
        _must_take(name, limits[name], needed)
    return Topics(partitions, longest, OutputLimits(limits[classification], limits[dead_letter]))


def _settings(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]] | None:
    """Of each topic, those that have a value; None where they may not be read. Raises KafkaUnavailable."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    try:
        answers = admin.describe_configs(resources, request_timeout=CALL_SECONDS)
        return {resource.name: _values(future.result(2 * CALL_SECONDS)) for resource, future in answers.items()}
    except TimeoutError as error:  # this process stood still meanwhile
        raise KafkaUnavailable("the topics' settings were not told in time") from error
    except KafkaException as error:
        # A time-out may mean that nobody is there to answer: the demo's Kafka, librdkafka's own, has no controller.
        if is_transient(error) and error.args[0].code() != KafkaError._TIMED_OUT:
            raise KafkaUnavailable(f"the topics' settings cannot be read: {error.args[0].str()}") from error
        # Not allowed to, or no real Kafka.
        log.warning("the topics' settings cannot be read and are not checked: %s", error.args[0].str())
        return None


def _values(config: Mapping[str, ConfigEntry]) -> dict[str, str]:
    return {name: entry.value for name, entry in config.items() if entry.value is not None}


def _limit(name: str, config: Mapping[str, str], known: TopicMetadata) -> int:
    """A topic's ``max.message.bytes``. Raises Misconfigured for one that does not keep its messages."""
    policy = config["cleanup.policy"]
    if policy != "delete":
        raise Misconfigured(f"topic {name} has cleanup.policy={policy}: it must be delete, or messages vanish")
    if len(known.partitions[0].replicas) > 1 and int(config["min.insync.replicas"]) < 2:
        log.warning("topic %s has min.insync.replicas=1: with its leader, messages may be lost", name)
    return int(config["max.message.bytes"])


def _must_take(name: str, limit: int, needed: int) -> None:
    """Raises Misconfigured for an output topic that takes hardly anything; warns of one that takes too little."""
    if limit < needed:
        text = f"topic {name} has max.message.bytes={limit}, it needs {needed}"
        if limit <= _LEAST_BYTES:
            raise Misconfigured(text)
        log.warning("%s: of a longer dead letter only size and hash will be kept", text)

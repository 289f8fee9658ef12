"""Making clients of Kafka's: their options, what is to be there before they are used, and what their errors mean."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, TopicMetadata  # type: ignore[attr-defined]

from service.errors import Fatal, Fenced, KafkaUnavailable, Misconfigured, Refused, TransactionAborted, Unmade
from service.settings import Settings

TRANSACTION_SECONDS = 15
"""A transaction that its worker has left behind is aborted by Kafka after this long, and delays readers until then."""

CALL_SECONDS = 5.0
"""Of a call of the worker's."""

COMMAND_SECONDS = 30.0
"""Of a call of a command's."""

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

MOST_MESSAGE_BYTES = 1_000_000_000
"""What librdkafka can be told to send."""
DEFAULT_MESSAGE_BYTES = 1_000_000
"""What librdkafka sends, unless it is told otherwise."""

_COMMON: dict[str, Any] = {
    "log_level": 2,  # what fails is told where it is handled, once, and not by each connection that is tried
    "reconnect.backoff.ms": 500,
}

Client = TypeVar("Client", Consumer, Producer, AdminClient)


def new_client(make: Callable[[dict[str, Any]], Client], options: dict[str, Any]) -> Client:
    """A client of Kafka's. Raises Unmade for an option that it does not know or take."""
    try:
        return make(options)
    except (KafkaException, TypeError, ValueError) as error:
        cause = error.args[0]
        raise Unmade(f"Kafka's client: {cause.str() if isinstance(cause, KafkaError) else cause}") from error


def common_options(settings: Settings) -> dict[str, Any]:
    """What every client is made with. Raises Misconfigured."""
    if not settings.kafka_bootstrap_servers:
        raise Misconfigured("KAFKA_BOOTSTRAP_SERVERS is not set")
    options = {**_COMMON, **settings.kafka_clients()}
    options.pop("auto.offset.reset", None)  # of the group's beginning, which KafkaStream decides
    return options


def for_any_client(common: Mapping[str, Any]) -> dict[str, Any]:
    """Of these options, what others than consumers take, too."""
    return {name: value for name, value in common.items() if name != "allow.auto.create.topics"}


def message_bytes(common: Mapping[str, Any]) -> int:
    """The longest message that may be published. Raises Misconfigured."""
    told = common.get("message.max.bytes", DEFAULT_MESSAGE_BYTES)
    try:
        return int(told)
    except ValueError as error:
        raise Misconfigured(f"KAFKA_CONFIG_MESSAGE_MAX_BYTES is {told}: a number of bytes") from error


def known_topics(common: Mapping[str, Any]) -> tuple[AdminClient, dict[str, TopicMetadata]]:
    """A client to ask with, and every topic.

    Raises Unmade as ``new_client`` does, Refused where Kafka does not let this client in, or shows it a certificate
    that it cannot trust, and KafkaUnavailable where it does not answer.
    """
    told: list[KafkaError] = []
    options = for_any_client(common)
    admin = new_client(AdminClient, {**options, "error_cb": told.append})
    until = time.monotonic() + CALL_SECONDS
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


def committed_offsets(
    consumer: Consumer, partitions: Sequence[TopicPartition], *, seconds: float
) -> list[TopicPartition]:
    """The group's offsets, below zero where it has none.

    Raises KafkaException, for one partition that Kafka errs on, too: that it has no offset, too, would be a mistake.
    """
    found: list[TopicPartition] = consumer.committed(list(partitions), timeout=seconds)
    for partition in found:
        if partition.error is not None:
            raise KafkaException(partition.error)
    return found


def must_be_there(names: Sequence[str], topics: Mapping[str, TopicMetadata]) -> None:
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
        with socket.create_connection((host, int(port)), timeout=CALL_SECONDS) as connection:
            context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"the certificate of {host}:{port} is not trusted: {error.verify_message}"
    except (OSError, ValueError):
        return None
    return None


# --- what errors mean -------------------------------------------------------------------------------------------------


def is_transient(error: KafkaException) -> bool:
    """Whether the same call may succeed later."""
    cause: KafkaError = error.args[0]
    return cause.retriable() or cause.code() in _TRANSIENT


def of_consumer(error: KafkaException) -> Exception:
    """What an error of a consumer's is to the service."""
    cause: KafkaError = error.args[0]
    return Fatal(cause.str()) if cause.fatal() else KafkaUnavailable(cause.str())


def outcome_of(error: KafkaException) -> Exception:
    """What an error of a producer's is to the service.

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

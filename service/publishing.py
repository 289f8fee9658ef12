"""What each message is answered with: a classification, or a dead letter; with the headers that say of what."""

import hashlib
import json
import struct
from collections.abc import Sequence
from importlib.metadata import version

from models.classifier import Classifier
from models.inputs.errors import InvalidAlert, NothingLeft
from service.kafka.messages import Header, Headers, Message, Output
from service.outputs import broker_classifications, declined_classification, history_of, key_of
from service.pipeline import Answers
from service.settings import Settings

BROKER_VERSION = version("atat-broker")

_REASON_BYTES = 500
"""A reason may quote the message, and a message may be long."""


class Outputs:
    """Makes the outputs of a batch for one classifier."""

    def __init__(self, settings: Settings, classifier: Classifier) -> None:
        self._classifier = classifier
        self._topic, self._dead_letters = settings.kafka_output_topic, settings.kafka_dead_letter_topic
        self._broker = (settings.broker_name, BROKER_VERSION)
        self._model: Header = ("model-version", classifier.identity.encode())
        self._histories: dict[bool, Header] = {full: ("history", history_of(full).encode()) for full in (True, False)}

    def of(
        self, messages: Sequence[Message], answers: Answers, ingested_ms: int, *, max_dead_letter_bytes: int
    ) -> list[Output]:
        """One a message, in order."""
        outputs = self._classifications(messages, answers, ingested_ms)
        for place, reason in answers.invalid.items():
            outputs[place] = (
                self._declined(messages[place], reason, ingested_ms)
                if isinstance(reason, NothingLeft)
                else dead_letter(messages[place], reason, topic=self._dead_letters, max_bytes=max_dead_letter_bytes)
            )
        return [outputs[place] for place in range(len(messages))]

    def _classifications(self, messages: Sequence[Message], answers: Answers, ingested_ms: int) -> dict[int, Output]:
        """By message."""
        places = answers.messages.tolist()
        values = broker_classifications(
            answers.classified,
            self._classifier,
            broker=self._broker,
            published_ms=[messages[place].timestamp_ms for place in places],
            ingested_ms=ingested_ms,
            full_history=answers.full_history,
        )
        ids, histories = answers.classified.alerts.dia_object_id.tolist(), answers.full_history.tolist()
        return {
            place: self._output(messages[place], value, dia_object_id, full=full)
            for place, dia_object_id, value, full in zip(places, ids, values, histories, strict=True)
        }

    def _declined(self, message: Message, reason: NothingLeft, ingested_ms: int) -> Output:
        """Of a sound alert that there is nothing to classify by: a classification that says so."""
        value = declined_classification(
            reason, self._classifier, broker=self._broker, published_ms=message.timestamp_ms, ingested_ms=ingested_ms
        )
        return self._output(message, value, reason.dia_object_id, full=False)

    def _output(self, message: Message, value: bytes, dia_object_id: int, *, full: bool) -> Output:
        headers = [*message.origin, self._histories[full], self._model]
        return Output(topic=self._topic, key=key_of(dia_object_id), value=value, headers=headers)


def dead_letter(message: Message, reason: InvalidAlert, *, topic: str, max_bytes: int | None = None) -> Output:
    """The message as it came, with headers that say why it is here and where it is from.

    Of one longer than ``max_bytes`` a stub: a JSON object of its size, SHA-256 and origin. The headers ``size`` and
    ``sha256`` mark it.
    """
    headers: Headers = [
        ("reason", str(reason).encode()[:_REASON_BYTES].decode(errors="ignore").encode()),
        *message.origin,
    ]
    if len(message.value) >= 5 and message.value[0] == 0:
        headers.append(("schema-id", str(struct.unpack_from(">I", message.value, 1)[0]).encode()))
    if max_bytes is not None and len(message.value) + len(message.key or b"") > max_bytes:
        kept = {"size": str(len(message.value)), "sha256": hashlib.sha256(message.value).hexdigest()}
        headers += [(name, text.encode()) for name, text in kept.items()]
        origin = {name: value.decode() for name, value in message.origin if isinstance(value, bytes)}
        stub = json.dumps({"size": len(message.value), "sha256": kept["sha256"], **origin})
        return Output(topic=topic, key=None, value=stub.encode(), headers=headers)
    return Output(topic=topic, key=message.key, value=message.value, headers=headers)

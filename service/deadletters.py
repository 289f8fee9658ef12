"""Dead letters: what could not be classified, with the raw bytes and the reason."""

import struct

from models.inputs.errors import InvalidAlert
from service.kafka import Headers, Message, Output

_REASON_BYTES = 500
"""A reason may quote the message, and a message may be long."""


def dead_letter(message: Message, reason: InvalidAlert, *, topic: str) -> Output:
    """The message as it came, with headers that say why it is here and where it is from."""
    headers: Headers = [
        ("reason", str(reason).encode()[:_REASON_BYTES].decode(errors="ignore").encode()),
        *message.origin,
    ]
    if len(message.value) >= 5 and message.value[0] == 0:
        headers.append(("schema-id", str(struct.unpack_from(">I", message.value, 1)[0]).encode()))
    return Output(topic=topic, key=None, value=message.value, headers=headers)

"""Dead letters: what could not be classified, with the raw bytes and the reason."""

import hashlib
import json
import struct

from models.inputs.errors import InvalidAlert
from service.kafka import Headers, Message, Output

_REASON_BYTES = 500
"""A reason may quote the message, and a message may be long."""


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
    if max_bytes is not None and len(message.value) > max_bytes:
        kept = {"size": str(len(message.value)), "sha256": hashlib.sha256(message.value).hexdigest()}
        headers += [(name, text.encode()) for name, text in kept.items()]
        origin = {name: value.decode() for name, value in message.origin if isinstance(value, bytes)}
        stub = json.dumps({"size": len(message.value), "sha256": kept["sha256"], **origin})
        return Output(topic=topic, key=None, value=stub.encode(), headers=headers)
    return Output(topic=topic, key=None, value=message.value, headers=headers)

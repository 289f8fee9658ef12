"""The messages of one transaction while they are gathered."""

from dataclasses import dataclass, field

from models.inputs.alert_batch import Decoded
from service.kafka.messages import Message


@dataclass
class Gathered:
    """The messages of one transaction so far, and what they decode to."""

    messages: list[Message] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    """What each message was written with, as far as that can be told."""
    parts: list[Decoded] = field(default_factory=list)
    size: int = 0
    """Bytes of the messages."""

    @property
    def tokens(self) -> int:
        """Points of all light curves."""
        return sum(len(part.alerts.mjd) for part in self.parts)

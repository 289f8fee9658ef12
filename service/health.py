"""What the service says of itself, gathered by whoever knows and read by the HTTP endpoints."""

from dataclasses import dataclass, field
from time import monotonic

_STILL_SECONDS = 15.0
"""A loop that has not turned for so long does no work."""


@dataclass
class Health:
    """Facts, each written by one thread; reading needs no lock."""

    warm: bool = False
    """The model has answered once."""
    joined: bool = False
    """Partitions are assigned, or the group was joined and has none for this worker."""
    draining: bool = False
    kafka: str | None = None
    """Why Kafka cannot be used now."""
    registry: str | None = None
    """Why the schema registry cannot be used now."""
    history: str | None = None
    """Why the history cannot be used now: this degrades."""
    stopped: dict[str, str] = field(default_factory=dict)
    """Partitions that wait for an operator, and why."""
    unread: dict[str, str] = field(default_factory=dict)
    """Partitions that Kafka does not answer for, and why."""
    idle: bool = False
    """Whether there are partitions, and each of them waits."""
    turned: float = field(default_factory=monotonic)
    """When the worker's loop last turned."""

    def unready(self) -> list[str]:
        """Why the service is not ready; empty if it is."""
        reasons = [] if self.warm else ["the model is not warm"]
        reasons += [] if self.joined else ["not joined to the group"]
        still = monotonic() - self.turned
        reasons += [f"the loop has not turned for {still:.0f} s"] if still > _STILL_SECONDS else []
        reasons += ["draining"] if self.draining else []
        reasons += [f"Kafka: {self.kafka}"] if self.kafka else []
        reasons += ["every partition waits"] if self.idle else []
        return reasons

    def waiting(self) -> list[str]:
        """Why some partitions do not go on while the others do: this degrades."""
        reasons = [f"schema registry: {self.registry}"] if self.registry else []
        for partitions in (self.stopped, self.unread):
            reasons += [f"partition {name}: {why}" for name, why in partitions.items()]
        return reasons

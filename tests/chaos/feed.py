"""A load for measuring: the same alerts again and again, at a rate, as fast as they are answered, or at once."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Producer

from tests.service.stream import Topics

_BACKLOG = 5_000
"""So many wait for the service while no rate is given."""
_ASK_SECONDS = 0.5


class Feed(threading.Thread):
    """Publishes these alerts again and again: at a rate, or, if that is None, as much as keeps the service busy.

    ``answered`` tells how many of them are answered by now.
    """

    def __init__(
        self, topics: Topics, values: Sequence[bytes], keys: Sequence[str], *, answered: Callable[[], int]
    ) -> None:
        super().__init__(name="feed", daemon=True)
        self._topic = topics.alerts
        self._messages: Iterator[tuple[bytes, str]] = itertools.cycle(zip(values, keys, strict=True))
        self._ask = answered
        self._producer = Producer({"bootstrap.servers": topics.servers, "linger.ms": 5, "log_level": 0})
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self.rate: float | None = None
        self.published = 0
        self.answered = 0

    def run(self) -> None:
        """Publish until told to stop."""
        asked = due = time.monotonic()
        while not self._ending.is_set():
            now = time.monotonic()
            if now - asked > _ASK_SECONDS:
                asked, self.answered = now, self._ask()
            if self.rate is None:
                wanted, due = max(self.answered + _BACKLOG - self.published, 0), now
            elif not self.rate:
                wanted, due = 0, now
            else:
                wanted = int((now - due) * self.rate)
                due += wanted / self.rate
            self.publish(wanted)
            time.sleep(0.02)
        self._producer.flush(30)

    def publish(self, count: int) -> None:
        """So many at once."""
        with self._lock:
            for value, key in itertools.islice(self._messages, count):
                while True:
                    try:
                        self._producer.produce(self._topic, value=value, key=key)
                        break
                    except BufferError:
                        self._producer.poll(0.1)
                self._producer.poll(0)
            self.published += count

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self.join()

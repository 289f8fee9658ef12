"""How fast a command publishes."""

import time


class Pace:
    """At most so many a second, however long what comes between takes: what was not used is not made up for."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    def wait(self, count: int = 1) -> None:
        """Until it is time for so many more."""
        time.sleep(max(self._next - time.monotonic(), 0))
        self._next = max(self._next, time.monotonic()) + count / self._rate

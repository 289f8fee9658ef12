"""Calls that come back in time, whatever the library below does."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_GRACE_SECONDS = 2.0
"""A process that was frozen wakes up with its time over: the call did not have it, and gets this."""


class Hanging(Exception):
    """A call did not come back in time. Its thread is left behind with it."""


def bounded(call: Callable[[], T], seconds: float) -> T:
    """What the call returns or raises. Raises Hanging if that takes longer.

    For calls into C that ignore their own time-outs: a signal or a deadline would not interrupt them. A thread costs a
    tenth of a millisecond.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # the caller's to judge
            answer.set_exception(error)

    threading.Thread(target=run, name="bounded call", daemon=True).start()
    for limit in (seconds, _GRACE_SECONDS):
        if wait([answer], limit).done:
            return answer.result()
    raise Hanging(f"no answer in {seconds:.0f} s")

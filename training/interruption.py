"""A ctrl-C that waits for a moment at which nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


@contextmanager
def resumable(console: Console) -> Iterator[None]:
    """Of a command that goes on, when it is given again, where ctrl-C has ended it: says so."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on with it")
        raise


@contextmanager
def heard() -> Iterator[threading.Event]:
    """Is set by the first ctrl-C, which interrupts nothing; a second one does.

    Where ctrl-C is ignored, as by what a script runs in the background, and beside the main thread, all stays as it is.
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if before in {signal.SIG_IGN, None} or threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def hear(_: int, __: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hear)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)

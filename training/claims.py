"""Several processes of one command on one directory share its runs: each makes what no other is making.

A claim is a lock on a file, which the system takes back when its process ends, however it ends.
"""

import fcntl
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console

_CLAIMS = "claims"
_WAIT = 2.0
"""Seconds until a look at what others have claimed is worth another."""


class Named(Protocol):
    """What a run is called by."""

    @property
    def variant(self) -> str:
        """All but the seed."""
        ...

    @property
    def seed(self) -> int:
        """Of weights and draws."""
        ...

    @property
    def claim(self) -> str:
        """Names what runs have in common that no two processes may make at once."""
        ...


AnyRun = TypeVar("AnyRun", bound=Named)


def shared(
    runs: Sequence[AnyRun],
    directory: Path,
    console: Console,
    *,
    is_left: Callable[[AnyRun], bool],
    until: float = math.inf,
) -> Iterator[AnyRun]:
    """Each run that is left, when no other process has it; the next is asked for once it is made.

    Says before each how long all will take if they go on as they did. Ends when none is left, others' included, or the
    monotonic clock is past ``until`` [s].
    """
    started, at_first = time.monotonic(), sum(map(is_left, runs))
    while left := list(filter(is_left, runs)):
        made = False
        for run in left:
            if time.monotonic() > until:
                return
            with _claimed(directory / _CLAIMS / run.claim) as mine:
                if mine and is_left(run):  # another process may have made it since
                    _tell(run, sum(map(is_left, runs)), at_first, time.monotonic() - started, console)
                    yield run
                    made = True
        if not made:
            time.sleep(_WAIT)


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether this process alone has it, for as long as that may be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _tell(run: Named, left: int, at_first: int, seconds: float, console: Console) -> None:
    done = at_first - left
    pace = seconds / 60 / done if done else None
    told = "" if pace is None else f", {pace * left:.0f} minutes left at {pace:.1f} a run"
    console.rule(f"{run.variant}, seed {run.seed}: {done + 1} of {at_first}{told}")

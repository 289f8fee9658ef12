"""The service in a process of its own, which dies or freezes at a named point when it is told to.

``python -m tests.chaos.worker DIRECTORY KIND``. The service is as it is: what is wrapped is Kafka's client below it and
the history beside it. An order is a file of that directory, named after the point, that holds a signal; the process
sends it to itself when it comes by. Every output also carries the transaction that it was sent in, as a header, so that
a reader of uncommitted messages can tell the transactions apart. What happened is appended to ``events``.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

import service.serve
from service.__main__ import main
from service.history import History
from service.kafka.messages import Message, Output
from service.kafka.stream import KafkaStream

AFTER_PRODUCE = "after produce"
AFTER_OFFSETS = "after sending offsets"
DURING_COMMIT = "during commit"
AFTER_COMMIT = "after commit, before the Redis write"
POINTS = (AFTER_PRODUCE, AFTER_OFFSETS, DURING_COMMIT, AFTER_COMMIT)

EVENTS = "events"
REFUSED = "refused: the producer is fenced"
TRANSACTION = "transaction"
"""The header that names the transaction: process id and number."""

_VISIBLE_SECONDS = 0.5
"""What was produced is in Kafka's log by then."""
_COMMIT_SECONDS = 0.02
"""About as long as a commit takes."""


class _Orders:
    """What this process was told to do to itself, and what became of it."""

    directory: ClassVar[Path]

    @classmethod
    def tell(cls, what: str) -> None:
        """Append a line to the events."""
        with (cls.directory / EVENTS).open("a") as events:
            events.write(f"{what}\n")

    @classmethod
    def obey(cls, point: str, *, within: float | None = None) -> None:
        """Send this process the signal that awaits it at this point, if any: now, or within so many seconds."""
        try:
            order = (cls.directory / point).read_text()
            (cls.directory / point).unlink()
        except FileNotFoundError:
            return

        def end() -> None:
            cls.tell(point)
            os.kill(os.getpid(), signal.Signals[order])

        if within is not None:
            threading.Timer(random.uniform(0, within), end).start()
            return
        time.sleep(_VISIBLE_SECONDS)
        end()


class _Numbered(Producer):
    """Kafka's producer, with a number for each transaction and the points before, between and within its calls."""

    number = 0

    def begin_transaction(self) -> None:
        _Numbered.number += 1
        with self._refusals_told():
            super().begin_transaction()

    def produce(self, topic: str, **message: Any) -> None:  # type: ignore[override]
        message["headers"].append((TRANSACTION, f"{os.getpid()}-{self.number}".encode()))
        super().produce(topic, **message)

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        _Orders.obey(AFTER_PRODUCE)
        with self._refusals_told():
            super().send_offsets_to_transaction(*arguments)
        _Orders.obey(AFTER_OFFSETS)

    def commit_transaction(self, *arguments: Any) -> None:
        _Orders.obey(DURING_COMMIT, within=_COMMIT_SECONDS)
        with self._refusals_told():
            super().commit_transaction(*arguments)

    def abort_transaction(self, *arguments: Any) -> None:
        with self._refusals_told():
            super().abort_transaction(*arguments)

    @contextlib.contextmanager
    def _refusals_told(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            if error.args[0].code() in {KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH}:
                _Orders.tell(REFUSED)
            raise


class _Watched(History):
    """The history, with the point between the commit and what is remembered after it."""

    def remember(self, published: Sequence[tuple[int, float, bytes]]) -> None:
        _Orders.obey(AFTER_COMMIT)
        super().remember(published)


# --- wrong on purpose ---------------------------------------------------------------------------------------------


class _Untransacted(KafkaStream):
    """What a stream without transactions does: it sends, or commits, one after the other."""

    def _new_producer(self) -> Producer:
        return Producer({**self._common, "linger.ms": 5})

    def _transact(self, call: Callable[[], Any]) -> None:
        """There is nothing to take over, begin or end."""

    def _commit(self, messages: Sequence[Message]) -> None:
        next_: dict[tuple[str, int], int] = {}
        for message in messages:
            next_[message.topic, message.partition] = message.offset + 1
        self._consumer.commit(offsets=[TopicPartition(*name, at) for name, at in next_.items()], asynchronous=False)


class _SendsFirst(_Untransacted):
    """Sends, then commits: a crash in between answers twice."""

    @contextlib.contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        yield self._send
        self._producer.flush(10)
        _Orders.obey(AFTER_PRODUCE)
        self._commit(messages)


class _CommitsFirst(_Untransacted):
    """Commits, then sends: a crash in between answers never."""

    @contextlib.contextmanager
    def transaction(self, messages: Sequence[Message]) -> Iterator[Callable[[Output], None]]:
        outputs: list[Output] = []
        yield outputs.append
        self._commit(messages)
        _Orders.obey(AFTER_OFFSETS)
        for output in outputs:
            self._send(output)
        self._producer.flush(10)


class _Service(KafkaStream):
    """The service's own, which can be struck at its points."""

    producer = _Numbered


STREAMS: dict[str, type[KafkaStream]] = {
    "service": _Service,
    "sends-first": _SendsFirst,
    "commits-first": _CommitsFirst,
}


def _run(directory: Path, kind: str) -> int:
    _Orders.directory = directory
    vars(service.serve)["History"] = _Watched
    vars(service.serve)["KafkaStream"] = STREAMS[kind]
    return main(["serve"])


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1]), sys.argv[2]))

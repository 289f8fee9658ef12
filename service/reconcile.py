"""``python -m service reconcile``: accounts for every message of a window, from what readers can see.

Inputs are selected by Kafka's timestamp. Outputs are joined to them by their origin headers, up to the last stable
offset. The order of the questions makes it exact while the service works: first the inputs, then the group's offsets,
then the outputs' ends, and at last the outputs up to there. An offset is committed in one transaction with the outputs,
so what was committed before the outputs' ends were asked for has its output before them; what has none is missing.
"""

import argparse
import json
import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import astuple, dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from models.arrays import IntArray
from models.taxonomy import NOT_CLASSIFIED
from service.arguments import add_window
from service.errors import KafkaUnavailable, Misconfigured, ServiceError
from service.kafka.messages import Message, Partition
from service.kafka.reader import Reader
from service.outputs import read_broker_classification
from service.settings import Settings

log = logging.getLogger(__name__)

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""No message is dated before."""
_CLOCKS = timedelta(hours=1)
"""An output is dated after its input, but for the difference of two clocks."""
_MOST_RANGES = 1000
"""Missing and double messages are counted all, and listed up to here."""
_PROGRESS_SECONDS = 5.0

# What is known of one input message, a byte each: a window of ten million takes ten megabytes.
_EXISTS, _CLASSIFIED, _DECLINED, _DEAD, _DOUBLE, _EARLY = 1, 2, 4, 8, 16, 32
_ANSWERED = _CLASSIFIED | _DECLINED | _DEAD


@dataclass(frozen=True)
class Account:
    """What became of the messages of one partition, or of all. The numbers from ``classified`` on add up to them."""

    messages: int = 0
    """What is there now, and what is not there any more and was answered."""
    classified: int = 0
    declined: int = 0
    dead_lettered: int = 0
    in_flight: int = 0
    """Behind the group's offset, and not answered yet."""
    unknown: int = 0
    """Retention removed the message, or may have removed its output."""
    missing: int = 0
    """Passed by the group's offset without an output: lost."""
    double: int = 0
    """Answered more than once; counted in ``classified``, ``declined`` or ``dead_lettered`` by the first output too."""

    def __add__(self, other: "Account") -> "Account":
        return Account(*(mine + others for mine, others in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class PartitionAccount:
    """One partition's account, and what is wrong with it."""

    topic: str
    partition: int
    account: Account
    missing: list[tuple[int, int]]
    """Ranges of offsets, first and last."""
    double: list[tuple[int, int]]
    cut: bool
    """Retention has removed messages that may have been in the window."""


@dataclass(frozen=True)
class Report:
    """A window's accounts."""

    begin: datetime
    end: datetime
    partitions: list[PartitionAccount]

    @property
    def total(self) -> Account:
        """Over all partitions."""
        return sum((one.account for one in self.partitions), Account())

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing and nothing double."""
        return not (self.total.missing or self.total.double)

    def lines(self) -> Iterator[dict[str, Any]]:
        """One JSON object a partition, and one for the total."""
        for one in self.partitions:
            yield {
                "topic": one.topic,
                "partition": one.partition,
                **_spelled(one.account),
                "missingOffsets": one.missing,
                "doubleOffsets": one.double,
                "cutByRetention": one.cut,
            }
        window = {"from": self.begin.isoformat(), "to": self.end.isoformat()}
        yield {**window, **_spelled(self.total), "complete": self.is_complete}

    def json(self) -> dict[str, Any]:
        """All of it as one object."""
        *partitions, total = self.lines()
        return {**total, "partitions": partitions}


@dataclass
class _Inputs:
    """The window's messages of one partition, a byte an offset from ``first`` on."""

    first: int
    states: bytearray = field(default_factory=bytearray)
    removed: Account = field(default_factory=Account)
    """Of messages that are not there any more, by their outputs."""

    def saw(self, offset: int, state: int) -> None:
        place = offset - self.first
        if place >= len(self.states):
            self.states.extend(bytes(place + 1 - len(self.states)))
        self.states[place] |= state

    def state(self, offset: int) -> int:
        place = offset - self.first
        return self.states[place] if 0 <= place < len(self.states) else 0


# --- the subcommand -----------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    add_window(parser, required=True)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 1 if a message is missing or answered twice."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    report = reconcile(settings, arguments.begin, arguments.end)
    for line in report.lines():
        sys.stdout.write(json.dumps(line) + "\n")
    return 0 if report.is_complete else 1


def reconcile(settings: Settings, begin: datetime, end: datetime) -> Report:
    """The accounts of the messages dated from ``begin`` up to ``end``.

    Raises Misconfigured for a window that is none or a topic that is not there, and KafkaUnavailable.
    """
    if begin >= end:
        raise Misconfigured(f"the window from {begin.isoformat()} to {end.isoformat()} is empty")
    with closing(Reader(settings)) as reader:
        outputs = [settings.kafka_output_topic, settings.kafka_dead_letter_topic]
        partitions = reader.partitions(settings.input_topics)
        reader.partitions(outputs)
        kept_since = _kept_since(reader, outputs)
        first = reader.first(partitions)
        starts = reader.since(partitions, begin)
        inputs = {name: _Inputs(starts.get(name, (first[name], 0))[0]) for name in partitions}
        for message in _progress(reader.window(settings.input_topics, begin, end), "input"):
            early = _EARLY if message.timestamp_ms < kept_since else 0
            inputs[message.topic, message.partition].saw(message.offset, _EXISTS | early)
        committed = reader.committed(partitions)
        window = (begin.timestamp() * 1000, end.timestamp() * 1000)
        since = max(begin, _EARLIEST + _CLOCKS) - _CLOCKS
        for message in _progress(_published(reader, outputs, since), "output"):
            _join(message, inputs, first, window=window, dead=message.topic == outputs[1])
        # Where a window begins at what is left of a partition, it may have begun before.
        cut = {name for name in partitions if 0 < first[name] == inputs[name].first}
        return Report(begin, end, [_account(name, inputs[name], committed, cut=name in cut) for name in partitions])


def _kept_since(reader: Reader, topics: list[str]) -> float:
    """From when on every output is there still [ms]: where retention has removed some, others may be gone too."""
    partitions = reader.partitions(topics)
    first, end = reader.first(partitions), reader.end(partitions)
    oldest = reader.since(partitions, _EARLIEST)
    kept = 0.0
    for name in partitions:
        if first[name] > 0 and name in oldest:
            kept = max(kept, oldest[name][1])
        elif 0 < first[name] == end[name]:  # all are gone
            retention = reader.retention_ms(name[0])
            kept = max(kept, math.inf if retention is None else time.time() * 1000 - retention)
    return kept


def _published(reader: Reader, topics: list[str], since: datetime) -> Iterator[list[Message]]:
    partitions = reader.partitions(topics)
    starts = {name: offset for name, (offset, _) in reader.since(partitions, since).items()}
    return reader.read(starts, reader.end(partitions))


def _join(
    output: Message,
    inputs: Mapping[Partition, _Inputs],
    first: Mapping[Partition, int],
    *,
    window: tuple[float, float],
    dead: bool,
) -> None:
    """Note an output with the input that its headers name."""
    headers = output.headers
    try:
        topic = headers["origin-topic"].decode()
        partition, offset, timestamp = (int(headers[f"origin-{name}"]) for name in ("partition", "offset", "timestamp"))
    except (KeyError, ValueError):  # somebody else's message, or the note of a requeued one
        return
    known = inputs.get((topic, partition))
    if known is None:
        return
    state = known.state(offset)
    if state & _EXISTS:
        new = _DEAD if dead else _kind(output.value)
        known.saw(offset, _DOUBLE if state & _ANSWERED else new)
    elif offset < first[topic, partition] and window[0] <= timestamp < window[1]:
        known.removed += Account(messages=1, unknown=1)


def _kind(value: bytes) -> int:
    """Whether a classification is one, or says that the model declined."""
    try:
        classes = read_broker_classification(value)["classifications"]
    except Exception:  # another version's schema: it is an answer all the same
        return _CLASSIFIED
    declined = any(one["classId"] == NOT_CLASSIFIED and one["probability"] == 1 for one in classes)
    return _DECLINED if declined else _CLASSIFIED


def _account(name: Partition, inputs: _Inputs, committed: Mapping[Partition, int], *, cut: bool) -> PartitionAccount:
    states = np.frombuffer(inputs.states, dtype=np.uint8)
    offsets = inputs.first + np.arange(len(states))
    exists = states & _EXISTS > 0
    unanswered = exists & (states & _ANSWERED == 0)
    passed = unanswered & (offsets < committed.get(name, 0))
    early = states & _EARLY > 0
    missing, double = passed & ~early, states & _DOUBLE > 0
    here = Account(
        messages=int(exists.sum()),
        classified=int((states & _CLASSIFIED > 0).sum()),
        declined=int((states & _DECLINED > 0).sum()),
        dead_lettered=int((states & _DEAD > 0).sum()),
        in_flight=int((unanswered & ~passed).sum()),
        unknown=int((passed & early).sum()),
        missing=int(missing.sum()),
        double=int(double.sum()),
    )
    return PartitionAccount(
        *name, here + inputs.removed, missing=_ranges(offsets[missing]), double=_ranges(offsets[double]), cut=cut
    )


def _ranges(offsets: IntArray) -> list[tuple[int, int]]:
    """Ascending offsets as ranges, first and last; the first _MOST_RANGES of them."""
    breaks = np.diff(offsets, prepend=offsets[:1] - 2, append=offsets[-1:] + 2) > 1
    starts, ends = offsets[breaks[:-1]], offsets[breaks[1:]]
    return list(zip(starts[:_MOST_RANGES].tolist(), ends[:_MOST_RANGES].tolist(), strict=True))


def _spelled(account: Account) -> dict[str, int]:
    """As JSON spells it."""
    return {
        "messages": account.messages,
        "classified": account.classified,
        "declined": account.declined,
        "deadLettered": account.dead_lettered,
        "inFlight": account.in_flight,
        "unknown": account.unknown,
        "missing": account.missing,
        "double": account.double,
    }


def _progress(batches: Iterable[list[Message]], what: str) -> Iterator[Message]:
    """The messages one by one, and on a terminal how many there were."""
    count, told = 0, time.monotonic()
    for messages in batches:
        yield from messages
        count += len(messages)
        if sys.stderr.isatty() and time.monotonic() - told > _PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("%d %s messages read", count, what)


# --- in a process of its own --------------------------------------------------------------------------------------


def apart(settings: Settings, begin: datetime, end: datetime, *, seconds: float) -> dict[str, Any]:
    """The report as JSON, made by another process, so that the worker's has its time and memory to itself.

    Raises what ``reconcile`` does, and KafkaUnavailable if it takes longer than ``seconds``.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send_report, args=(there, settings, begin, end), name="reconcile", daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            raise KafkaUnavailable(f"not done in {seconds:.0f} s: ask for a shorter window, or by the command")
        answer: dict[str, Any] | ServiceError = here.recv()
    except EOFError as error:
        raise KafkaUnavailable("the process that reconciles has ended without an answer") from error
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()
    if isinstance(answer, ServiceError):
        raise answer
    return answer


def _send_report(answer: Connection, settings: Settings, begin: datetime, end: datetime) -> None:
    try:
        answer.send(reconcile(settings, begin, end).json())
    except ServiceError as error:
        answer.send(error)

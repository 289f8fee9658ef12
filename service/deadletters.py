"""Dead letters: what could not be classified, with the raw bytes and the reason; and ``python -m service deadletters``.

A dead letter is named by its place in the dead-letter topic, PARTITION:OFFSET. When it is sent through its input topic
again, a note of that becomes visible beside it in the same transaction: an empty message whose one header ``requeued``
is the dead letter's name. So nothing is requeued twice, whatever stops the command, and no other store has to agree.
"""

import argparse
import itertools
import json
import logging
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.errors import InvalidAlert
from service.arguments import add_window, positive
from service.errors import Misconfigured, RegistryUnavailable, ServiceError, TooLong
from service.kafka.messages import Headers, Message, Output, Partition
from service.kafka.publishers import TransactionalPublisher
from service.kafka.reader import Reader
from service.pace import Pace
from service.reasons import kind_of
from service.registry import Registry
from service.settings import Settings

log = logging.getLogger(__name__)

# --- reading them -------------------------------------------------------------------------------------------------

_REQUEUED = "requeued"
_ORIGIN = ("origin-topic", "origin-partition", "origin-offset", "origin-timestamp")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53
_NAME = re.compile(r"(\d{1,9}):(\d{1,18})")

Name = tuple[int, int]
"""Partition and offset of a dead letter in the dead-letter topic."""


@dataclass(frozen=True)
class DeadLetter:
    """One message of the dead-letter topic."""

    message: Message

    @property
    def name(self) -> str:
        """Where it is in the topic."""
        return f"{self.message.partition}:{self.message.offset}"

    @property
    def reason(self) -> str:
        """Why it is here."""
        return self._header("reason")

    @property
    def is_stub(self) -> bool:
        """Whether it stands for a message that was too large for this topic, and has only its size and hash."""
        return "sha256" in self.message.headers

    @property
    def origin(self) -> dict[str, Any] | None:
        """The message that it was: topic, partition, offset and timestamp [ms]. None if the headers do not say."""
        topic, *numbers = (self._header(name) for name in _ORIGIN)
        if not topic or not all(number.removeprefix("-").isdecimal() for number in numbers):
            return None
        partition, offset, timestamp = map(int, numbers)
        return {"topic": topic, "partition": partition, "offset": offset, "timestamp": _iso(timestamp)}

    def line(self, requeued: set[str]) -> dict[str, Any]:
        """What ``list`` prints of it."""
        return {
            "id": self.name,
            "timestamp": _iso(self.message.timestamp_ms),
            "reason": self.reason,
            "origin": self.origin,
            "schemaId": self._header("schema-id") or None,
            "bytes": len(self.message.value),
            "stub": self.is_stub,
            "requeued": self.name in requeued,
        }

    def _header(self, name: str) -> str:
        return self.message.headers.get(name, b"").decode(errors="replace")


class DeadLetters:
    """The dead-letter topic, as it was when it was opened."""

    def __init__(self, reader: Reader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._partitions = reader.partitions([topic])
        self._end = reader.end(self._partitions)

    def requeued(self, begin: datetime) -> set[str]:
        """The names of those that were requeued since then."""
        return {
            message.headers[_REQUEUED].decode(errors="replace")
            for messages in self._reader.read(self._since(begin), self._end)
            for message in messages
            if _REQUEUED in message.headers
        }

    def between(self, begin: datetime, end: datetime) -> Iterator[DeadLetter]:
        """Those that became dead letters in this window."""
        for messages in self._reader.read(self._since(begin), self._end):
            for message in messages:
                inside = begin.timestamp() * 1000 <= message.timestamp_ms < end.timestamp() * 1000
                if inside and _REQUEUED not in message.headers:
                    yield DeadLetter(message)

    def named(self, names: Sequence[Name]) -> Iterator[DeadLetter]:
        """These, in the topic's order. Raises Misconfigured for one that is not there."""
        wanted = {(self._topic, partition, offset) for partition, offset in names}
        for topic, partition, offset in sorted(wanted):
            begin: dict[Partition, int] = {(topic, partition): offset}
            end = {(topic, partition): min(self._end.get((topic, partition), 0), offset + 1)}
            found = [message for messages in self._reader.read(begin, end) for message in messages]
            if not found or found[0].offset != offset or _REQUEUED in found[0].headers:
                raise Misconfigured(f"{topic} has no dead letter {partition}:{offset}")
            yield DeadLetter(found[0])

    def _since(self, begin: datetime) -> dict[Partition, int]:
        return {name: offset for name, (offset, _) in self._reader.since(self._partitions, begin).items()}


def _iso(milliseconds: int) -> str:
    moment = _moment(milliseconds)
    return f"{milliseconds} ms" if moment is None else moment.isoformat(timespec="milliseconds")


def _moment(milliseconds: int) -> datetime | None:
    """None for no time that there is: a producer may date a message as it likes."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    except (OverflowError, ValueError):
        return None


# --- the subcommand -----------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="one JSON line a dead letter, or a kind of reason")
    _add_selection(listing)
    listing.add_argument("--counts", action="store_true", help="count them by the kind of their reason")
    listing.add_argument("--table", action="store_true", help="for people: columns instead of JSON")

    showing = actions.add_parser(
        "show", help="one dead letter: headers, what it says as far as that can be read, bytes"
    )
    showing.add_argument("name", type=_name, metavar="ID", help="PARTITION:OFFSET, as list prints it")
    showing.add_argument("--raw", type=Path, metavar="FILE", help="write its bytes to this file")

    requeueing = actions.add_parser("requeue", help="send them through their input topics again")
    requeueing.add_argument("names", nargs="*", type=_name, metavar="ID", help="these; or by the options below")
    _add_selection(requeueing)
    requeueing.add_argument("--all", action="store_true", help="all that there are, where no other option selects")
    requeueing.add_argument("--rate", type=positive(float), default=100.0, metavar="N", help="a second (default 100)")
    requeueing.add_argument("--force", action="store_true", help="those too that were requeued before")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    add_window(parser)
    parser.add_argument("--reason", metavar="TEXT", help="only those whose reason, or its kind, contains this")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 1 if one could not be requeued or Kafka does not answer, 2 for wrong usage."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if arguments.action == "list":
        return _list(arguments, settings)
    if arguments.action == "show":
        return _show(arguments, settings)
    return _requeue(arguments, settings)


def _list(arguments: argparse.Namespace, settings: Settings) -> int:
    with closing(Reader(settings)) as reader:
        letters = DeadLetters(reader, settings.kafka_dead_letter_topic)
        requeued = letters.requeued(arguments.begin or _LONG_AGO)
        lines: Iterable[dict[str, Any]] = (letter.line(requeued) for letter in _selected(letters, arguments))
        if arguments.counts:
            lines = _counts(lines)
        if arguments.table:
            _print_table(list(lines))
        else:
            for line in lines:
                _print(line)
    return 0


def _selected(letters: DeadLetters, arguments: argparse.Namespace) -> Iterator[DeadLetter]:
    between = letters.between(arguments.begin or _LONG_AGO, arguments.end or datetime.max.replace(tzinfo=UTC))
    text = arguments.reason or ""
    return (letter for letter in between if text in letter.reason or text in kind_of(letter.reason))


def _counts(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many of each kind, the most frequent first."""
    kinds: dict[str, dict[str, Any]] = {}
    for line in lines:
        kind = kind_of(line["reason"])
        new = {"reason": kind, "count": 0, "requeued": 0, "first": line["timestamp"], "last": line["timestamp"]}
        entry = kinds.setdefault(kind, new)
        entry["count"] += 1
        entry["requeued"] += line["requeued"]
        entry["first"], entry["last"] = min(entry["first"], line["timestamp"]), max(entry["last"], line["timestamp"])
    return sorted(kinds.values(), key=lambda entry: -entry["count"])


def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    with closing(Reader(settings)) as reader:
        letters = DeadLetters(reader, settings.kafka_dead_letter_topic)
        (letter,) = letters.named([arguments.name])
        line = letter.line(letters.requeued(_moment(letter.message.timestamp_ms) or _LONG_AGO))
    if arguments.raw is not None:
        try:
            arguments.raw.write_bytes(letter.message.value)
        except OSError as error:
            raise Misconfigured(f"{arguments.raw} cannot be written: {error.strerror}") from error
    headers = {name: value.decode(errors="replace") for name, value in letter.message.headers.items()}
    key = letter.message.key
    _print(
        {
            **line,
            "key": None if key is None else key.decode(errors="replace"),
            "headers": headers,
            **_says(letter.message.value, Registry(settings.schema_registry_url)),
        }
    )
    return 0


def _says(value: bytes, registry: Registry) -> dict[str, Any]:
    """What the bytes say, as far as they can be read: records by schema, why they are no alert, how they begin."""
    try:
        reading = avro.message(value, schema_by_id=registry.schema)
    except RegistryUnavailable as error:
        return {"decoded": None, "problem": str(error), "begins": value[:64].hex()}
    if isinstance(reading, InvalidAlert):
        return {"decoded": None, "problem": str(reading), "begins": value[:64].hex()}
    invalid = alert_batch([reading]).invalid.get(0)
    return {"decoded": _plain(reading), "problem": None if invalid is None else str(invalid)}


def _plain(value: Any) -> Any:
    """A record as JSON can say it: bytes by their length, numbers that are none by their name, long ones as text.

    Many readers of JSON round integers beyond 2^53, and most ids are.
    """
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)


# --- sending them again -------------------------------------------------------------------------------------------


def _requeue(arguments: argparse.Namespace, settings: Settings) -> int:
    by_selection = arguments.begin or arguments.end or arguments.reason or arguments.all
    if bool(arguments.names) == bool(by_selection):
        raise Misconfigured("name dead letters, or select them by --from, --to, --reason or --all")
    # First: an earlier command of this name that is still at it is ended, and what it did is seen below.
    publisher = TransactionalPublisher(settings, "requeue")
    with closing(Reader(settings)) as reader:
        letters = DeadLetters(reader, settings.kafka_dead_letter_topic)
        done = set() if arguments.force else letters.requeued(_LONG_AGO)
        chosen = letters.named(arguments.names) if arguments.names else _selected(letters, arguments)
        return requeue(chosen, publisher, reader=reader, requeued=done, rate=arguments.rate)


def requeue(
    letters: Iterable[DeadLetter],
    publisher: TransactionalPublisher,
    *,
    reader: Reader,
    requeued: set[str],
    rate: float,
) -> int:
    """Send dead letters to where they came from, at most ``rate`` a second; one JSON line each.

    Each goes back to its own partition, behind what its object has sent since. Returns 1 if one could not be sent.
    """
    pace, sent, failed = Pace(rate), 0, 0
    # What is sent together becomes visible together: a second's worth, so that the rate holds for the readers too.
    for some in _chunks(letters, max(1, min(int(rate), 100))):
        good = []
        for letter in some:
            problem = _why_not(letter, reader)
            if problem is not None:
                failed += 1
                _print({"id": letter.name, "error": problem})
            elif letter.name in requeued:
                _print({"id": letter.name, "skipped": "it was requeued before"})
            else:
                good.append(letter)
        if good:
            pace.wait(len(good))
            for letter, problem in _published(good, publisher):
                failed += problem is not None
                _print({"id": letter.name, **({"requeued": letter.origin} if problem is None else {"error": problem})})
            sent += len(good)
    log.info("%d requeued, %d failed", sent, failed)
    return 1 if failed else 0


def _published(letters: Sequence[DeadLetter], publisher: TransactionalPublisher) -> list[tuple[DeadLetter, str | None]]:
    """Each, and why it could not be sent. Together if that is possible: one that is too long takes no other with it."""
    try:
        publisher.publish(itertools.chain.from_iterable(map(_again, letters)))
    except TooLong as error:
        if len(letters) == 1:
            return [(letters[0], str(error))]
        return [outcome for letter in letters for outcome in _published([letter], publisher)]
    return [(letter, None) for letter in letters]


def _why_not(letter: DeadLetter, reader: Reader) -> str | None:
    """Why a dead letter cannot be requeued."""
    origin = letter.origin
    if letter.is_stub:
        return "a stub: the message was too large for this topic, and only its size and hash are here"
    if origin is None:
        return "its headers do not say where it is from"
    try:
        partitions = reader.partitions([origin["topic"]])
    except ServiceError as error:
        return str(error)
    there = (origin["topic"], origin["partition"]) in partitions
    return None if there else f"{origin['topic']} has no partition {origin['partition']} any more"


def _again(letter: DeadLetter) -> list[Output]:
    """The message as it was, and the note that it was sent."""
    message, origin = letter.message, letter.origin
    assert origin is not None  # noqa: S101 - _why_not
    headers: Headers = [
        ("requeued-from", f"{message.topic}/{letter.name}".encode()),
        ("requeued-at", datetime.now(UTC).isoformat(timespec="milliseconds").encode()),
        *((name, message.headers[name]) for name in _ORIGIN),
    ]
    topic, partition = origin["topic"], origin["partition"]
    note: Headers = [(_REQUEUED, letter.name.encode())]
    return [
        Output(topic=topic, key=message.key, value=message.value, headers=headers, partition=partition),
        Output(topic=message.topic, key=None, value=b"", headers=note, partition=message.partition),
    ]


def _chunks(letters: Iterable[DeadLetter], size: int) -> Iterator[list[DeadLetter]]:
    iterator = iter(letters)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _name(text: str) -> Name:
    match = _NAME.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not PARTITION:OFFSET")
    return int(match[1]), int(match[2])


def _print(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")


def _print_table(lines: Sequence[Mapping[str, Any]]) -> None:
    """The same lines in columns, without what is nested."""
    if not lines:
        return
    names = [name for name, value in lines[0].items() if not isinstance(value, dict)]
    rows = [names, *([str(line[name]) for name in names] for line in lines)]
    widths = [min(max(len(row[column]) for row in rows), 60) for column in range(len(names))]
    for row in rows:
        cells = (cell[:width].ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")

"""``python -m service replay``: publish alerts again, from files or from a topic's past."""

import argparse
import itertools
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.errors import InvalidAlert
from service.arguments import add_window, positive
from service.errors import Misconfigured, RegistryUnavailable
from service.kafka.messages import Headers, Output
from service.kafka.publishers import Publisher
from service.kafka.reader import Reader
from service.outputs import key_of
from service.pace import Pace
from service.registry import Registry
from service.settings import Settings

log = logging.getLogger(__name__)

_CHUNK = 256


@dataclass(frozen=True)
class Replayed:
    """One alert to publish: its bytes, its key, and when it was first."""

    value: bytes
    key: bytes | None
    headers: Headers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="alert files, as for classify")
    parser.add_argument("--from-topic", metavar="TOPIC", help="instead of files: what was published to this topic")
    add_window(parser)
    parser.add_argument("--topic", required=True, help="topic to publish to")
    parser.add_argument("--rate", type=positive(float), metavar="N", help="at most so many alerts a second")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 1 if something could not be published."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if arguments.from_topic:
        if arguments.files or arguments.begin is None or arguments.end is None:
            raise Misconfigured("--from-topic goes with --from and --to, and without files")
        replayed: Iterable[Replayed | InvalidAlert] = _of_topic(
            settings, arguments.from_topic, arguments.begin, arguments.end
        )
    elif arguments.files:
        registry = Registry(settings.schema_registry_url)
        replayed = itertools.chain.from_iterable(_of_file(Path(file), registry) for file in arguments.files)
    else:
        raise Misconfigured("name files, or --from-topic")
    _, failed = publish(replayed, Publisher(settings, arguments.topic), rate=arguments.rate)
    return 1 if failed else 0


def publish(
    replayed: Iterable[Replayed | InvalidAlert], publisher: Publisher, *, rate: float | None = None
) -> tuple[int, int]:
    """Publish in order, at most ``rate`` a second; how many were published, and how many could not be.

    What was read is delivered, and counted in the log, before whatever ends the reading is raised.
    """
    pace = None if rate is None else Pace(rate)
    sent, failed, lost = 0, 0, 0
    try:
        for one in replayed:
            if isinstance(one, InvalidAlert):
                failed += 1
                log.error("%s", one)
                continue
            if pace is not None:
                pace.wait()
            publisher.send(Output(topic=publisher.topic, key=one.key, value=one.value, headers=one.headers))
            sent += 1
    finally:
        lost = publisher.close()
        log.info("%d published, %d failed", sent - lost, failed + lost)
    return sent - lost, failed + lost


def _of_topic(settings: Settings, topic: str, begin: datetime, end: datetime) -> Iterator[Replayed]:
    with closing(Reader(settings)) as reader:
        for messages in reader.window([topic], begin, end):
            for message in messages:
                headers: Headers = [("original-timestamp", str(message.timestamp_ms).encode())]
                yield Replayed(message.value, message.key, headers)


def _of_file(path: Path, registry: Registry) -> Iterator[Replayed | InvalidAlert]:
    try:
        messages = avro.messages(path.read_bytes())
    except OSError as error:
        yield InvalidAlert(f"{path}: cannot be read: {error.strerror}")
        return
    while chunk := list(itertools.islice(messages, _CHUNK)):
        yield from _keyed(chunk, path, registry)


def _keyed(messages: list[bytes | InvalidAlert], path: Path, registry: Registry) -> Iterator[Replayed | InvalidAlert]:
    """Messages with their objects' ids as keys. One that is no alert is published as it is: that is what it was."""
    try:
        framed = [
            one if isinstance(one, InvalidAlert) else avro.unread(one, schema_by_id=registry.schema) for one in messages
        ]
    except RegistryUnavailable as error:  # of the one message of its file
        yield InvalidAlert(f"{path}: {error}")
        return
    decoded = alert_batch(framed)
    rows = {message: row for row, message in enumerate(decoded.messages.tolist())}
    for place, message in enumerate(messages):
        if isinstance(message, InvalidAlert):
            yield InvalidAlert(f"{path}: {message}")
            continue
        row = rows.get(place)
        if row is None:
            yield Replayed(message, None, [])
            continue
        id_ = int(decoded.alerts.dia_object_id[row])
        yield Replayed(message, key_of(id_), [("original-mjd", repr(float(decoded.alerts.epoch[row])).encode())])

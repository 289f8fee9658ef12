"""A worker between real topics, in a thread of the test, and what a read_committed reader sees of it."""

import contextlib
import io
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from models.classifier import Classifier
from service.errors import Fatal
from service.health import Health
from service.history import History
from service.inference import Inference
from service.kafka.stream import KafkaStream
from service.metrics import Metrics
from service.outputs import SCHEMAS
from service.redis_client import connect
from service.registry import Registry
from service.settings import Settings
from service.worker import Worker
from tests import alerts
from tests.alerts import FIRST_MJD, elasticc, source

CLASSIFICATION = fastavro.schema.load_schema(str(SCHEMAS / "elasticc.v0_9_1.brokerClassification.avsc"))


def until(
    true: Callable[[], bool],
    *,
    what: str = "what was waited for",
    seconds: float = 60,
    meanwhile: Callable[[], object] = lambda: time.sleep(0.1),
) -> None:
    """Wait for it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        meanwhile()


@dataclass(frozen=True)
class Seen:
    """A message as a reader sees it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: dict[str, str]

    @property
    def origin(self) -> tuple[str, int, int]:
        """The input message that this one answers."""
        headers = self.headers
        return headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"])


def _seen(message: Message) -> Seen:
    pairs: Any = message.headers() or ()
    key: Any = message.key()
    return Seen(message.topic() or "", key, message.value() or b"", {name: value.decode() for name, value in pairs})


@dataclass
class Topics:
    """Three topics of a test's own, and its settings."""

    servers: str
    partitions: int = 2
    config: dict[str, dict[str, str]] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def __post_init__(self) -> None:
        self.alerts, self.classifications, self.dead_letters = (f"{self.name}-{kind}" for kind in ("in", "out", "dead"))
        admin = AdminClient({"bootstrap.servers": self.servers})
        usual = {
            self.alerts: {"retention.ms": "-1"},  # some tests date alerts by hand, long ago
            self.dead_letters: {"max.message.bytes": "2000000"},
        }
        new = [
            NewTopic(topic, self.partitions, 1, config={**usual.get(topic, {}), **self.config.get(topic[13:], {})})
            for topic in (self.alerts, self.classifications, self.dead_letters)
        ]
        for future in admin.create_topics(new).values():
            future.result(20)

    def settings(self, **values: str) -> Settings:
        """Settings for a worker of this test, as an operator would write them."""
        return Settings.from_env(self.environment(**values))

    def environment(self, **values: str) -> dict[str, str]:
        """The same, as environment variables."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.servers,
            "KAFKA_INPUT_TOPICS": self.alerts,
            "KAFKA_OUTPUT_TOPIC": self.classifications,
            "KAFKA_DEAD_LETTER_TOPIC": self.dead_letters,
            "KAFKA_GROUP_ID": self.name,
            "KAFKA_TRANSACTIONAL_ID": self.name,
            "KAFKA_CONFIG_AUTO_OFFSET_RESET": "earliest",
            "KAFKA_CONFIG_SESSION_TIMEOUT_MS": "6000",
            "HTTP_PORT": "none",
            **values,
        }

    def send(self, values: Sequence[bytes | None], *, keys: Sequence[str] | None = None, seconds_ago: float = 0) -> int:
        """Publish alerts, as of so long ago; one key, one partition. Returns their timestamp [ms]."""
        sent_ms = int(1000 * (time.time() - seconds_ago))
        # Idempotent: what it sends again to a server that was slow to answer must not be there twice.
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, "enable.idempotence": True})
        for place, value in enumerate(values):
            while True:
                try:
                    key = None if keys is None else keys[place]
                    producer.produce(self.alerts, value=value, key=key, timestamp=sent_ms)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(90) == 0, "not all was published"
        return sent_ms

    def read(self, *, committed: bool = True) -> list[Seen]:
        """Everything in the two output topics up to their ends, each partition in order."""
        return self.read_topic(self.classifications, self.dead_letters, committed=committed)

    def read_topic(self, *topics: str, committed: bool = True) -> list[Seen]:
        """Everything in these topics up to their ends."""
        return self._read(topics, committed=committed)

    def wait_for(self, count: int, *, seconds: float = 60) -> list[Seen]:
        """The same of the output topics, when there is so much."""
        return self._read((self.classifications, self.dead_letters), committed=True, at_least=count, seconds=seconds)

    def _read(self, topics: Sequence[str], *, committed: bool, at_least: int = 0, seconds: float = 60) -> list[Seen]:
        options = {
            "bootstrap.servers": self.servers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
        until = time.monotonic() + seconds
        seen: list[Seen] = []
        with contextlib.closing(Consumer(options)) as consumer:
            consumer.assign([TopicPartition(topic, number, 0) for topic in topics for number in range(self.partitions)])
            at_end: set[tuple[str | None, int | None]] = set()
            while len(at_end) < len(topics) * self.partitions or len(seen) < at_least:
                assert time.monotonic() < until, f"{len(seen)} of {at_least} outputs after {seconds} s"
                for message in consumer.consume(1000, 0.2):  # so long even where there are no more
                    error, place = message.error(), (message.topic(), message.partition())
                    if error is None:
                        at_end.discard(place)
                        seen.append(_seen(message))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        at_end.add(place)
                    else:  # of a Kafka that is started again it may be waited for
                        assert at_least, error
        return seen

    def committed(self) -> int:
        """Sum of the group's committed offsets."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.name})
        partitions = consumer.committed([TopicPartition(self.alerts, n) for n in range(self.partitions)], 10)
        consumer.close()
        return sum(max(partition.offset, 0) for partition in partitions)


@dataclass
class Running:
    """A worker and what it reports to."""

    worker: Worker
    stream: KafkaStream
    metrics: Metrics
    health: Health
    history: History | None
    inference: Inference
    thread: threading.Thread
    failure: list[BaseException] = field(default_factory=list)

    def stop(self) -> None:
        """Drain."""
        self.worker.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()

    def metric(self, name: str, **labels: str) -> float:
        """One sample's value, 0 if its labels never came up."""
        value = self.metrics.registry.get_sample_value(name, labels)
        if value is not None:
            return value
        known = {family.name for family in self.metrics.registry.collect()} if labels else set()
        assert re.sub("_(total|bucket|count|sum)$", "", name) in known, f"no metric {name} with these labels: {labels}"
        return 0.0


@contextlib.contextmanager
def running(
    topics: Topics,
    classifier: Classifier,
    *,
    redis_url: str | None = None,
    stream: type[KafkaStream] = KafkaStream,
    registry: Registry | None = None,
    fails: type[Fatal] | tuple[()] = (),
    **values: str,
) -> Iterator[Running]:
    """A worker in a thread, drained at the end. What it ends with fails the test, or must be what it ``fails`` with."""
    settings = topics.settings(**values)
    metrics, health = Metrics(), Health(warm=True)
    client = None if redis_url is None else connect(redis_url, renewed=lambda: redis_url)
    history = (
        None
        if client is None
        else History(client, ttl=settings.history_ttl, max_points=settings.history_points, window_days=395)
    )
    inference = Inference(classifier, metrics, max_waiting=4)
    kafka = stream(settings)
    worker = Worker(
        settings,
        stream=kafka,
        inference=inference,
        history=history,
        registry=registry or Registry(None),
        metrics=metrics,
        health=health,
    )
    failure: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="worker", daemon=True)  # one that hangs must not keep the tests
    up = Running(worker, kafka, metrics, health, history, inference, thread, failure)
    thread.start()
    try:
        yield up
    finally:
        worker.stop()
        thread.join(60)
        assert not thread.is_alive(), "the worker does not end"
        inference.close()
        if client is not None:
            client.close()
        if failure and not isinstance(failure[0], fails):
            raise failure[0]
    assert failure or not fails, "the worker has not failed"


def decoded(seen: Iterable[Seen]) -> list[dict[str, Any]]:
    """Classifications as records."""
    return [fastavro.schemaless_reader(io.BytesIO(one.value), CLASSIFICATION) for one in seen]  # type: ignore[misc]


def toy_alerts(n: int, *, objects: int = 10) -> tuple[list[bytes], list[str]]:
    """Bare datums of ``n`` alerts in time order, and their keys."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(n):
        object_id = 1 + number % objects
        trigger = source(10_000 + number, FIRST_MJD + number / 10, flux=float(rng.normal(900, 300)))
        made.append(elasticc(trigger, alert_id=number, object_=alerts.dia_object(object_id)))
    return [alerts.datum(record) for record in made], [str(1 + number % objects) for number in range(n)]


@contextlib.contextmanager
def served(
    topics: Topics, classifier: Classifier, directory: Path, **values: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """The service as a process of its own, killed in the end if it is still there; it writes ``service.log``."""
    classifier.save(directory / "toy")
    environment = os.environ | topics.environment(MODEL_DIR=str(directory / "toy"), **values)
    command = [sys.executable, "-m", "service", "serve"]
    with (
        (directory / "service.log").open("w") as log,
        subprocess.Popen(command, env=environment, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            print((directory / "service.log").read_text(), file=sys.stderr)  # which pytest shows for what failed

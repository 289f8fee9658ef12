"""The alerts of a run: real ones where they are, simulated ones, and poison; and the thread that publishes them."""

import itertools
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.errors import InvalidAlert
from tests import alerts

REPOSITORY = Path(__file__).parents[2]
POISON_SHARE = 0.01

_REAL_SHARE = 0.275
"""13,747 of 50,000: all there are."""
_ALERTS_PER_OBJECT = 40
_CHUNK = 500
_SEEDS = 10_000_000
"""So many the simulated survey knows."""


@dataclass(frozen=True)
class Load:
    """What is published, in this order."""

    values: list[bytes]
    keys: list[str]
    poison: frozenset[bytes]


@dataclass(frozen=True)
class _Sent:
    """A good alert."""

    value: bytes
    dia_object_id: int
    epoch: float


def load(count: int, *, seed: int, directory: Path, data: Path) -> Load:
    """``count`` messages in time order. Real alerts are taken from ``data``, if it is there; ``directory`` is to use.

    Of one object, one alert an epoch: of two, which was first would decide what the other is told. Half of the
    simulated objects send alerts without their past, as the service's own history must know it.
    """
    rng = random.Random(seed)
    n_poison = int(count * POISON_SHARE)
    n_good = count - n_poison
    files = sorted((data / "elasticc" / "alerts").glob("*.avro"))
    real = _some_objects(_read(files), int(n_good * _REAL_SHARE), rng)
    simulated = _some_objects(_thinned(_read(_simulate(n_good - len(real), seed, directory))), n_good - len(real), rng)
    good = sorted([*real, *simulated], key=lambda sent: sent.epoch)
    if len(good) < n_good:
        raise ValueError(f"only {len(good)} of {n_good} alerts")
    values, keys = [sent.value for sent in good], [str(sent.dia_object_id) for sent in good]
    poison = [_poisoned(rng, rng.choice(values)) for _ in range(n_poison)]
    for place, value in zip(sorted(rng.sample(range(count), n_poison)), poison, strict=True):
        values.insert(place, value)
        keys.insert(place, keys[place - 1])
    return Load(values, keys, frozenset(poison))


def _simulate(count: int, seed: int, directory: Path) -> list[Path]:
    options = [
        "--objects",
        str(20 + count // _ALERTS_PER_OBJECT),
        "--seed",
        str(seed % _SEEDS),
        "--output",
        str(directory),
    ]
    command = [sys.executable, "-m", "training", "simulate", "--alerts", *options]
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    return sorted(directory.glob("*.avro"))


def _read(files: Sequence[Path]) -> Iterator[_Sent]:
    """The alerts of these files that can be classified, one an object and epoch."""
    seen: set[tuple[int, float]] = set()
    for file in files:
        messages = avro.messages(file.read_bytes())
        while chunk := list(itertools.islice(messages, _CHUNK)):
            values = [value for value in chunk if not isinstance(value, InvalidAlert)]
            decoded = alert_batch([avro.unread(value) for value in values])
            batch = decoded.alerts
            for place, object_id, epoch in zip(
                decoded.messages.tolist(), batch.dia_object_id.tolist(), batch.epoch.tolist(), strict=True
            ):
                if (object_id, epoch) not in seen:
                    seen.add((object_id, epoch))
                    yield _Sent(values[place], object_id, epoch)


def _thinned(sent: Iterator[_Sent]) -> Iterator[_Sent]:
    schema = schemas.elasticc()["v0_9_1"]
    for one in sent:
        if one.dia_object_id % 2:
            yield one
            continue
        record = avro.datum(one.value, schema)
        bare = {**record, "prvDiaSources": None, "prvDiaForcedSources": None}
        yield _Sent(alerts.datum(bare), one.dia_object_id, one.epoch)


def _some_objects(sent: Iterator[_Sent], count: int, rng: random.Random) -> list[_Sent]:
    """About ``count`` alerts, all those of an object or, of the last one, its first."""
    by_object: dict[int, list[_Sent]] = {}
    for one in sent:
        by_object.setdefault(one.dia_object_id, []).append(one)
    objects = list(by_object)
    rng.shuffle(objects)
    return list(itertools.islice(itertools.chain.from_iterable(by_object[name] for name in objects), count))


def _poisoned(rng: random.Random, value: bytes) -> bytes:
    """Something that is no alert, made of one that is or of nothing."""
    bad_source = alerts.source(rng.getrandbits(40), alerts.FIRST_MJD, band=f"band {rng.getrandbits(32)}")
    not_measured = alerts.source(rng.getrandbits(40), alerts.FIRST_MJD, flux=float(np.nan))
    return rng.choice(
        [
            value[: len(value) // 2],
            value + b"behind the end",
            rng.randbytes(200),
            f"not an alert, {rng.getrandbits(32)}".encode(),
            alerts.datum(alerts.elasticc(bad_source)),
            alerts.datum(alerts.elasticc(not_measured)),
        ]
    )


class Publisher(threading.Thread):
    """Publishes a load at a rate that may be changed on the way, through whatever befalls Kafka."""

    def __init__(self, servers: str, topic: str, load: Load, *, rate: float) -> None:
        super().__init__(name="publisher", daemon=True)
        self._topic = topic
        self._load = load
        self.rate = rate
        self.published = 0
        self._failed = 0
        self._ending = threading.Event()
        # More than one partition's worth may wait here while Kafka is away, and must stay in order.
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 0})

    @property
    def left(self) -> int:
        """How many are not published yet."""
        return len(self._load.values) - self.published

    def run(self) -> None:
        """Publish everything, waiting between two as the rate asks."""
        due = time.monotonic()
        while self.left:
            place = self.published
            try:
                self._producer.produce(
                    self._topic, value=self._load.values[place], key=self._load.keys[place], on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(0.1)
                continue
            self._producer.poll(0)
            self.published += 1
            due = max(due + 1 / self.rate, time.monotonic() - 0.5)
            time.sleep(max(due - time.monotonic(), 0))
        self._failed += self._producer.flush(120)

    def finish(self) -> int:
        """Publish the rest at once; returns how many could not be."""
        self.rate = 1e6
        self.join()
        return self._failed

    def _delivered(self, error: object, _: object) -> None:
        self._failed += error is not None

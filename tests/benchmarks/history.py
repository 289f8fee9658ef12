"""Objects a second whose history is read, merged and written, with a real Valkey; and bytes of a point in it."""

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import redis

from models.inputs import ragged
from models.inputs.alert_batch import AlertBatch
from models.inputs.metadata import COLUMNS
from service.history import POINT, History
from tests.servers.valkey import ValkeyServer

OBJECTS, POINTS, BATCH = 20_480, 20, 1024
ROUNDS = 3
DATUM = bytes(300)
"""As long as a classification of 20 classes."""


def measure() -> dict[str, float]:
    """Every object gets 20 points, then an alert a round with one point more; Valkey has the same cores."""
    return measured(points=POINTS, objects=OBJECTS)


def measured(*, points: int, objects: int) -> dict[str, float]:
    """The same with other numbers; ``objects`` is a multiple of BATCH."""
    with tempfile.TemporaryDirectory() as directory, ValkeyServer(Path(directory)) as server:
        client = redis.Redis.from_url(server.url)
        history = History(client, ttl=timedelta(days=395), max_points=10**6, window_days=395)
        if history.check() is not None:
            raise SystemExit(f"Valkey cannot be used: {history.fault}")
        empty = client.info("memory")["used_memory"]
        first = made_up(points, objects)
        _pass(history, first)
        stored = client.info("memory")["used_memory"]
        history.remember([(name, 60_000.0, DATUM) for name in first.dia_object_id.tolist()])
        remembered = client.info("memory")["used_memory"]
        seconds = min(_pass(history, _later(first, points + number)) for number in range(ROUNDS))
        # Of histories as they are, which have grown: a string that is appended to may hold room for more.
        grown = client.info("memory")["used_memory"] - (remembered - stored)
        client.close()
    return {
        "objects_per_second": objects / seconds,
        "points_per_object": float(points),
        "bytes_per_point": (grown - empty) / (objects * (points + ROUNDS)),
        "bytes_per_point_less_keys": float(POINT.itemsize),
        "bytes_per_latest": (remembered - stored) / objects,
    }


def _pass(history: History, alerts: AlertBatch) -> float:
    """All objects, in batches; seconds."""
    batches = [alerts.take(np.arange(start, start + BATCH)) for start in range(0, len(alerts), BATCH)]
    started = perf_counter()
    for batch in batches:
        if not history.complete(batch).full.all():
            raise SystemExit(f"Valkey went away: {history.fault}")
    return perf_counter() - started


def made_up(points: int, objects: int) -> AlertBatch:
    """An alert an object, of so many points, one a day."""
    rng = np.random.default_rng(0)
    n = objects * points
    offsets = ragged.offsets_of(np.full(objects, points, dtype=np.int64))
    ids = np.arange(1, objects + 1, dtype=np.int64)
    return AlertBatch(
        alert_id=ids,
        dia_source_id=ids,
        dia_object_id=2**60 + ids,
        epoch=np.full(objects, 60_000.0 + points),
        metadata=np.full((objects, len(COLUMNS)), np.nan, dtype=np.float32),
        has_metadata=np.zeros(objects, dtype=np.bool_),
        offsets=offsets,
        mjd=60_000.0 + np.tile(np.arange(points, dtype=np.float64), objects),
        band=rng.integers(0, 6, n).astype(np.int8),
        flux=rng.normal(100, 30, n).astype(np.float32),
        flux_err=rng.uniform(1, 5, n).astype(np.float32),
        detected=np.ones(n, dtype=np.bool_),
        source_id=np.arange(n, dtype=np.int64),
    )


def _later(first: AlertBatch, day: int) -> AlertBatch:
    """An alert an object of that day, of one new point."""
    objects = len(first)
    one = made_up(1, objects)
    mjd = np.full(objects, 60_000.0 + day)
    return replace(one, epoch=mjd, mjd=mjd, source_id=len(first.mjd) * day + np.arange(objects, dtype=np.int64))

"""Objects a second whose history is read, merged and written, with a real Valkey; and bytes of a point in it."""

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np

from models.inputs import ragged
from models.inputs.alert import AlertBatch
from models.inputs.metadata import COLUMNS
from service.history import POINT, History, connect
from tests.servers.valkey import ValkeyServer

OBJECTS, POINTS, BATCH = 20_480, 20, 1024
ROUNDS = 3


def measure() -> dict[str, float]:
    """Every object gets 20 points, then an alert a round with one point more; Valkey has the same cores."""
    with tempfile.TemporaryDirectory() as directory, ValkeyServer(Path(directory)) as server:
        client = connect(server.url)
        history = History(client, ttl=timedelta(days=395), max_points=2000, window_days=395)
        if history.check() is not None:
            raise SystemExit(f"Valkey cannot be used: {history.fault}")
        before = client.info("memory")["used_memory"]
        first = _alerts(POINTS)
        _pass(history, first)
        stored = client.info("memory")["used_memory"] - before
        seconds = min(_pass(history, _later(first, POINTS + number)) for number in range(ROUNDS))
        client.close()
    return {
        "objects_per_second": OBJECTS / seconds,
        "points_per_object": float(POINTS),
        "bytes_per_point": stored / (OBJECTS * POINTS),
        "bytes_per_point_less_keys": float(POINT.itemsize),
    }


def _pass(history: History, alerts: AlertBatch) -> float:
    """All objects, in batches; seconds."""
    batches = [alerts.take(np.arange(start, start + BATCH)) for start in range(0, OBJECTS, BATCH)]
    started = perf_counter()
    for batch in batches:
        if not history.complete(batch).full.all():
            raise SystemExit(f"Valkey went away: {history.fault}")
    return perf_counter() - started


def _alerts(points: int) -> AlertBatch:
    rng = np.random.default_rng(0)
    n = OBJECTS * points
    offsets = ragged.offsets_of(np.full(OBJECTS, points, dtype=np.int64))
    ids = np.arange(1, OBJECTS + 1, dtype=np.int64)
    return AlertBatch(
        alert_id=ids,
        dia_source_id=ids,
        dia_object_id=2**60 + ids,
        epoch=np.full(OBJECTS, 60_000.0 + points),
        metadata=np.full((OBJECTS, len(COLUMNS)), np.nan, dtype=np.float32),
        has_metadata=np.zeros(OBJECTS, dtype=np.bool_),
        offsets=offsets,
        mjd=60_000.0 + np.tile(np.arange(points, dtype=np.float64), OBJECTS),
        band=rng.integers(0, 6, n).astype(np.int8),
        flux=rng.normal(100, 30, n).astype(np.float32),
        flux_err=rng.uniform(1, 5, n).astype(np.float32),
        detected=np.ones(n, dtype=np.bool_),
        source_id=np.arange(n, dtype=np.int64),
    )


def _later(first: AlertBatch, day: int) -> AlertBatch:
    """An alert an object of that day, of one new point."""
    one = _alerts(1)
    mjd = np.full(OBJECTS, 60_000.0 + day)
    return replace(one, epoch=mjd, mjd=mjd, source_id=len(first.mjd) * day + np.arange(OBJECTS, dtype=np.int64))

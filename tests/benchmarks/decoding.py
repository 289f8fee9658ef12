"""Alerts a second from bytes to the arrays that tensors are built from, on one core, beside record by record."""

import io
from collections.abc import Callable
from typing import Any

import fastavro
import numpy as np

from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import Decoded
from models.inputs.light_curve import merged
from tests import alerts
from tests.alerts import FIRST_MJD, rubin_point
from tests.benchmarks import real
from tests.benchmarks.alternating import best_seconds

BATCH = 1024
BATCHES = 4
RUBIN_ID, RUBIN_BATCH = 1101, 64
STAMP_BYTES = 6_000
"""Of each of the three: a packet has at least 18 KB of them."""


def measure() -> dict[str, float]:
    """Batches of ELAsTiCC have one broken alert among them; Rubin's packets come with 30 and 100 previous sources."""
    found = np.random.default_rng(0).permutation(np.array(real.messages(), dtype=object))[: BATCH * BATCHES]
    batches = [[*batch[:-1], batch[-1][:-1]] for batch in found.reshape(BATCHES, BATCH).tolist()]
    seconds = best_seconds(
        {
            "together": lambda: [_columns(batch, avro.unread) for batch in batches],
            "record_by_record": lambda: [_columns(batch, avro.message) for batch in batches],
        },
        rounds=5,
    )
    measured = {
        "elasticc_alerts_per_second": BATCHES * BATCH / seconds["together"],
        "elasticc_times_record_by_record": seconds["record_by_record"] / seconds["together"],
    }
    for n_previous in (30, 100):
        name = f"rubin_{n_previous}_previous"
        packets = [rubin_packet(n, n_previous=n_previous) for n in range(1, RUBIN_BATCH + 1)]
        seconds = best_seconds(_rubin_ways(packets), rounds=5)
        measured[f"{name}_bytes"] = float(np.mean([len(packet) for packet in packets]))
        measured[f"{name}_alerts_per_second"] = RUBIN_BATCH / seconds["together"]
        measured[f"{name}_times_fastavro"] = seconds["fastavro"] / seconds["together"]
    return measured


def _columns(messages: list[bytes], read: Callable[[bytes], Any]) -> Decoded:
    decoded = alert_batch([read(message) for message in messages])
    merged(decoded.alerts)
    return decoded


def _rubin_ways(packets: list[bytes]) -> dict[str, Callable[[], object]]:
    schema = schemas.rubin(RUBIN_ID)
    if schema is None:
        raise SystemExit("this benchmark needs the extra rubin")
    return {
        "together": lambda: _columns(packets, avro.unread),
        "fastavro": lambda: [fastavro.schemaless_reader(io.BytesIO(packet[5:]), schema, None) for packet in packets],
    }


def rubin_packet(number: int, *, n_previous: int) -> bytes:
    """A framed alert of Rubin's v11.1 with stamps, and previous sources whose fields all have values."""
    schema: Any = schemas.rubin(RUBIN_ID)
    rng = np.random.default_rng(number)
    record = alerts.filled(schema, diaSourceId=number)
    stamps = {name: rng.bytes(STAMP_BYTES) for name in record if name.startswith("cutout")}
    types = {field["name"]: field["type"] for field in schema["fields"]}
    numbers = {
        field["name"]: float(rng.normal())
        for field in types["diaSource"]["fields"]
        if {"float", "double"} & set(field["type"] if isinstance(field["type"], list) else [field["type"]])
    }
    source = record["diaSource"] | numbers
    previous = [source | rubin_point(1000 * number + n, FIRST_MJD - n) for n in range(1, n_previous + 1)]
    trigger = source | rubin_point(number, FIRST_MJD)
    written = record | stamps | {"diaSource": trigger, "prvDiaSources": previous}
    return alerts.confluent(alerts.datum(written, schema), RUBIN_ID)

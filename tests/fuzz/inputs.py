"""Broken inputs, by number: real alerts with flipped, lost and foreign bytes, odd records, odd schemas."""

import gzip
import io
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from models.inputs import avro, schemas
from tests import alerts

RUBIN_IDS = (700, 703, 800, 900, 1000, 1101)
_ELASTICC = ("v0_9_1", "v0_9", "pre-challenge")
_REAL_ALERTS = 400
_LONGEST_CORPUS_MESSAGE = 8000
_ODD_NUMBERS = (0.0, -0.0, math.nan, math.inf, -math.inf, 1e-45, -1.0, 3.4e38, -9999.0, 1e30)
_ODD_TIMES = (0.0, -1.0, math.nan, math.inf, 1e300, 39_999.9, 40_000.0, 100_000.1, 2_460_000.5, 5e-324)
_ODD_IDS = (0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
_ODD_BANDS = ("", "w", "Y", "y", "u ", "\x00", "é", "u" * 300, "𝒈")


def varint(value: int) -> bytes:
    """A number as Avro writes it, of any size."""
    raw = value << 1 if value >= 0 else (-value << 1) - 1
    written = bytearray()
    while raw >= 0x80:
        written.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*written, raw])


_ODD_VARINTS = (
    *(varint(value) for value in (-1, -2, -3, 2, 40, 2**20, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64, 2**70)),
    b"\x80\x00",
    b"\x80" * 9 + b"\x02",
    b"\xff" * 10 + b"\x01",
    b"\x80" * 30 + b"\x01",
)


class Inputs:
    """A corpus, and what may be made of it."""

    def __init__(self, data: Path | None) -> None:
        """``data`` is where the public data is; without it, the corpus is simulated only."""
        rng = np.random.default_rng(0)
        self._bare = [alerts.datum(alerts.random_elasticc(rng, 1 + n % 40, alert_id=n)) for n in range(100)]
        self._framed = [_rubin(number, rng) for number in RUBIN_IDS for _ in range(3)]
        self._containers = [
            alerts.container([alerts.random_elasticc(rng, 1 + n % 10, alert_id=n) for n in range(count)])
            for count in (1, 2, 5)
        ]
        if data is not None:
            self._bare += _real(data)
            for path in sorted((data / "lsst" / "confluent").glob("*.avro")):
                self._framed.append(_without_cutouts(path.read_bytes()))

    def make(self, random: Random) -> bytes:
        """One input."""
        makers: tuple[tuple[int, Callable[[Random], bytes]], ...] = (
            (45, lambda r: self._mutated(r, r.choice(self._bare))),
            (20, _odd_alert),
            (12, lambda r: self._mutated(r, r.choice(self._framed))),
            (10, lambda r: self._mutated(r, r.choice(self._containers))),
            (8, _odd_schema),
            (3, lambda r: r.choice((b"", b"\x00", b"Obj\x01", b"\x1f\x8b")) + r.randbytes(r.randrange(200))),
            (2, lambda r: self._mutated(r, gzip.compress(r.choice(self._bare)))),
        )
        (make,) = random.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return make(random)

    def _mutated(self, random: Random, data: bytes) -> bytes:
        mutated = bytearray(data)
        for _ in range(random.choice((0, 1, 1, 1, 2, 4))):
            at = random.randrange(len(mutated) + 1)
            length = random.choice((1, 1, 2, 4, 8, random.randrange(1, 200)))
            how = random.randrange(9)
            if how <= 1 and at < len(mutated):
                mutated[at] ^= 1 << random.randrange(8)
            elif how == 2:
                mutated[at : at + length] = random.randbytes(length)
            elif how == 3:
                del mutated[at : at + length]
            elif how == 4:
                mutated[at:at] = random.randbytes(length)
            elif how == 5:
                del mutated[at:]
            elif how == 6:
                mutated[at:at] = mutated[at : at + length]
            elif how == 7:
                mutated[at : at + random.randrange(3)] = random.choice(_ODD_VARINTS)
            elif how == 8:
                form, number = random.choice((("<f", random.choice(_ODD_NUMBERS)), ("<d", random.choice(_ODD_TIMES))))
                packed = struct.pack(form, number)
                mutated[at : at + len(packed)] = packed
        return bytes(mutated)


def _real(data: Path) -> list[bytes]:
    messages = [
        message
        for path in sorted((data / "elasticc" / "alerts").glob("*.avro"))
        for message in avro.messages(path.read_bytes())
        if isinstance(message, bytes)
    ]
    raw = gzip.decompress(next((data / "elasticc" / "single").glob("alert_mjd60563*.avro.gz")).read_bytes())
    chosen = Random(0).sample(messages, _REAL_ALERTS)
    return [message for message in (*chosen, raw) if len(message) < _LONGEST_CORPUS_MESSAGE]


def _rubin(schema_id: int, rng: np.random.Generator) -> bytes:
    schema: Any = schemas.rubin(schema_id)
    types = {field["name"]: field["type"] for field in schema["fields"]}
    record = alerts.filled(schema, diaSourceId=5, alertId=5)
    source = record["diaSource"] | alerts.rubin_point(5, alerts.FIRST_MJD)
    forced_kind: Any = next(branch for branch in types["prvDiaForcedSources"] if branch != "null")
    forced_type = forced_kind["items"]
    if isinstance(forced_type, str):
        forced_type = schema["__named_schemas"][forced_type]
    forced = alerts.filled(forced_type) | alerts.rubin_point(9, alerts.FIRST_MJD - 3)
    record |= {
        "diaSource": source,
        "prvDiaSources": [source | alerts.rubin_point(n, alerts.FIRST_MJD - n) for n in range(int(rng.integers(4)))],
        "prvDiaForcedSources": [forced] * int(rng.integers(3)),
    }
    return alerts.confluent(alerts.datum(record, schema), schema_id)


def _without_cutouts(message: bytes) -> bytes:
    """A real packet without what makes up nine tenths of it and is never looked at."""
    _, schema_id = struct.unpack_from(">BI", message)
    schema: Any = schemas.rubin(schema_id)
    record = dict(avro.datum(message[5:], schema))
    record |= {name: b"cut out" for name, value in record.items() if isinstance(value, bytes)}
    return alerts.confluent(alerts.datum(record, schema), schema_id)


# --- odd records ---------------------------------------------------------------------------------------------------


def _odd_alert(random: Random) -> bytes:
    """A well-formed datum whose values are odd here and there."""
    rng = np.random.default_rng(random.randrange(2**32))
    record = alerts.random_elasticc(rng, random.choice((1, 2, 5, 30)), alert_id=random.randrange(2**40))
    points = [record["diaSource"], *record["prvDiaSources"], *record["prvDiaForcedSources"]]
    for _ in range(random.choice((0, 1, 1, 2, 5))):
        point = random.choice(points)
        name = random.choice(("midPointTai", "filterName", "psFlux", "psFluxErr", "id", "copy", "object"))
        if name == "id":
            point["diaSourceId" if "diaSourceId" in point else "diaForcedSourceId"] = random.choice(_ODD_IDS)
        elif name == "copy":
            point["midPointTai"], point["filterName"] = points[0]["midPointTai"], points[0]["filterName"]
        elif name == "object":
            record["diaObject"] = random.choice((None, alerts.dia_object(random.choice(_ODD_IDS), z_final=math.nan)))
        else:
            odd = {"midPointTai": _ODD_TIMES, "filterName": _ODD_BANDS}.get(name, _ODD_NUMBERS)
            point[name] = random.choice(odd)
    return alerts.datum(record)


# --- odd schemas ---------------------------------------------------------------------------------------------------


def _odd_schema(random: Random) -> bytes:
    """A container whose schema is made up, with a block that may or may not be written with it."""
    names: list[str] = []
    schema = _record(random, names, depth=random.choice((1, 2, 3, 5)))
    stream = io.BytesIO()
    stream.write(b"Obj\x01" + varint(1))
    for part in (b"avro.schema", json.dumps(schema).encode()):
        stream.write(varint(len(part)) + part)
    stream.write(varint(0) + bytes(16))
    count = random.choice((0, 1, 1, 2, 2**40))
    block = b"".join(_random_value(random, schema, {}) for _ in range(min(count, 2)))
    if random.random() < 0.4:
        at = random.randrange(len(block) + 1)
        block = block[:at] + random.choice((random.choice(_ODD_VARINTS), random.randbytes(3), b"")) + block[at + 1 :]
    stream.write(varint(count) + varint(len(block)) + block + bytes(16))
    return stream.getvalue()


def _record(random: Random, names: list[str], depth: int) -> dict[str, Any]:
    name = _named(names)
    fields = [{"name": f"f{n}", "type": _kind(random, names, depth - 1)} for n in range(random.choice((0, 1, 2, 4)))]
    return {"type": "record", "name": name, "fields": fields}


def _kind(random: Random, names: list[str], depth: int) -> Any:
    if depth <= 0 or random.random() < 0.2:
        return random.choice(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
    makers: tuple[Callable[[], Any], ...] = (
        lambda: {"type": "array", "items": _kind(random, names, depth - 1)},
        lambda: {"type": "map", "values": _kind(random, names, depth - 1)},
        lambda: ["null", {"type": "array", "items": _record(random, names, depth - 1)}],
        lambda: _record(random, names, depth - 1),
        lambda: random.choice(names),
        lambda: ["null", random.choice(("long", "string", "double"))],
        lambda: {"type": "fixed", "name": _named(names), "size": random.choice((0, 1, 16, 2**40))},
        lambda: {"type": "enum", "name": _named(names), "symbols": ["A", "B", "C"]},
        lambda: {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    )
    return random.choice(makers)()


def _named(names: list[str]) -> str:
    names.append(f"r{len(names)}")
    return names[-1]


_LONGEST_VALUE = 3000


def _random_value(random: Random, kind: Any, named: dict[str, Any], depth: int = 0) -> bytes:
    """Bytes of a value of this type, without a writer: of recursive types too, up to a depth."""
    if isinstance(kind, list):
        number = 0 if depth > 12 else random.randrange(len(kind))
        return varint(number) + _random_value(random, kind[number], named, depth + 1)
    if isinstance(kind, str) and kind in named:
        return _random_value(random, named[kind], named, depth + 1) if depth < 12 else b""
    if isinstance(kind, dict):
        return _random_composite(random, kind, named, depth)
    text = random.choice(("", "a", "é", "𝒈" * 5)).encode()
    number_ = varint(random.choice((0, 1, -1, random.randrange(2**31))))
    values: dict[str, bytes] = {
        "null": b"",
        "boolean": bytes([random.randrange(2)]),
        "int": number_,
        "long": number_,
        "float": random.randbytes(4),
        "double": random.randbytes(8),
        "bytes": varint(len(text)) + text,
        "string": varint(len(text)) + text,
    }
    return values.get(kind, b"")  # a name whose meaning stood in an item that was not written


def _random_composite(random: Random, kind: dict[str, Any], named: dict[str, Any], depth: int) -> bytes:
    if "name" in kind:
        named[kind["name"]] = kind
    if kind["type"] == "record":
        return b"".join(_random_value(random, field["type"], named, depth + 1) for field in kind["fields"])
    if kind["type"] in {"array", "map"}:
        count = random.choice((0, 1, 3)) if depth < 12 else 0
        key = b"\x02a" if kind["type"] == "map" else b""
        inner = kind["values" if key else "items"]
        items = b"".join(key + _random_value(random, inner, named, depth + 1) for _ in range(count))
        return (varint(count) if count else b"") + items + varint(0)
    if kind["type"] == "fixed":
        return random.randbytes(min(kind["size"], _LONGEST_VALUE))
    if kind["type"] == "enum":
        return varint(random.randrange(len(kind["symbols"])))
    return _random_value(random, kind["type"], named, depth + 1)

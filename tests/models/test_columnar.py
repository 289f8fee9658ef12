"""Messages read together say what they say one by one, and what is refused has the same reason."""

import io
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from fastavro.schema import parse_schema
from hypothesis import given
from hypothesis import strategies as st

from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import Decoded
from models.inputs.avro import Unread
from models.inputs.columnar import Fields, Program, Sink, program
from models.inputs.metadata import COLUMNS
from models.inputs.readable import readable
from tests import alerts
from tests.alerts import FIRST_MJD, elasticc, forced, rubin_point, source
from tests.fuzz.inputs import varint

RUBIN = (700, 701, 704, 800, 900, 1000, 1100, 1101)


def same(messages: list[bytes]) -> Decoded:
    """What the messages decode to, having seen that it is the same together and record by record."""
    together = alert_batch([avro.unread(message) for message in messages])
    one_by_one = alert_batch([avro.message(message) for message in messages])
    for name, expected in vars(one_by_one.alerts).items():
        found = getattr(together.alerts, name)
        assert found.dtype == expected.dtype, name
        np.testing.assert_array_equal(found, expected, err_msg=name)
    np.testing.assert_array_equal(together.messages, one_by_one.messages)
    assert {place: repr(why) for place, why in together.invalid.items()} == {
        place: repr(why) for place, why in one_by_one.invalid.items()
    }
    assert (together.left_out, together.schemas) == (one_by_one.left_out, one_by_one.schemas)
    return together


def rubin_message(schema_id: int, n_previous: int = 0, **values: Any) -> bytes:
    schema: Any = schemas.rubin(schema_id)
    record = alerts.filled(schema, diaSourceId=5, alertId=5)
    previous = record["diaSource"] | rubin_point(1, FIRST_MJD)
    record["diaSource"] |= rubin_point(5, FIRST_MJD)
    record["prvDiaSources"] = [previous | rubin_point(n, FIRST_MJD - n) for n in range(1, n_previous + 1)]
    return alerts.confluent(alerts.datum(record | values, schema), schema_id)


def test_every_real_elasticc_alert_reads_the_same_together(data: Path) -> None:
    messages = [
        message
        for path in sorted((data / "elasticc" / "alerts").glob("*.avro"))
        for message in avro.messages(path.read_bytes())
        if isinstance(message, bytes)
    ]
    assert len(same(messages).alerts) == len(messages) == 13_747


def test_real_rubin_packets_read_the_same_together(data: Path) -> None:
    packets = [path.read_bytes() for path in sorted((data / "lsst" / "confluent").glob("*.avro"))]
    assert len(same(packets * 2).alerts) == 2 * len(packets) > 0


def test_every_rubin_version_reads_the_same_together() -> None:
    messages = [rubin_message(schema_id, n) for n in (0, 1, 70) for schema_id in RUBIN if schemas.rubin(schema_id)]
    assert len(same(messages).alerts) == len(messages)


def test_real_alerts_are_not_left_to_the_reader_of_records(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of the above would hold of a program that refuses everything."""
    packets = [path.read_bytes() for path in sorted((data / "lsst" / "confluent").glob("*.avro"))]
    alert = next(iter(avro.messages((data / "elasticc" / "alerts" / "finktut.gentype30.avro").read_bytes())))
    assert isinstance(alert, bytes)
    monkeypatch.setattr(Unread, "read", lambda _: pytest.fail("read by itself"))
    assert len(alert_batch([avro.unread(message) for message in (alert, *packets, rubin_message(1101, 3))]).alerts)


def test_schemas_mix_in_one_batch_and_keep_their_order() -> None:
    old = schemas.elasticc()["v0_9"]
    record = alerts.filled(old, alertId=3)
    record["diaSource"] |= source(3, FIRST_MJD)
    messages = [
        *(alerts.datum(elasticc(alert_id=1)), rubin_message(1101), b"poison", alerts.datum(record, old)),
        *(rubin_message(900), alerts.datum(elasticc(alert_id=6, forced=[forced(1, FIRST_MJD - 3)]))),
    ]
    decoded = same(messages)
    assert decoded.alerts.alert_id.tolist() == [1, 5, 3, 5, 6]
    assert decoded.schemas == ["v0_9_1", "schema id 1101", "unknown", "v0_9", "schema id 900", "v0_9_1"]


def test_old_names_fill_what_todays_leave_null() -> None:
    old = schemas.elasticc()["v0_9"]
    messages = []
    for known in ({"hostgal_zphot_p50": 0.4}, {"hostgal_zphot_p50": 0.4, "hostgal_zphot_q050": 0.5}, {}):
        record = alerts.filled(old, alertId=3)
        kind = next(one for one in old["fields"] if one["name"] == "diaObject")["type"][1]
        record["diaSource"] |= source(3, FIRST_MJD)
        record["diaObject"] = alerts.filled(kind) | known
        messages.append(alerts.datum(record, old))
    nan = same([*messages, alerts.datum(record | {"diaObject": record["diaObject"] | {"mwebv": np.nan}}, old)])
    assert nan.alerts.has_metadata.all()
    medians = nan.alerts.metadata[:, COLUMNS.index("hostgal_zphot_q050")]
    np.testing.assert_allclose(medians, np.array([0.4, 0.5, np.nan, np.nan], dtype=np.float32))


@pytest.mark.parametrize(
    "record",
    [
        elasticc(object_=None),
        elasticc(source(-1, FIRST_MJD)),
        elasticc(alert_id=-4),
        elasticc(object_=alerts.dia_object(-7)),
        elasticc(source(1, FIRST_MJD) | {"diaObjectId": None}, object_=None),
        elasticc(source(1, FIRST_MJD, band="é")),
        elasticc(source(1, FIRST_MJD, band="")),
        elasticc(source(1, FIRST_MJD, flux=float("nan"))),
        elasticc(object_=alerts.dia_object() | {"simVersion": "é"}),
        elasticc(previous=[source(n, FIRST_MJD - n) for n in range(1, 500)]),
    ],
)
def test_what_is_odd_reads_the_same_together(record: alerts.Record) -> None:
    good = alerts.datum(elasticc())
    same([good, alerts.datum(record), good])


@given(st.binary(max_size=60), st.integers(0, 300), st.integers(0, 255))
def test_broken_bytes_have_the_same_reason_together(inserted: bytes, place: int, flip: int) -> None:
    whole = bytearray(alerts.datum(elasticc(previous=[source(99, FIRST_MJD - 3)])))
    whole[place % len(whole)] ^= flip
    whole[place:place] = inserted
    same([bytes(whole), alerts.datum(elasticc())])


ROW = Fields({"n": Sink("whole", 0), "items": Fields({"x": Sink("number", 0, nullable=True)}, item=3, many=True)})


def _program(schema: Any, fields: Fields = ROW) -> Program:
    known = readable(parse_schema(schema))
    made = program(known.form, fields, symbols={}, widths=(1, 1, 1, 1), max_bytes=known.max_bytes)
    assert made is not None
    return made


ITEM = {"type": "record", "name": "item", "fields": [{"name": "x", "type": ["null", "double"]}]}
LIST = {
    "type": "record",
    "name": "list",
    "fields": [{"name": "n", "type": "long"}, {"name": "items", "type": {"type": "array", "items": ITEM}}],
}


def test_an_array_may_come_in_blocks_that_tell_their_size() -> None:
    one = b"\x02" + np.float64(1.5).tobytes()
    blocks = varint(-2) + varint(10) + b"\x00" + one + varint(1) + one + varint(0)
    read = _program(LIST).read([varint(7) + blocks])
    assert read.read.tolist() == [True]
    np.testing.assert_array_equal(read.item_number[:, 0], [np.nan, 1.5, 1.5])
    assert read.mark.tolist() == [3, 3, 3]
    assert read.whole[0, 0] == 7


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        varint(7),
        varint(7) + varint(1) + varint(2) + varint(0),  # no such branch
        varint(7) + varint(1) + varint(-1) + varint(0),
        varint(7) + varint(2**62) + b"\x00" * 5,
        varint(7) + varint(-(2**63)) + varint(1) + b"\x00" * 5,
        varint(2**64) + varint(0),
        b"\x80" * 12 + b"\x00" + varint(0),
        varint(7) + varint(0) + b"\x00",
    ],
)
def test_a_broken_datum_is_refused_and_its_neighbours_are_not(broken: bytes) -> None:
    good = varint(7) + varint(1) + b"\x00" + varint(0)
    read = _program(LIST).read([good, broken, good])
    assert read.read.tolist() == [True, False, True]
    assert read.offsets.tolist() == [0, 1, 1, 2]


def test_what_is_not_wanted_is_stepped_over_whatever_its_type() -> None:
    kinds: list[Any] = ["null", "boolean", "int", "float", "double", "bytes", "string"]
    kinds += [
        {"type": "fixed", "name": "hash", "size": 3},
        {"type": "enum", "name": "kind", "symbols": ["A", "B"]},
        {"type": "map", "values": {"type": "array", "items": "long"}},
        {"type": "array", "items": ["null", "hash"]},
        ["null", "kind"],
    ]
    schema = {
        "type": "record",
        "name": "many",
        "fields": [{"name": f"f{n}", "type": kind} for n, kind in enumerate(kinds)] + LIST["fields"],  # type: ignore[operator]
    }
    values = [None, True, -70, 0.5, 2.5, b"\xff\x00", "text", b"abc", "B", {"a": [1, 2], "b": []}, [None, b"xyz"], "A"]
    record = {f"f{n}": value for n, value in enumerate(values)} | {"n": 2**62, "items": [{"x": 4.0}]}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parse_schema(schema), record)
    read = _program(schema).read([stream.getvalue()] * 2)
    assert read.read.all()
    assert read.whole[:, 0].tolist() == [2**62] * 2
    assert read.item_number[:, 0].tolist() == [4.0] * 2


def test_a_schema_that_spells_out_too_long_has_no_program() -> None:
    kind: Any = {"type": "record", "name": "r0", "fields": [{"name": f"a{n}", "type": "long"} for n in range(150)]}
    fields = [{"name": "first", "type": kind}, *({"name": f"b{n}", "type": "r0"} for n in range(150))]
    known = readable(parse_schema({"type": "record", "name": "r1", "fields": fields}))
    assert program(known.form, Fields({}), symbols={}, widths=(1, 1, 1, 1), max_bytes=9) is None

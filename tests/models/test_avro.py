"""Framings and schema versions: what the bytes are does not change what they say."""

import gzip
import io
import json
from pathlib import Path

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.errors import InvalidAlert, TooLarge
from tests import alerts

BARE = alerts.datum(alerts.elasticc(previous=[alerts.source(99, alerts.FIRST_MJD - 3)]))


def test_every_framing_reads_the_same_alert() -> None:
    record = alerts.elasticc(forced=[alerts.forced(1, alerts.FIRST_MJD - 10)])
    bare, container = alerts.datum(record), alerts.container([record])
    for framed in (bare, container, gzip.compress(bare), gzip.compress(container)):
        (reading,) = avro.readings(framed)
        decoded = alert_batch([reading])
        assert decoded.alerts[0].alert_id == record["alertId"]
        assert decoded.alerts[0].mjd.tolist() == [alerts.FIRST_MJD, alerts.FIRST_MJD - 10]


def test_confluent_framing_names_the_rubin_schema() -> None:
    for schema_id in (700, 704, 800, 900, 1000, 1100, 1101):
        schema = schemas.rubin(schema_id)
        assert schema is not None, schema_id
        record = alerts.filled(schema, diaSourceId=5, alertId=5)
        record["diaSource"] |= alerts.rubin_point(5, alerts.FIRST_MJD)
        (reading,) = avro.readings(alerts.confluent(alerts.datum(record, schema), schema_id))
        alert = alert_batch([reading]).alerts[0]
        assert (alert.alert_id, alert.dia_source_id, alert.epoch) == (5, 5, alerts.FIRST_MJD)


@given(alerts.records)
def test_a_bare_datum_is_read_by_the_schema_that_wrote_it(record: alerts.Record) -> None:
    (reading,) = avro.readings(alerts.datum(record))
    assert not isinstance(reading, InvalidAlert)
    assert reading["v0_9_1"]["alertId"] == record["alertId"]
    decoded = alert_batch([reading])
    assert not decoded.invalid
    expected = 1 + len(record["prvDiaSources"]) + len(record["prvDiaForcedSources"])
    assert len(decoded.alerts.mjd) == expected


@pytest.mark.parametrize("version", ["v0_9", "pre-challenge"])
def test_older_elasticc_versions_are_recognised(version: str) -> None:
    schema = schemas.elasticc()[version]
    record = alerts.filled(schema, alertId=3)
    record["diaSource"] |= alerts.source(3, alerts.FIRST_MJD)
    decoded = alert_batch(list(avro.readings(alerts.datum(record, schema))))
    assert decoded.alerts.alert_id.tolist() == [3]


def test_long_ids_that_look_like_more_than_64_bits_are_not_read_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    # A signal-to-noise below zero ends in high bytes, and the next id is nine of them but one.
    faint = [alerts.source(2**55 + n, alerts.FIRST_MJD - n, flux=-265.0) for n in range(1, 5)]
    record = alerts.elasticc(previous=faint)
    monkeypatch.setattr("fastavro._read_py.read_data", lambda *_: pytest.fail("read by the reader in Python"))
    for framed in (alerts.datum(record), alerts.container([record])):
        (reading,) = avro.readings(framed)
        decoded = alert_batch([reading])
        assert sorted(decoded.alerts[0].mjd) == sorted([alerts.FIRST_MJD, *(one["midPointTai"] for one in faint)])


def test_a_given_schema_decides_framed_or_bare() -> None:
    schema = schemas.elasticc()["v0_9_1"]
    for message in (BARE, alerts.confluent(BARE, 123456)):
        (reading,) = avro.readings(message, schema=schema)
        assert not isinstance(reading, InvalidAlert)
        assert len(reading) == 1


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "empty"),
        (BARE[:-1], "no ELAsTiCC schema reads"),
        (BARE + b"\x00", "no ELAsTiCC schema reads"),
        (b"not avro at all", "no ELAsTiCC schema reads"),
        (alerts.confluent(b"\x02", 4242), "schema id 4242 is not known"),
        (alerts.confluent(b"\x02", 1100), "schema id 1100: truncated"),
        (b"Obj\x01broken", "container breaks off"),
        (gzip.compress(BARE, mtime=0)[:-9], "broken gzip"),
    ],
)
def test_broken_bytes_have_one_clear_reason(message: bytes, reason: str) -> None:
    (reading,) = avro.readings(message)
    assert isinstance(reading, InvalidAlert)
    assert reason in str(reading)
    assert "\n" not in str(reading)


def test_a_container_that_breaks_off_gives_what_came_before() -> None:
    records = [alerts.elasticc(alert_id=number) for number in range(2000)]
    whole = alerts.container(records)
    *good, last = avro.readings(whole[: len(whole) * 3 // 4])
    assert isinstance(last, InvalidAlert)
    ids = alert_batch(good).alerts.alert_id.tolist()
    assert ids == list(range(len(ids)))
    assert ids


def test_a_gzip_bomb_is_refused() -> None:
    (reading,) = avro.readings(gzip.compress(bytes(2000)), max_bytes=1000)
    assert isinstance(reading, TooLarge)
    assert "more than 1000 bytes" in str(reading)


@pytest.mark.parametrize("codec", ["deflate", "bzip2", "xz"])
def test_blocks_that_unpack_to_too_much_are_refused_after_what_came_before(codec: str) -> None:
    bomb = io.BytesIO()
    schema = {"type": "record", "name": "bomb", "fields": [{"name": "padding", "type": "bytes"}]}
    records = [{"padding": bytes(600)} for _ in range(5)]
    fastavro.writer(bomb, schema, records, codec=codec, sync_interval=1)
    assert len(list(avro.readings(bomb.getvalue(), max_bytes=10_000))) == 5
    *before, last = avro.readings(bomb.getvalue(), max_bytes=1500)
    assert len(before) == 2
    assert isinstance(last, TooLarge)


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_a_containers_records_are_the_same_by_any_codec_and_as_messages(codec: str) -> None:
    records = [alerts.elasticc(alert_id=number) for number in range(300)]
    stream = io.BytesIO()
    fastavro.writer(stream, schemas.elasticc()["v0_9_1"], records, codec=codec)
    decoded = alert_batch(list(avro.readings(stream.getvalue())))
    assert decoded.alerts.alert_id.tolist() == list(range(300))
    assert list(avro.messages(stream.getvalue())) == [alerts.datum(record) for record in records]


def test_a_rubin_containers_records_become_messages_that_name_their_schema() -> None:
    schema = schemas.rubin(1101)
    records = [alerts.filled(schema, diaSourceId=number) for number in range(3)]
    messages = list(avro.messages(alerts.container(records, schema)))
    assert all(isinstance(one, bytes) and one[:5] == b"\0\0\0\x04\x4d" for one in messages)
    readings = [avro.message(one) for one in messages if isinstance(one, bytes)]
    assert readings == [{"schema id 1101": record} for record in records]


def test_a_record_that_only_its_container_explains_is_no_message() -> None:
    schema = {"type": "record", "name": "note", "fields": [{"name": "text", "type": "string"}]}
    (one,) = avro.messages(alerts.container([{"text": "seen"}], schema))
    assert isinstance(one, InvalidAlert)
    assert str(one).startswith("a record of note out of its container: 5 bytes that no ELAsTiCC schema reads")


def test_a_codec_that_is_not_read_is_named() -> None:
    broken = alerts.container([alerts.elasticc()]).replace(b"deflate", b"unheard")
    (reading,) = avro.readings(broken)
    assert "codec unheard is not read here" in str(reading)


def test_a_block_that_claims_records_of_no_bytes_ends_the_reading() -> None:
    stream = io.BytesIO()
    fastavro.writer(stream, {"type": "record", "name": "nothing", "fields": []}, [{}] * 1000)
    (reading,) = avro.readings(stream.getvalue())
    assert "a record of no bytes" in str(reading)


@given(st.binary(max_size=200))
def test_no_bytes_raise(message: bytes) -> None:
    readings = list(avro.readings(message))
    decoded = alert_batch(readings)
    assert len(decoded.alerts) + len(decoded.invalid) == len(readings)
    assert all(str(reason) and "\n" not in str(reason) for reason in decoded.invalid.values())


@given(st.integers(0, len(BARE) - 1), st.integers(1, 255))
def test_a_flipped_byte_reads_as_a_plausible_alert_or_has_a_reason(place: int, flip: int) -> None:
    flipped = bytearray(BARE)
    flipped[place] ^= flip
    decoded = alert_batch(list(avro.readings(bytes(flipped))))
    assert len(decoded.alerts) + len(decoded.invalid) == 1


def test_elasticc_schemas_are_the_published_ones(data: Path) -> None:
    for version in ("v0_9_1", "v0_9"):
        folder = data / "elasticc" / "schemas" / version
        ours = schemas.elasticc()[version]
        assert isinstance(ours, dict)
        types = {field["name"]: field["type"] for field in ours["fields"]}
        for name, kind in {
            "diaSource": types["diaSource"],
            "diaForcedSource": types["prvDiaForcedSources"][1]["items"],
            "diaObject": types["diaObject"][1],
        }.items():
            published = json.loads((folder / f"elasticc.{version}.{name}.avsc").read_text())
            assert [(f["name"], f["type"]) for f in kind["fields"]] == [
                (f["name"], f["type"]) for f in published["fields"]
            ]

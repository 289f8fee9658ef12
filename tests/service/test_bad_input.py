"""Whatever arrives costs itself at most, with a reason, and the next is answered: deploy/BAD_INPUT.md, row by row."""

import io
import json
import math
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
import redis
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from models.classifier import Classifications, Classifier
from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch, Decoded
from models.inputs.errors import InvalidAlert, NotAnAlert, NothingLeft, TooLarge
from models.inputs.light_curve import merged
from models.inputs.readable import MAX_ALERT_BYTES
from models.inputs.usable import MAX_READ_PER_BAND
from service import pipeline
from service.history import History
from service.kafka.stream import KafkaStream
from service.outputs import Result
from tests import alerts
from tests.alerts import FIRST_MJD, confluent, datum, elasticc, forced, rubin_point, source
from tests.fuzz.inputs import varint
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Topics, decoded, running

PAGE = Path(__file__).parents[2] / "deploy" / "BAD_INPUT.md"
GOOD = datum(elasticc(previous=[source(99, FIRST_MJD - 3)], alert_id=8))


def _road(messages: list[bytes], classifier: Classifier, **not_after: Any) -> list[Result | InvalidAlert]:
    """Messages as bytes -> answers: the road of the stream."""
    return pipeline.answer(classifier, _decoded(messages, **not_after)).results


def _decoded(messages: list[bytes], **not_after: Any) -> Decoded:
    return alert_batch([avro.message(message) for message in messages], **not_after)


def _costs_itself_only(message: bytes, reason: str, classifier: Classifier, **not_after: Any) -> InvalidAlert:
    """Between two good alerts it is the one that is not answered, with this reason."""
    (alone,) = _road([GOOD], classifier)
    before, refused, after = _road([GOOD, message, GOOD], classifier, **not_after)
    for good in (before, after):
        assert not isinstance(good, InvalidAlert), good
        assert not isinstance(alone, InvalidAlert)
        assert good["alertId"] == "8"
        assert good["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-5)
    assert isinstance(refused, InvalidAlert)
    assert reason in str(refused)
    assert "\n" not in str(refused)
    return refused


# --- bytes that are no alert ---------------------------------------------------------------------------------------


def test_an_empty_value_is_refused(classifier: Classifier) -> None:
    _costs_itself_only(b"", "empty message", classifier)


@pytest.mark.parametrize("missing", [1, 30, 200])
def test_truncated_bytes_are_refused(classifier: Classifier, missing: int) -> None:
    _costs_itself_only(GOOD[:-missing], "v0_9_1: truncated: it promises more than there is", classifier)


def test_trailing_bytes_are_refused(classifier: Classifier) -> None:
    _costs_itself_only(GOOD + b"\x00\x00", "v0_9_1: 2 bytes too many after the datum", classifier)


def test_a_schema_id_that_nobody_knows_is_refused(classifier: Classifier) -> None:
    _costs_itself_only(confluent(b"\x02\x02", 4242), "schema id 4242 is not known here", classifier)


def _of_another_schema() -> bytes:
    rubin = schemas.rubin(1100)
    assert rubin is not None
    return datum(alerts.filled(rubin, diaSourceId=5), rubin)


def test_bytes_of_another_schema_are_refused(classifier: Classifier) -> None:
    _costs_itself_only(_of_another_schema(), "bytes that no ELAsTiCC schema reads", classifier)
    _costs_itself_only(confluent(GOOD, 1100), "schema id 1100: ", classifier)


def test_a_record_of_another_kind_is_refused(classifier: Classifier) -> None:
    kind = {"type": "record", "name": "weather", "fields": [{"name": "seeing", "type": "double"}]}
    (reading,) = avro.readings(alerts.container([{"seeing": 0.7}], kind))
    good = avro.message(GOOD)
    first, refused, last = pipeline.answer(classifier, alert_batch([good, reading, good])).results
    assert isinstance(refused, NotAnAlert)
    assert "not an alert: no diaSource among seeing" in str(refused)
    assert not isinstance(first, InvalidAlert)
    assert not isinstance(last, InvalidAlert)


def test_text_that_is_not_utf_8_is_refused(classifier: Classifier) -> None:
    band = GOOD.index(b"\x02r") + 1
    broken = GOOD[:band] + b"\xff" + GOOD[band + 1 :]
    _costs_itself_only(broken, "v0_9_1: a text that is not UTF-8", classifier)


@pytest.mark.parametrize("number", [-1, -2, 7])
def test_a_choice_that_the_schema_does_not_have_is_refused(classifier: Classifier, number: int) -> None:
    """A negative number too, which fastavro alone counts from the end."""
    single = datum(elasticc(object_=None))
    assert single.endswith(b"\x00\x00\x00")
    _costs_itself_only(single[:-1] + varint(number), "v0_9_1: a choice that the schema does not have", classifier)


@pytest.mark.parametrize("number", [-1, 3])
@pytest.mark.parametrize(
    "kind", [{"type": "enum", "name": "colour", "symbols": ["u", "g", "r"]}, ["null", "long", "int"]]
)
def test_a_symbol_or_an_inner_branch_that_the_schema_does_not_have_is_refused(kind: Any, number: int) -> None:
    inner = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": kind}]}
    (refused,) = avro.readings(_container(_record(a=inner), varint(number)))
    assert "a choice that the schema does not have" in str(refused)


def test_a_number_of_more_than_64_bits_is_refused(classifier: Classifier) -> None:
    """Fastavro alone reads it without its upper bits: as another alert's id."""
    body = datum(elasticc(alert_id=8))[len(varint(8)) :]
    for number in (2**63, 2**64 + 8, 2**140):
        _costs_itself_only(varint(number) + body, "v0_9_1: a number of more than 64 bits", classifier)
    (largest,) = _road([varint(2**63 - 1) + body], classifier)
    assert not isinstance(largest, InvalidAlert)
    assert largest["alertId"] == str(2**63 - 1)


# --- more than fits ------------------------------------------------------------------------------------------------


def _container(schema: Any, block: bytes, *, count: int = 1) -> bytes:
    """An object container file of one block, by hand: no writer would write it."""
    head = b"Obj\x01" + varint(1)
    for part in (b"avro.schema", json.dumps(schema).encode()):
        head += varint(len(part)) + part
    return head + varint(0) + bytes(16) + varint(count) + varint(len(block)) + block + bytes(16)


def _record(**types: Any) -> dict[str, Any]:
    return {"type": "record", "name": "top", "fields": [{"name": name, "type": kind} for name, kind in types.items()]}


_NOTHING = {"type": "record", "name": "nothing", "fields": [{"name": "n", "type": "null"}]}


def _peak_mebibytes(data: bytes) -> tuple[float, list[Any]]:
    tracemalloc.start()
    try:
        read = list(avro.readings(data))
        return tracemalloc.get_traced_memory()[1] / 2**20, read
    finally:
        tracemalloc.stop()


def test_an_array_that_promises_gigabytes_is_refused_before_they_are_allocated(classifier: Classifier) -> None:
    empty, one = datum(elasticc(object_=None)), datum(elasticc(previous=[source(1, FIRST_MJD - 1)], object_=None))
    item = one[len(empty[:-3] + b"\x02\x02") : -len(b"\x00\x00\x00")]
    promising = empty[:-3] + b"\x02" + varint(2**40) + 20 * item
    _costs_itself_only(promising, "v0_9_1: truncated: it promises more than there is", classifier)
    assert _peak_mebibytes(promising)[0] < 20


@pytest.mark.parametrize("items", ["null", _NOTHING, {"type": "fixed", "name": "f", "size": 0}])
def test_an_array_of_items_of_no_bytes_is_refused_before_it_is_read(items: Any) -> None:
    data = _container(_record(many={"type": "array", "items": items}), varint(2**40) + varint(0))
    peak, (refused,) = _peak_mebibytes(data)
    assert "its schema has an array of items of no bytes" in str(refused)
    assert peak < 20


def test_a_schema_that_contains_itself_is_refused() -> None:
    """Fastavro alone follows it until the process's stack ends, and the process with it."""
    data = _container(_record(next=["null", "top"]), b"\x02" * 10**6 + b"\x00")
    (refused,) = avro.readings(data)
    assert "its schema's top contains itself" in str(refused)


def test_a_schema_that_nests_too_deep_or_multiplies_is_refused() -> None:
    steps: dict[str, Any] = {"f0": {"type": "record", "name": "r0", "fields": [{"name": "x", "type": "long"}]}}
    for times, reason in ((1, "more than 32 types within each other"), (4, "more than fits into the memory")):
        for step in range(1, 20 if times > 1 else 100):
            fields = [{"name": f"x{n}", "type": f"r{step - 1}"} for n in range(times)]
            steps[f"f{step}"] = {"type": "record", "name": f"r{step}", "fields": fields}
        (refused,) = avro.readings(_container(_record(**steps), b"\x02" * 1000))
        assert reason in str(refused)
        steps = {"f0": steps["f0"]}


@pytest.mark.parametrize("depth", [100, 480])
def test_a_registrys_schema_that_nests_too_deep_costs_its_own_messages(depth: int, classifier: Classifier) -> None:
    kind: Any = "long"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    deep = fastavro.parse_schema(_record(x=kind))
    framed = [avro.unread(data, schema_by_id=lambda _: deep) for data in (GOOD, confluent(GOOD, 4711), GOOD)]
    decoded = alert_batch(framed)
    assert len(decoded.alerts) == 2
    reason = "its schema nests too deep" if depth > 400 else "its schema has more than 32 types within each other"
    assert str(decoded.invalid[1]) == f"schema id 4711: {reason}"


@pytest.mark.parametrize("name", ["record", "array", "map", "enum"])
@pytest.mark.parametrize("renamed", ["alert", "diaSource"])
def test_a_registrys_record_that_is_called_as_a_kind_of_type_costs_at_most_its_own_messages(
    renamed: str, name: str, classifier: Classifier
) -> None:
    schema = schemas.elasticc()["v0_9_1"]
    assert isinstance(schema, dict)
    text = json.dumps({part: schema[part] for part in ("type", "name", "fields")})
    odd = fastavro.parse_schema(json.loads(text.replace(f'"elasticc.v0_9_1.{renamed}"', f'"{name}"')))
    framed = [avro.unread(data, schema_by_id=lambda _: odd) for data in (GOOD, confluent(GOOD, 4711), GOOD)]
    decoded = alert_batch(framed)
    assert set(decoded.invalid) <= {1}
    assert decoded.alerts.alert_id.tolist() == [8] * len(decoded.alerts)


def test_a_reason_that_quotes_half_a_character_can_be_written_down() -> None:
    (refused,) = avro.readings(_container(_record(**{"x\ud800": "long"}), varint(5)))
    assert isinstance(refused, dict)
    (reason,) = alert_batch([refused]).invalid.values()
    assert "x\\ud800" in str(reason).encode().decode()


def test_bytes_that_swell_in_memory_are_refused_before_they_do() -> None:
    """Each byte would become a dict: the limit is lower where a schema makes that of it."""
    small = _record(n=["null", "long"]) | {"name": "small"}
    data = _container(_record(many={"type": "array", "items": small}), varint(2**23) + bytes(2**23) + varint(0))
    peak, (refused,) = _peak_mebibytes(data)
    assert isinstance(refused, TooLarge)
    assert peak < 400


def test_an_array_of_the_largest_negative_count_is_not_taken_for_an_empty_one(classifier: Classifier) -> None:
    """Without a second look, fastavro does: the count has no positive."""
    promising = datum(elasticc(object_=None))[:-3] + b"\x02" + varint(-(2**63)) + b"\x02" + bytes(3)
    _costs_itself_only(promising, "v0_9_1: truncated: it promises more than there is", classifier)


def test_an_alert_over_the_size_limit_is_refused(classifier: Classifier) -> None:
    refused = _costs_itself_only(bytes([2]) * (MAX_ALERT_BYTES + 1), "bytes, and an alert has at most", classifier)
    assert isinstance(refused, TooLarge)


def test_a_block_that_holds_more_records_than_it_counts_is_not_read_in_silence() -> None:
    first, refused = avro.readings(_container(_record(n="long"), varint(5) + varint(6)))
    assert first == {"container": {"n": 5}}
    assert "1 bytes too many after the records of a block" in str(refused)


def test_a_block_is_read_in_windows_and_only_a_record_that_exceeds_one_is_refused() -> None:
    text = "x" * 3_000_000
    stream = io.BytesIO()
    fastavro.writer(stream, _record(a="string"), [{"a": text}] * 7, codec="deflate", sync_interval=2**30)
    assert [reading["container"]["a"] == text for reading in avro.readings(stream.getvalue())] == [True] * 7  # type: ignore[index]
    stream = io.BytesIO()
    records = [{"a": text}, {"a": text * 3}, {"a": text}]
    fastavro.writer(stream, _record(a="string"), records, codec="deflate", sync_interval=2**30)
    first, refused = avro.readings(stream.getvalue())
    assert first["container"]["a"] == text  # type: ignore[index]
    assert isinstance(refused, TooLarge)


def test_a_record_that_is_broken_in_a_long_block_is_not_called_too_long() -> None:
    stream = io.BytesIO()
    choice = ["null", "string"]
    fastavro.writer(stream, _record(a=choice), [{"a": "x" * 3_000_000}] * 4, codec="null", sync_interval=2**30)
    second = stream.getvalue().index(b"x" * 3_000_000) + 3_000_000
    broken = bytearray(stream.getvalue())
    broken[second] = 40  # the twentieth of two
    first, refused = avro.readings(bytes(broken))
    assert first == {"container": {"a": "x" * 3_000_000}}
    assert "a choice that the schema does not have" in str(refused)


def test_a_crowded_alert_is_classified_by_evenly_spread_points_and_the_others_are_counted(
    classifier: Classifier,
) -> None:
    rng = np.random.default_rng(0)
    crowd = [
        forced(n, FIRST_MJD - 300 * float(age), band="ugrizY"[n % 6], flux=float(n % 1000))
        for n, age in enumerate(rng.random(100_000))
    ]
    crowded = datum(elasticc(forced=crowd))
    before, answer, after = _road([GOOD, crowded, GOOD], classifier)
    for one in (before, answer, after):
        assert not isinstance(one, InvalidAlert), one
    taken = _decoded([GOOD, crowded])
    assert taken.left_out["crowded"] == 100_001 - 6 * MAX_READ_PER_BAND
    alert = taken.alerts[1]
    assert np.bincount(alert.band).tolist() == [MAX_READ_PER_BAND] * 6
    assert (alert.mjd[0], alert.detected[0]) == (FIRST_MJD, True)
    for band in range(6):
        days = np.sort(alert.mjd[alert.band == band])
        assert days[-1] - days[0] > 299
        assert np.diff(days).max() < 2


# --- alerts of impossible values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flux", [math.inf, -math.inf, 3e38, 3.7e13])
def test_a_flux_that_is_not_finite_is_refused(classifier: Classifier, flux: float) -> None:
    reason = "a flux that no telescope measures" if math.isfinite(flux) else "a flux that is not finite"
    _costs_itself_only(datum(elasticc(source(1, FIRST_MJD, flux=flux))), reason, classifier)
    _costs_itself_only(datum(elasticc(forced=[forced(1, FIRST_MJD - 1, flux=flux)])), reason, classifier)


@pytest.mark.parametrize("error", [math.inf, 3.7e13, 3.5e-5])
def test_an_error_that_no_telescope_has_is_refused(classifier: Classifier, error: float) -> None:
    reason = "a flux error that no telescope has" if math.isfinite(error) else "a flux error that is not finite"
    _costs_itself_only(datum(elasticc(source(1, FIRST_MJD, flux_err=error))), reason, classifier)
    _costs_itself_only(datum(elasticc(forced=[forced(1, FIRST_MJD - 1, flux_err=error)])), reason, classifier)


@pytest.mark.parametrize("error", [0.0, -0.0, -3.0])
def test_an_error_that_is_zero_or_negative_is_refused(classifier: Classifier, error: float) -> None:
    reason = "a flux error that is not positive"
    _costs_itself_only(datum(elasticc(source(1, FIRST_MJD, flux_err=error))), reason, classifier)
    _costs_itself_only(datum(elasticc(previous=[source(1, FIRST_MJD - 1, flux_err=error)])), reason, classifier)


@pytest.mark.parametrize("band", ["w", "", "rr"])
def test_an_unknown_band_is_refused(classifier: Classifier, band: str) -> None:
    _costs_itself_only(datum(elasticc(source(1, FIRST_MJD, band=band))), f"unknown band {band!r}", classifier)


@pytest.mark.parametrize("mjd", [0.0, -5.0, 39_999.9, 100_000.1, math.nan, math.inf, 2_460_000.5, 1.7e9, 1.7e12])
def test_an_absurd_time_is_refused(classifier: Classifier, mjd: float) -> None:
    _costs_itself_only(datum(elasticc(source(1, mjd))), "a time that no survey has", classifier)
    _costs_itself_only(datum(elasticc(forced=[forced(1, mjd)])), "a time that no survey has", classifier)


def test_a_time_far_after_the_messages_own_is_refused(classifier: Classifier) -> None:
    late = datum(elasticc(source(1, FIRST_MJD + 10)))
    limits = np.array([np.nan, FIRST_MJD + 9, FIRST_MJD + 9])
    _costs_itself_only(late, "a time far after its message's own", classifier, not_after=limits)


def test_where_a_message_has_no_time_only_an_absurd_one_is_refused(classifier: Classifier) -> None:
    """Nor does the clock on the wall count: this alert is of the year 2120."""
    (answer,) = _road([datum(elasticc(source(1, 95_000.0)))], classifier, not_after=np.array([np.nan]))
    assert not isinstance(answer, InvalidAlert)


# --- points that cannot be used ------------------------------------------------------------------------------------


def test_points_that_were_not_measured_are_left_out_and_counted(classifier: Classifier) -> None:
    previous = [source(1, FIRST_MJD - 1, flux=math.nan), source(2, FIRST_MJD - 2, flux_err=math.nan)]
    message = datum(elasticc(previous=[*previous, source(3, FIRST_MJD - 3)]))
    (answer,) = _road([message], classifier)
    assert not isinstance(answer, InvalidAlert)
    assert answer["nObservations"] == 2
    assert _decoded([message]).left_out == {"saturated": 0, "not measured": 2, "crowded": 0}


def test_saturated_visits_are_left_out_and_counted() -> None:
    saturated = rubin_point(1, FIRST_MJD - 1, pixelFlags_saturated=True)
    record = alerts.rubin(prvDiaSources=[saturated], prvDiaForcedSources=[rubin_point(3, FIRST_MJD - 1)])
    taken = alert_batch([{"test": record}])
    assert taken.left_out["saturated"] == 2
    assert taken.alerts[0].source_id.tolist() == [100]


def test_an_alert_with_no_points_left_is_declined(classifier: Classifier) -> None:
    empty = datum(elasticc(source(5, FIRST_MJD, flux=math.nan), alert_id=3))
    declined = _costs_itself_only(empty, "no usable observation: 0 saturated, 1 without flux", classifier)
    assert isinstance(declined, NothingLeft)
    assert (declined.alert_id, declined.dia_source_id, declined.dia_object_id) == (3, 5, 7)


def test_an_alert_with_no_points_within_the_window_is_declined(classifier: Classifier) -> None:
    old = datum(elasticc(source(5, FIRST_MJD, flux=math.nan), previous=[source(1, FIRST_MJD - 500)], alert_id=3))
    declined = _costs_itself_only(old, "no usable observation within the model's window", classifier)
    assert isinstance(declined, NothingLeft)
    assert declined.alert_id == 3


def test_an_alert_that_the_model_fails_on_is_found_among_its_neighbours(classifier: Classifier) -> None:
    class Failing(Classifier):
        def classify(self, batch: AlertBatch) -> Classifications:
            if 13 in batch.alert_id:
                raise FloatingPointError("arithmetic")
            return super().classify(batch)

    toy = (classifier.taxonomy, classifier.calibration)
    failing = Failing(classifier.model, taxonomy=toy[0], calibration=toy[1], name="failing", version="1")
    messages = [datum(elasticc(alert_id=number)) for number in range(40)]
    answers = _road(messages, failing)
    assert [place for place, answer in enumerate(answers) if isinstance(answer, InvalidAlert)] == [13]
    assert str(answers[13]) == "the model failed on it: FloatingPointError"
    _costs_itself_only(messages[13], "the model failed on it", failing)


# --- not errors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def history(valkey: ValkeyServer) -> Iterator[History]:
    """An empty history."""
    with redis.Redis.from_url(valkey.url, socket_timeout=2) as client:
        made = History(client, ttl=timedelta(days=1), max_points=1000, window_days=395)
        assert made.check() is None
        yield made


def _days(history: History, batch: AlertBatch) -> list[list[float]]:
    """The days of the light curves that alerts are classified by."""
    curves = merged(history.complete(batch).alerts).until(batch.epoch)
    return [(curves[row].mjd - FIRST_MJD).tolist() for row in range(len(curves))]


def _of(id_: int, day: float, *, object_id: int | None = 7, **more: Any) -> dict[str, Any]:
    trigger = source(id_, FIRST_MJD + day) | {"diaObjectId": object_id}
    return elasticc(trigger, object_=None if object_id is None else alerts.dia_object(object_id), alert_id=id_, **more)


def test_a_null_dia_object_is_classified_without_metadata_under_the_triggers_id(classifier: Classifier) -> None:
    (answer,) = _road([datum(elasticc(object_=None))], classifier)
    assert not isinstance(answer, InvalidAlert)
    assert (answer["diaObjectId"], answer["branches"]) == ("7", "lc")


@pytest.mark.parametrize("object_id", [0, None])
def test_an_object_id_of_0_or_null_is_classified_alone_and_shares_no_history(
    classifier: Classifier, history: History, object_id: int | None
) -> None:
    first = elasticc(source(1, FIRST_MJD) | {"diaObjectId": object_id}, object_=None, alert_id=1)
    second = elasticc(source(2, FIRST_MJD + 3) | {"diaObjectId": object_id}, object_=None, alert_id=2)
    assert _days(history, alerts.batch(first)) == [[0]]
    assert _days(history, alerts.batch(second)) == [[3]]
    assert not history.complete(alerts.batch(second)).full.any()
    (answer,) = _road([datum(second)], classifier)
    assert not isinstance(answer, InvalidAlert)
    assert answer["diaObjectId"] is None


def test_where_trigger_and_object_name_different_ids_the_object_decides(classifier: Classifier) -> None:
    trigger = source(1, FIRST_MJD) | {"diaObjectId": 7}
    (answer,) = _road([datum(elasticc(trigger, object_=alerts.dia_object(9)))], classifier)
    assert not isinstance(answer, InvalidAlert)
    assert answer["diaObjectId"] == "9"


def test_a_detection_that_moves_to_another_object_stays_with_the_alerts_that_carried_it(history: History) -> None:
    assert _days(history, alerts.batch(_of(1, 0))) == [[0]]
    assert _days(history, alerts.batch(_of(2, 3, object_id=9, previous=[source(1, FIRST_MJD)]))) == [[0, 3]]
    assert _days(history, alerts.batch(_of(4, 6, object_id=9))) == [[0, 3, 6]]
    assert _days(history, alerts.batch(_of(3, 5))) == [[0, 5]]


def test_alerts_out_of_order_are_classified_by_what_was_known_at_their_own_time(history: History) -> None:
    assert _days(history, alerts.batch(_of(3, 9, forced=[forced(5, FIRST_MJD + 2)]))) == [[2, 9]]
    assert _days(history, alerts.batch(_of(1, 0))) == [[0]]
    assert _days(history, alerts.batch(_of(2, 4))) == [[0, 4]]
    assert _days(history, alerts.batch(_of(4, 11))) == [[0, 2, 4, 9, 11]]


def test_two_alerts_of_an_object_in_one_batch_are_answered_as_if_one_came_after_the_other(history: History) -> None:
    assert _days(history, alerts.batch(_of(2, 4), _of(1, 0))) == [[0, 4], [0]]


def test_an_alert_that_comes_twice_is_answered_twice_and_alike(classifier: Classifier, history: History) -> None:
    first, second = _road([GOOD, GOOD], classifier)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-6)
    assert first | {"probabilities": {}} == second | {"probabilities": {}}
    assert _days(history, alerts.batch(_of(1, 0))) == _days(history, alerts.batch(_of(1, 0))) == [[0]]


def test_an_id_given_twice_in_a_packet_counts_once_with_the_value_given_first(classifier: Classifier) -> None:
    trigger = source(1, FIRST_MJD, flux=500)
    conflicting = [source(1, FIRST_MJD - 1, flux=900), source(2, FIRST_MJD - 2, flux=7), source(2, FIRST_MJD - 3)]
    curve = merged(alerts.batch(elasticc(trigger, previous=conflicting)))[0]
    assert (curve.mjd - FIRST_MJD).tolist() == [-2, 0]
    assert curve.flux[1] / curve.flux[0] == pytest.approx(500 / 7)
    (answer,) = _road([datum(elasticc(trigger, previous=conflicting))], classifier)
    assert not isinstance(answer, InvalidAlert)
    assert answer["nObservations"] == 2


def test_of_an_id_with_other_values_in_the_history_the_alerts_own_stand(history: History) -> None:
    history.complete(alerts.batch(_of(1, 0)))
    changed = alerts.batch(_of(2, 4, previous=[source(1, FIRST_MJD, flux=2000)]))
    curve = merged(history.complete(changed).alerts)[0]
    assert curve.flux[0] == pytest.approx(2 * curve.flux[1])


# --- through a real stream -----------------------------------------------------------------------------------------


def _good(number: int) -> bytes:
    return datum(elasticc(source(number, FIRST_MJD + number / 100), alert_id=number))


_POISON: dict[bytes | None, str] = {
    b"": "empty message",
    None: "empty message",
    GOOD[:-1]: "truncated",
    GOOD + b"\x00": "bytes too many",
    confluent(GOOD, 4242): "schema id 4242 is not known",
    confluent(GOOD, 1100): "schema id 1100",
    b"Obj\x01": "no ELAsTiCC schema reads",
    datum(elasticc(source(1, FIRST_MJD, band="w"))): "unknown band",
    datum(elasticc(source(1, FIRST_MJD, flux=math.inf))): "a flux that is not finite",
    datum(elasticc(source(1, FIRST_MJD, flux_err=0.0))): "a flux error that is not positive",
    datum(elasticc(source(1, 1.0))): "a time that no survey has",
}


def test_every_bad_message_in_a_stream_is_a_dead_letter_with_its_reason_and_every_other_is_classified(
    kafka: str, classifier: Classifier
) -> None:
    topics = Topics(kafka, partitions=1)
    values: list[bytes | None] = [_good(0)]
    for place, poison in enumerate(_POISON, start=1):
        values += [poison, _good(place)]
    topics.send(values)
    with running(topics, classifier) as up:
        seen = topics.wait_for(len(values))
        up.stop()
        assert up.metric("classifier_transactions_total", outcome="aborted") == 0
    dead = {one.origin[2]: one for one in seen if one.topic == topics.dead_letters}
    assert sorted(dead) == list(range(1, len(values), 2))
    for place, (poison, reason) in enumerate(_POISON.items()):
        letter = dead[1 + 2 * place]
        assert letter.value == (poison or b"")
        assert reason in letter.headers["reason"]
    classified = decoded([one for one in seen if one.topic == topics.classifications])
    assert [record["alertId"] for record in classified] == list(range(len(_POISON) + 1))


def test_an_alert_with_no_points_left_is_published_as_not_classified(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    crowd = [forced(n, FIRST_MJD - n / 100) for n in range(3000)]
    empty = elasticc(source(5, FIRST_MJD, flux=math.nan), alert_id=3)
    topics.send([datum(empty), _good(1), datum(elasticc(forced=crowd))])
    with running(topics, classifier) as up:
        seen = topics.wait_for(3)
        up.stop()
        assert up.metric("classifier_alerts_total", outcome="declined", schema="v0_9_1") == 1
        assert up.metric("classifier_points_left_out_total", reason="crowded") == 3001 - MAX_READ_PER_BAND
    declined, *classified = decoded(seen)
    assert declined["classifications"] == [{"classId": 300, "probability": 1.0}]
    assert json.loads(declined["classifierParams"])["declined"].startswith("no usable observation")
    assert (declined["alertId"], declined["diaSourceId"], seen[0].key) == (3, 5, b"7")
    assert seen[0].origin == (topics.alerts, 0, 0)
    assert [len(record["classifications"]) for record in classified] == [3, 3]


def test_the_messages_own_time_is_kafkas_and_not_the_walls(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1)
    day, mjd_of_1970 = 86_400_000, 40_587
    producer = Producer({"bootstrap.servers": kafka})
    for days_before in (5, 20, 5):  # of the alert; all long ago by the clock on the wall
        timestamp = int((FIRST_MJD - days_before - mjd_of_1970) * day)
        producer.produce(topics.alerts, value=datum(elasticc(alert_id=days_before)), timestamp=timestamp)
    assert producer.flush(30) == 0
    with running(topics, classifier, ALERT_DAYS_AHEAD="10"):
        seen = topics.wait_for(3)
    (dead,) = [one for one in seen if one.topic == topics.dead_letters]
    assert dead.origin[2] == 1
    assert "a time far after its message's own" in dead.headers["reason"]


LONG = b"\xff" + bytes(300_000)


def _checked_stub(topics: Topics, count: int) -> None:
    (stub,) = [one for one in topics.wait_for(count) if one.topic == topics.dead_letters]
    kept = json.loads(stub.value)
    assert (kept["size"], kept["sha256"]) == (len(LONG), sha256(LONG).hexdigest())
    assert (kept["origin-topic"], kept["origin-partition"], kept["origin-offset"]) == (topics.alerts, "0", "1")
    assert (stub.headers["size"], stub.headers["sha256"]) == (str(len(LONG)), kept["sha256"])
    assert stub.origin == (topics.alerts, 0, 1)
    assert "no ELAsTiCC schema reads" in stub.headers["reason"]


def test_a_dead_letter_that_its_topic_does_not_take_becomes_a_stub(kafka: str, classifier: Classifier) -> None:
    topics = Topics(kafka, partitions=1, config={"dead": {"max.message.bytes": "100000"}})
    topics.send([_good(0), LONG, _good(2)])
    with running(topics, classifier) as up:
        _checked_stub(topics, 3)
        up.stop()
        assert up.metric("classifier_transactions_total", outcome="aborted") == 0


class _Uninformed(KafkaStream):
    """A worker that may not read the topics' settings."""

    def _check_topics(self) -> Any:
        return replace(super()._check_topics(), outputs=None)


# Not compressible: a topic's limit is on what arrives.
NOISE = b"\xff" + np.random.default_rng(0).bytes(300_000)


@pytest.mark.parametrize("stream", [KafkaStream, _Uninformed])
def test_a_topic_that_takes_less_than_was_known_is_found_out_and_the_batch_done_again(
    kafka: str, classifier: Classifier, stream: type[KafkaStream]
) -> None:
    topics = Topics(kafka, partitions=1)
    topics.send([_good(0)])
    with running(topics, classifier, stream=stream) as up:
        topics.wait_for(1)
        entry = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topics.dead_letters, incremental_configs=[entry])
        admin = AdminClient({"bootstrap.servers": kafka})
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(20)
        topics.send([NOISE, _good(2)])
        seen = topics.wait_for(3)
        assert up.metric("classifier_transactions_total", outcome="aborted") >= 1
    (stub,) = [one for one in seen if one.topic == topics.dead_letters]
    assert stub.headers["sha256"] == sha256(NOISE).hexdigest()
    assert sorted(one.origin[2] for one in seen) == [0, 1, 2]


# --- the page ------------------------------------------------------------------------------------------------------


def test_every_row_of_the_page_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| What")]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        for name in named:
            assert name in _tests(), name


def _tests() -> set[str]:
    here = Path(__file__).parents[1]
    return {
        name
        for path in here.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }

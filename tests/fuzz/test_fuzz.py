"""A share of ``make fuzz``, whatever structure a record may have, and that the fuzzing would notice."""

import math
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.classifier import Classifier
from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.readable import Readable
from models.inputs.usable import MAX_READ_PER_BAND
from tests import alerts
from tests.conftest import DATA
from tests.fuzz import reference
from tests.fuzz.check import BATCH, Disagreement, check, check_read
from tests.fuzz.inputs import Inputs, varint

SHARE = 20_000


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """Real alerts too, where they are."""
    return Inputs(DATA if DATA.is_dir() else None)


@pytest.mark.parametrize("part", range(8))
def test_no_broken_input_is_read_wrongly_or_disturbs_another(inputs: Inputs, part: int) -> None:
    classifier = Classifier.load()
    batches = SHARE // BATCH // 8 + 1
    outcomes: Counter[str] = Counter()
    for number in range(part * batches, (part + 1) * batches):
        outcomes += check(inputs, seed=8, batch=number, classifier=classifier)
    assert outcomes["unreadable"] > outcomes["records"] / 10
    assert outcomes["classifiable"] > outcomes["records"] / 3


_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["", "r", "w", "1e5", b"", b"r", []])
)
_names = (
    *("diaSourceId", "diaForcedSourceId", "diaObjectId", "midPointTai", "midpointMjdTai", "filterName", "band"),
    *("psFlux", "psfFlux", "psFluxErr", "psfFluxErr", "pixelFlags_saturated", "mwebv", "hostgal_zphot_q50"),
)
_plausible = st.sampled_from([alerts.source(1, alerts.FIRST_MJD), alerts.forced(2, alerts.FIRST_MJD - 1)])
_points = st.builds(
    lambda start, changes: start | changes,
    st.one_of(st.just({}), _plausible),
    st.dictionaries(st.sampled_from(_names), _values, max_size=4),
)
_structures = st.fixed_dictionaries(
    {},
    optional={
        "alertId": _values,
        "diaSource": st.one_of(_points, _values),
        "prvDiaSources": st.one_of(st.lists(_points, max_size=4), _values, _points),
        "prvDiaForcedSources": st.one_of(st.lists(_points, max_size=4), _values),
        "diaObject": st.one_of(_points, _values),
    },
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_structures, min_size=1, max_size=5))
def test_a_record_of_any_structure_is_an_alert_or_has_a_reason(records: list[dict[str, Any]]) -> None:
    good = alerts.elasticc(alert_id=8)
    decoded = alert_batch([{"test": record} for record in (good, *records, good)])
    assert sorted([*decoded.messages.tolist(), *decoded.invalid]) == list(range(len(records) + 2))
    assert decoded.alerts.alert_id[[0, -1]].tolist() == [8, 8]
    assert all(str(reason) for reason in decoded.invalid.values())
    for row, message in enumerate(decoded.messages.tolist()):
        if 0 < message <= len(records):
            record = records[message - 1]
            assert decoded.alerts.dia_source_id[row] == record["diaSource"]["diaSourceId"]
            assert len(decoded.alerts[row].mjd) <= 1 + 6 * MAX_READ_PER_BAND


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(-(2**70), 2**70))
def test_a_number_is_read_as_what_was_written_or_not_at_all(number: int) -> None:
    body = alerts.datum(alerts.elasticc(alert_id=0))[1:]
    read = avro.message(varint(number) + body, schema=schemas.elasticc()["v0_9_1"])
    if -(2**63) <= number < 2**63:
        assert isinstance(read, dict)
        assert next(iter(read.values()))["alertId"] == number
    else:
        assert "more than 64 bits" in str(read)


# --- that it would notice ------------------------------------------------------------------------------------------


def test_the_reference_refuses_what_the_specification_does_not_allow() -> None:
    cases: list[tuple[Any, bytes]] = [
        ("long", varint(2**64)),
        (["null", "long"], varint(-1) + varint(1)),
        ("string", b"\x02\xff"),
        ("bytes", varint(-1)),
        ("double", b"1234567"),
        ({"type": "array", "items": "long"}, varint(2) + varint(1)),
    ]
    for schema, data in cases:
        with pytest.raises(reference.Wrong):
            reference.decode(data, reference.decoder(schema))
    assert math.isnan(reference.decode(b"\x00\x00\xc0\x7f", reference.decoder("float")))


def test_without_the_checks_of_its_schema_the_decoder_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fastavro alone would read it."""
    branch_minus_one = alerts.datum(alerts.elasticc(object_=None))[:-2] + varint(-2) + b"\x00"
    check_read(branch_minus_one)
    monkeypatch.setattr(avro, "remembered", lambda schema: Readable(schema, schema, 2**20))
    with pytest.raises(Disagreement, match="against the specification"):
        check_read(branch_minus_one)


def test_without_the_second_look_at_long_numbers_the_decoder_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    too_long = varint(2**64 + 8) + alerts.datum(alerts.elasticc(alert_id=0))[1:]
    check_read(too_long)
    monkeypatch.setattr(avro, "_must_be_exact", lambda *_: None)
    with pytest.raises(Disagreement, match="more than 64 bits"):
        check_read(too_long)


def test_an_input_can_be_made_again(inputs: Inputs) -> None:
    first, second = ([inputs.make(random) for _ in range(50)] for random in (Random("8:3"), Random("8:3")))
    assert first == second

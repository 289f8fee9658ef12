"""What must hold whatever the bytes are: no exception, no wrong value, and no other alert pays for it."""

import gzip
import io
import math
import resource
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any

import numpy as np

from models.classifier import Classifier
from models.inputs import avro, schemas
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch, Decoded
from models.inputs.avro import Reading
from models.inputs.errors import InvalidAlert
from service import pipeline
from tests import alerts
from tests.fuzz import reference
from tests.fuzz.inputs import Inputs

BATCH = 256
_GOOD_EVERY = 32
_CLASSIFIED_EVERY = 8
_UNPACKED_BYTES = 2**24
_MEMORY_BYTES = 2**30
_NJY = 10 ** (0.4 * (27.5 - 31.4))
_GOOD = alerts.datum(alerts.random_elasticc(np.random.default_rng(1), 25, alert_id=77))


class Disagreement(AssertionError):
    """The decoder did what it must not, with the input that made it."""

    def __init__(self, what: str, data: bytes) -> None:
        super().__init__(what)
        self.data = data


def check(inputs: Inputs, *, seed: int, batch: int, classifier: Classifier) -> Counter[str]:
    """One batch of inputs: what became of them. Raises Disagreement."""
    most_memory = _memory_at_start() + _MEMORY_BYTES
    random = Random(f"{seed}:{batch}")
    made = [inputs.make(random) for _ in range(BATCH)]
    outcomes: Counter[str] = Counter()
    readings: list[Reading | InvalidAlert] = []
    sources: list[bytes] = []
    for place, data in enumerate(made):
        if place % _GOOD_EVERY == 0:
            readings += avro.readings(_GOOD)
            sources.append(_GOOD)
        read = check_read(data)
        outcomes["records" if read and not isinstance(read[-1], InvalidAlert) else "unreadable"] += 1
        readings += read
        sources += [data] * len(read)
    decoded = alert_batch(readings)
    outcomes["classifiable"] += len(decoded.alerts)
    _check_rows(decoded, readings, sources)
    _check_together([data for data in made if not data.startswith((b"Obj\x01", b"\x1f\x8b"))])
    if batch % _CLASSIFIED_EVERY == 0:
        _check_answers(decoded, sources, classifier)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if used > most_memory:
        raise Disagreement(f"{used / 2**20:.0f} MiB of memory", b"")
    return outcomes


@cache
def _memory_at_start() -> int:
    """Of the process, when it is first asked for."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- bytes -> records ----------------------------------------------------------------------------------------------


def check_read(data: bytes) -> list[Reading | InvalidAlert]:
    """What the decoder reads, held against the reference. Raises Disagreement."""
    try:
        read = list(avro.readings(data, max_bytes=_UNPACKED_BYTES))
    except Exception as error:
        raise Disagreement(f"the decoder raises {error!r}", data) from error
    plain = _unzipped(data) if data.startswith(b"\x1f\x8b") else data
    if plain.startswith(b"Obj\x01"):
        _check_container(read, plain)
    else:
        for reading in read:
            if not isinstance(reading, InvalidAlert):
                _check_reading(reading, plain)
    return read


def _unzipped(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            return stream.read(_UNPACKED_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _check_container(read: Sequence[Reading | InvalidAlert], data: bytes) -> None:
    records = reference.container(data)
    whole = True
    for reading in read:
        if isinstance(reading, InvalidAlert):
            whole = False
            break
        try:
            expected = next(records, None)
        except reference.Wrong as wrong:
            raise Disagreement(f"a record is read where the specification has none: {wrong}", data) from wrong
        if repr(reading["container"]) != repr(expected):
            raise Disagreement(f"{reading['container']!r} is read for {expected!r}", data)
    if whole:
        try:
            rest = next(records, None)
        except reference.Wrong as wrong:
            raise Disagreement(f"a container is read to its end that breaks off: {wrong}", data) from wrong
        if rest is not None:
            raise Disagreement(f"a record is not read: {rest!r}", data)


@cache
def _decoder(name: str) -> reference.Decode:
    if name.startswith("schema id "):
        return reference.decoder(schemas.rubin(int(name.removeprefix("schema id "))))
    return reference.decoder(schemas.elasticc()[name])


def _check_reading(reading: Reading, data: bytes) -> None:
    for name, record in reading.items():
        datum = data[5:] if name.startswith("schema id ") else data
        try:
            expected = reference.decode(datum, _decoder(name))
        except reference.Wrong as wrong:
            raise Disagreement(f"read as {name} against the specification: {wrong}", data) from wrong
        if repr(record) != repr(expected):
            raise Disagreement(f"{record!r} is read as {name} for {expected!r}", data)


def _check_together(messages: Sequence[bytes]) -> None:
    """Messages read together against the same record by record: equal arrays, and equal reasons."""
    together = alert_batch([avro.unread(message) for message in messages])
    one_by_one = alert_batch([avro.message(message) for message in messages])
    reasons = [{place: repr(why) for place, why in one.invalid.items()} for one in (together, one_by_one)]
    for place in reasons[0].keys() ^ reasons[1].keys() or (
        place for place, why in reasons[0].items() if why != reasons[1][place]
    ):
        raise Disagreement(f"together {reasons[0].get(place)}, alone {reasons[1].get(place)}", messages[place])
    for name, expected in vars(one_by_one.alerts).items():
        if not np.array_equal(getattr(together.alerts, name), expected, equal_nan=expected.dtype.kind == "f"):
            raise Disagreement(f"another {name} together than alone", b"".join(messages))


# --- records -> rows -----------------------------------------------------------------------------------------------


def _check_rows(decoded: Decoded, readings: Sequence[Reading | InvalidAlert], sources: Sequence[bytes]) -> None:
    rows = {message: row for row, message in enumerate(decoded.messages.tolist())}
    good = alert_batch(list(avro.readings(_GOOD))).alerts
    for place, (reading, data) in enumerate(zip(readings, sources, strict=True)):
        if (place in rows) == (place in decoded.invalid):
            raise Disagreement("neither an alert nor a reason, or both", data)
        if place in decoded.invalid:
            _check_reason(decoded.invalid[place], data)
        elif not isinstance(reading, InvalidAlert) and len(reading) == 1:
            _check_row(decoded.alerts, rows[place], next(iter(reading.values())), data)
        if data is _GOOD and _points(decoded.alerts, rows.get(place, -1)) != _points(good, 0):
            raise Disagreement("a good alert is changed by its neighbours", data)


def _check_reason(invalid: InvalidAlert, data: bytes) -> None:
    reason = str(invalid)
    if not reason.strip() or "\n" in reason or "MemoryError" in reason:
        raise Disagreement(f"no reason for a person: {reason!r}", data)


def _points(batch: AlertBatch, row: int) -> list[Any]:
    alert = batch[row]
    columns = (alert.mjd, alert.band, alert.flux, alert.flux_err, alert.detected, alert.source_id)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _check_row(batch: AlertBatch, row: int, record: Mapping[str, Any], data: bytes) -> None:
    """The row's points, worked out once more from the record, one by one."""
    expected = _expected(record)
    found = _points(batch, row)
    if found != expected:
        raise Disagreement(f"the points are {found}, not {expected}", data)
    alert = batch[row]
    trigger = record["diaSource"]
    object_id = (record.get("diaObject") or trigger)["diaObjectId"] or 0
    ids = (record.get("alertId", trigger["diaSourceId"]), trigger["diaSourceId"], object_id)
    if (alert.alert_id, alert.dia_source_id, alert.dia_object_id) != ids:
        raise Disagreement(f"the ids are not {ids}", data)
    sane = np.isfinite(alert.flux).all() and (alert.flux_err > 0).all() and np.isfinite(alert.flux_err).all()
    if not sane or not ((alert.mjd >= 40_000) & (alert.mjd <= 100_000)).all():
        raise Disagreement("a value that no telescope measures", data)


def _expected(record: Mapping[str, Any]) -> list[Any]:
    rubin = "midpointMjdTai" in record["diaSource"]
    names = (
        ("midpointMjdTai", "band", "psfFlux", "psfFluxErr")
        if rubin
        else ("midPointTai", "filterName", "psFlux", "psFluxErr")
    )
    detections = [record["diaSource"], *(record.get("prvDiaSources") or ())]
    saturated = {
        (point[names[0]], point[names[1]])
        for point in detections
        if point.get("pixelFlags_saturated") or point.get("pixelFlags_saturatedCenter")
    }
    points = [(point, True, point["diaSourceId"]) for point in detections]
    points += [(point, False, point["diaForcedSourceId"]) for point in record.get("prvDiaForcedSources") or ()]
    expected = []
    for point, detected, id_ in points:
        mjd, band, flux, error = (point[name] for name in names)
        if None in (band, flux, error) or math.isnan(flux) or math.isnan(error) or (mjd, band) in saturated:
            continue
        code = "ugrizy".index(band.lower() if band == "Y" else band)
        expected.append((mjd, code, float(np.float32(flux * _NJY)), float(np.float32(error * _NJY)), detected, id_))
    return expected


# --- rows -> answers -----------------------------------------------------------------------------------------------


def _check_answers(decoded: Decoded, sources: Sequence[bytes], classifier: Classifier) -> None:
    ids = dict(zip(decoded.messages.tolist(), decoded.alerts.alert_id.tolist(), strict=True))
    answers = pipeline.answer(classifier, decoded).results
    alone = pipeline.answer(classifier, alert_batch(list(avro.readings(_GOOD)))).results[0]
    for place, (answer, data) in enumerate(zip(answers, sources, strict=True)):
        if isinstance(answer, InvalidAlert):
            if "the model failed" in str(answer):
                raise Disagreement(str(answer), data)
            continue
        probabilities = np.array(list(answer["probabilities"].values()))
        if answer["alertId"] != str(ids[place]) or not abs(probabilities.sum() - 1) < 1e-5:
            raise Disagreement(f"an answer of another alert, or no probabilities: {answer}", data)
        if data is _GOOD:
            assert not isinstance(alone, InvalidAlert)
            if not np.allclose(probabilities, list(alone["probabilities"].values()), atol=1e-4):
                raise Disagreement("a good alert is answered otherwise beside bad ones", data)

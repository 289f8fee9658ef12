"""Messages -> AlertBatch. The one module that knows how the surveys spell their fields.

Messages become ``raw_columns``, and those, by ``usable``, an AlertBatch. Messages of one schema become columns
together, by ``columnar``; what is rare, broken, or comes as a record already, one by one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from fastavro.types import Schema

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import columnar, metadata, ragged, schemas
from models.inputs.alert_batch import NO_ALERT, NO_OBJECT, UNREADABLE, Decoded
from models.inputs.avro import Framed, Reading, Record, Unread
from models.inputs.columnar import NO_WHOLE, Columns, Fields, Program, Sink
from models.inputs.errors import InvalidAlert, NotAnAlert
from models.inputs.photometry import BANDS
from models.inputs.raw_columns import NO_BAND, RawAlert, RawColumns, RawPoint, in_order, raw_columns
from models.inputs.readable import remembered
from models.inputs.usable import only_usable

_BAND_CODE = {band: code for code, band in enumerate(BANDS)} | {"Y": BANDS.index("y")}


def alert_batch(messages: Sequence[Framed], *, not_after: FloatArray | None = None) -> Decoded:
    """Messages as ``avro`` gives them -> an AlertBatch of the good ones. A bad alert costs itself only.

    ``not_after`` (N,) [mjd], NaN where unknown: an alert with a time after its own is a bad one.
    """
    raws = []
    names = dict.fromkeys(range(len(messages)), UNREADABLE)
    for raw, name in _read_together(messages):
        raws.append(raw)
        names.update(dict.fromkeys(raw.message.tolist(), name))
    together = {position for raw in raws for position in raw.message.tolist()}
    readings = {
        position: one.read() if isinstance(one, Unread) else one
        for position, one in enumerate(messages)
        if position not in together
    }
    names |= {position: next(iter(one)) for position, one in readings.items() if not isinstance(one, InvalidAlert)}
    rows, invalid = _rows(readings, lambda reading: _alert_row(_the_one_reading(reading)))
    raw = in_order([*raws, raw_columns(rows)])
    decoded = only_usable(
        raw, invalid, np.full(len(raw.message), np.nan) if not_after is None else not_after[raw.message]
    )
    return replace(decoded, schemas=list(names.values()))


def warm_up() -> None:
    """Make ready what reads messages together: else the first would wait for it to be compiled."""
    alert_batch([Unread(b"", schemas.elasticc())])


def object_batch(objects: Sequence[Mapping[str, Any]]) -> Decoded:
    """Objects as the HTTP API takes them, in Rubin's spelling, nJy -> an AlertBatch of the good ones.

    Each has ``diaObjectId`` or null, equally long ``mjd``, ``band``, ``psfFlux``, ``psfFluxErr`` and ``detected``, and
    ``metadata`` by column name. Its epoch is that of its last point.
    """
    rows, invalid = _rows(dict(enumerate(objects)), _object_row)
    return only_usable(raw_columns(rows), invalid, np.full(len(rows), np.nan))


# --- survey records -> raw columns -----------------------------------------------------------------------------


T = TypeVar("T")


def _rows(
    items: Mapping[int, T], row_of: Callable[[T], RawAlert]
) -> tuple[dict[int, RawAlert], dict[int, InvalidAlert]]:
    """Rows of the good items by position, and the reasons of the others."""
    rows: dict[int, RawAlert] = {}
    invalid: dict[int, InvalidAlert] = {}
    for position, item in items.items():
        try:
            rows[position] = row_of(item)
        except InvalidAlert as reason:
            invalid[position] = reason.with_traceback(None)  # which would keep all that was read of the alert
        except KeyError as missing:
            invalid[position] = NotAnAlert(f"not an alert: no field {missing}")
        except (AttributeError, TypeError, ValueError, OverflowError) as wrong:  # a container may hold anything
            invalid[position] = NotAnAlert(f"not an alert: {wrong}")
    return rows, invalid


@dataclass(frozen=True)
class _Spelling:
    """How a survey writes the fields of a point."""

    mjd: str
    band: str
    flux: str
    flux_err: str


_ELASTICC = _Spelling(mjd="midPointTai", band="filterName", flux="psFlux", flux_err="psFluxErr")
_RUBIN = _Spelling(mjd="midpointMjdTai", band="band", flux="psfFlux", flux_err="psfFluxErr")

_SATURATED = ("pixelFlags_saturated", "pixelFlags_saturatedCenter")

# The pre-challenge form has other names and no 0 % and 100 % quantiles; v0_9 writes its median photo-z under two names.
_OLD_NAMES = {
    "z": "zspec",
    "z_err": "zspec_err",
    "zphot_p50": "zphot_q050",
    **{f"zphot_q{percent}": f"zphot_q{percent:03d}" for percent in range(10, 100, 10)},
}
_OLD_METADATA = {
    f"{host}_{old}": f"{host}_{name}" for host in ("hostgal", "hostgal2") for old, name in _OLD_NAMES.items()
}


def _the_one_reading(reading: Reading | InvalidAlert) -> Record:
    if isinstance(reading, InvalidAlert):
        raise reading
    if len(reading) == 1:
        return next(iter(reading.values()))
    plausible = {version: record for version, record in reading.items() if not _implausible(record)}
    first = next(iter(plausible.values()), None)
    if first is not None and all(record == first for record in plausible.values()):
        return first
    raise InvalidAlert(f"reads as {' and as '.join(plausible or reading)}; name its schema")


def _implausible(record: Record) -> bool:
    return bool(alert_batch([{"trial": record}]).invalid)


def _alert_row(record: Record) -> RawAlert:
    trigger = record.get("diaSource")
    if not isinstance(trigger, dict):
        raise NotAnAlert(f"not an alert: no diaSource among {', '.join(sorted(record)) or 'no fields'}")
    spelling = _ELASTICC if _ELASTICC.mjd in trigger else _RUBIN
    sources = [trigger, *(record.get("prvDiaSources") or ())]
    forced = record.get("prvDiaForcedSources") or ()
    points = [_point(source, spelling, detected=True, id_=_id(source, "diaSourceId")) for source in sources]
    points += [_point(source, spelling, detected=False, id_=_id(source, "diaForcedSourceId")) for source in forced]
    dia_source_id = _id(trigger, "diaSourceId")
    dia_object = record.get("diaObject")
    values = _metadata_of(dia_object)
    return RawAlert(
        alert_id=_id(record, "alertId") if "alertId" in record else dia_source_id,
        dia_source_id=dia_source_id,
        dia_object_id=_id(dia_object or trigger, "diaObjectId", nothing=NO_OBJECT),
        epoch=points[0].mjd,
        metadata=metadata.row(values),
        has_metadata=bool(values),
        points=points,
    )


def _object_row(values: Mapping[str, Any]) -> RawAlert:
    columns = ("mjd", "band", "psfFlux", "psfFluxErr", "detected")
    points = [
        # Ids of their own, below zero: they meet cached points by visit, never by id.
        _point(
            {_RUBIN.mjd: mjd, _RUBIN.band: band, _RUBIN.flux: flux, _RUBIN.flux_err: flux_err},
            _RUBIN,
            detected=detected,
            id_=-place,
        )
        for place, (mjd, band, flux, flux_err, detected) in enumerate(
            zip(*(values[name] for name in columns), strict=True), start=1
        )
    ]
    if not points:
        raise InvalidAlert("no observation")
    return RawAlert(
        alert_id=NO_ALERT,
        dia_source_id=NO_ALERT,
        dia_object_id=_id({"diaObjectId": int(values["diaObjectId"] or NO_OBJECT)}, "diaObjectId"),
        epoch=max(point.mjd for point in points),
        metadata=metadata.row(values["metadata"]),
        has_metadata=bool(values["metadata"]),
        points=points,
    )


def _point(source: Mapping[str, Any], spelling: _Spelling, *, detected: bool, id_: int) -> RawPoint:
    flux, flux_err, band = source[spelling.flux], source[spelling.flux_err], source[spelling.band]
    if band is not None and band not in _BAND_CODE:
        raise InvalidAlert(f"unknown band {band!r}; known are {', '.join(BANDS)}")
    return RawPoint(
        mjd=float(source[spelling.mjd]),
        band=NO_BAND if band is None else _BAND_CODE[band],
        psf_flux=np.nan if flux is None else float(flux),
        psf_flux_err=np.nan if flux_err is None else float(flux_err),
        detected=detected,
        saturated=any(source.get(flag) for flag in _SATURATED),
        source_id=id_,
    )


def _id(record: Mapping[str, Any], name: str, *, nothing: int | None = None) -> int:
    """A survey's id; ``nothing`` where it is null, if it may be. Below zero are the ids that are made here."""
    value = record[name]
    if value is None and nothing is not None:
        return nothing
    if value.__class__ is not int:  # a float would be rounded
        raise NotAnAlert(f"not an alert: {name} is no whole number: {value!r:.50}")
    if value < 0:
        raise InvalidAlert(f"{name} is below zero: {value}")
    return _int64(value)


def _int64(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise InvalidAlert(f"an id of more than 64 bits: {value}")
    return value


def _metadata_of(dia_object: Mapping[str, Any] | None) -> dict[str, float | None]:
    """The metadata a diaObject carries, by column name; empty for Rubin's, which has summary statistics instead."""
    if dia_object is None:
        return {}
    values = {name: dia_object[name] for name in metadata.COLUMNS if name in dia_object}
    if values:
        for old, name in _OLD_METADATA.items():
            if values.get(name) is None and old in dia_object:
                values[name] = dia_object[old]
    return values


# --- many messages of one schema -> raw columns ------------------------------------------------------------------

_ALERT_ID, _TRIGGER_OBJECT_ID, _OBJECT_ID, _HAS_OBJECT = range(4)
_SOURCE_ID, _BAND, _FLAG = range(3)
_MJD, _PSF_FLUX, _PSF_FLUX_ERR = range(3)
_WIDTHS = (4, len(metadata.COLUMNS) + len(_OLD_METADATA), _FLAG + len(_SATURATED), 3)
"""A row's ids and metadata, under today's names and then under the old ones; a point's numbers."""

_IS_FORCED, _IS_DETECTED = 0, 1

_IN_ORDER = ("diaSource", "prvDiaSources", "prvDiaForcedSources")


@dataclass(frozen=True)
class _Plan:
    """How alerts of one schema are read together."""

    schema: Schema
    """While it is here, no other object has its id."""
    program: Program
    has_metadata: bool
    """Whether its diaObject, where there is one, has metadata."""


def _read_together(messages: Sequence[Framed]) -> Iterator[tuple[RawColumns, str]]:
    """Raw columns of the messages that exactly one of their schemas reads, by schema, and its name."""
    alike: dict[int, list[int]] = {}
    for position, one in enumerate(messages):
        if isinstance(one, Unread):
            alike.setdefault(id(one.schemas) if len(one.schemas) > 1 else id(*one.schemas.values()), []).append(
                position
            )
    for positions in alike.values():
        named = cast(Unread, messages[positions[0]]).schemas
        plans = {name: _plan(schema) for name, schema in named.items()}
        if None in plans.values():
            continue
        data = [cast(Unread, messages[position]).data for position in positions]
        columns = {name: plan.program.read(data) for name, plan in plans.items() if plan is not None}
        once = np.sum([one.read for one in columns.values()], axis=0) == 1
        for name, plan in plans.items():
            rows = np.flatnonzero(once & columns[name].read)
            if len(rows) and plan is not None:
                raw = _raw_of(columns[name], rows, np.array(positions, dtype=np.int64)[rows], plan)
                yield raw, name


_plans: dict[int, _Plan | None] = {}


def _plan(schema: Schema) -> _Plan | None:
    """How to read alerts of this schema together, worked out once; None where each is to be read by itself."""
    if id(schema) not in _plans:
        try:
            _plans[id(schema)] = _planned(schema)
        except Exception:  # an odd schema raises nearly anything: read by themselves, its alerts are told what
            _plans[id(schema)] = None
    return _plans[id(schema)]


def _planned(schema: Schema) -> _Plan | None:
    known = remembered(schema)
    named = known.form["__named_schemas"]
    types = {one["name"]: one["type"] for one in known.form["fields"]}
    trigger, dia_object = (
        columnar.record_of(types[name], named) if name in types else None for name in ("diaSource", "diaObject")
    )
    present = [name for name in types if name in _IN_ORDER]
    if trigger is None or present != [name for name in _IN_ORDER if name in types]:
        return None
    spelling = _ELASTICC if any(one["name"] == _ELASTICC.mjd for one in trigger["fields"]) else _RUBIN
    detection, forced = _point_fields(spelling, "diaSourceId"), _point_fields(spelling, "diaForcedSourceId")
    object_id = Sink("whole", _TRIGGER_OBJECT_ID, nullable=True, of_row=True)
    wanted: dict[str, Sink | Fields] = {
        "alertId": Sink("whole", _ALERT_ID, optional=True),
        "diaSource": Fields({**detection, "diaObjectId": object_id}, item=_IS_DETECTED),
        "prvDiaSources": Fields(detection, item=_IS_DETECTED, many=True, nullable=True, optional=True),
        "prvDiaForcedSources": Fields(forced, item=_IS_FORCED, many=True, nullable=True, optional=True),
        "diaObject": Fields(_object_fields(), present=_HAS_OBJECT, nullable=True, optional=True),
    }
    program = columnar.program(
        known.form, Fields(wanted), symbols=_BAND_CODE, widths=_WIDTHS, max_bytes=known.max_bytes
    )
    names = () if dia_object is None else (one["name"] for one in dia_object["fields"])
    return None if program is None else _Plan(schema, program, not set(metadata.COLUMNS).isdisjoint(names))


def _point_fields(spelling: _Spelling, id_name: str) -> dict[str, Sink | Fields]:
    flags = {flag: Sink("flag", _FLAG + n, nullable=True, optional=True) for n, flag in enumerate(_SATURATED)}
    return {
        id_name: Sink("whole", _SOURCE_ID),
        spelling.mjd: Sink("number", _MJD),
        spelling.band: Sink("code", _BAND, nullable=True),
        spelling.flux: Sink("number", _PSF_FLUX, nullable=True),
        spelling.flux_err: Sink("number", _PSF_FLUX_ERR, nullable=True),
        **flags,
    }


def _object_fields() -> dict[str, Sink | Fields]:
    names = (*metadata.COLUMNS, *_OLD_METADATA)
    values = {name: Sink("number", column, nullable=True, optional=True) for column, name in enumerate(names)}
    return {"diaObjectId": Sink("whole", _OBJECT_ID, nullable=True), **values}


def _raw_of(columns: Columns, rows: IntArray, messages: IntArray, plan: _Plan) -> RawColumns:
    """These rows as raw columns, less those with an id below zero: a record's reader knows what to say of it."""
    has_object = columns.whole[rows, _HAS_OBJECT] == 1
    object_id = np.where(has_object, columns.whole[rows, _OBJECT_ID], columns.whole[rows, _TRIGGER_OBJECT_ID])
    object_id[object_id == NO_WHOLE] = NO_OBJECT
    source_id = columns.item_whole[:, _SOURCE_ID]
    dia_source_id = source_id[columns.offsets[rows]]
    given = columns.whole[rows, _ALERT_ID]
    alert_id = np.where(given == NO_WHOLE, dia_source_id, given)
    points, offsets = ragged.take(columns.offsets, rows)
    below_zero = np.zeros(len(rows), dtype=np.bool_)
    below_zero[ragged.row_of_each(offsets)[source_id[points] < 0]] = True
    below_zero |= (object_id < 0) | (alert_id < 0)
    if below_zero.any():
        return _raw_of(columns, rows[~below_zero], messages[~below_zero], plan)
    item_whole, item_number = columns.item_whole[points], columns.item_number[points]
    band = item_whole[:, _BAND]
    return RawColumns(
        message=messages,
        alert_id=alert_id,
        dia_source_id=dia_source_id,
        dia_object_id=object_id,
        epoch=columns.item_number[columns.offsets[rows], _MJD],
        metadata=_under_todays_names(columns.number[rows], columns.known[rows]),
        has_metadata=has_object & plan.has_metadata,
        offsets=offsets,
        mjd=item_number[:, _MJD],
        band=np.where(band == NO_WHOLE, NO_BAND, band).astype(np.int8),
        psf_flux=item_number[:, _PSF_FLUX],
        psf_flux_err=item_number[:, _PSF_FLUX_ERR],
        detected=columns.mark[points] == _IS_DETECTED,
        saturated=np.any(item_whole[:, _FLAG:] > 0, axis=1),
        source_id=item_whole[:, _SOURCE_ID],
    )


def _under_todays_names(values: FloatArray, known: BoolArray) -> FloatArray:
    """Metadata under all names (N, 64 + old ones) -> the 64 columns: an old name counts where today's has nothing."""
    values, known = values.copy(), known.copy()
    for old, name in enumerate(_OLD_METADATA.values(), start=len(metadata.COLUMNS)):
        column = metadata.COLUMNS.index(name)
        taken = ~known[:, column] & known[:, old]
        values[taken, column], known[taken, column] = values[taken, old], True
    return values[:, : len(metadata.COLUMNS)]

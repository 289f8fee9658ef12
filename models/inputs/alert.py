"""Decoded records -> AlertBatch. The one module that knows how the surveys spell their fields.

Messages become raw columns (wire units, NaN for null), and raw columns become an AlertBatch (FLUXCAL, only usable
points). Messages of one schema become columns together, by ``columnar``; what is rare, broken, or comes as a record
already, one by one. Everything after the raw columns is shared.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np
from fastavro.types import Schema
from numpy.typing import NDArray

from models.inputs import columnar, metadata, ragged, schemas
from models.inputs.avro import Framed, Reading, Record, Unread
from models.inputs.columnar import NO_WHOLE, Columns, Fields, Program, Sink
from models.inputs.errors import InvalidAlert, NotAnAlert, NothingLeft
from models.inputs.photometry import BANDS, FLUX_ERR_FLOOR, FLUX_LIMIT, FLUXCAL_PER_NJY
from models.inputs.readable import remembered

IntArray = NDArray[np.int64]

NO_ALERT = -(2**63)
"""``alert_id`` and ``dia_source_id`` of an object that came without an alert."""

NO_OBJECT = 0
"""``dia_object_id`` of an alert that names no object: Rubin writes null or 0 for solar-system bodies."""

MJD_RANGE = (40_000.0, 100_000.0)
"""Years 1968 to 2132: a time outside is a broken alert, not an observation."""

MAX_READ_PER_BAND = 1000
"""Of more points in a band of one alert than this, this many are read, spread evenly. Real alerts have 253 in all."""

_BAND_CODE = {band: code for code, band in enumerate(BANDS)} | {"Y": BANDS.index("y")}


@dataclass(frozen=True)
class Alert:
    """One row's view of an AlertBatch. Points (P,) in the order of the packet: trigger, previous sources, forced."""

    alert_id: int
    dia_source_id: int
    dia_object_id: int
    epoch: float
    metadata: NDArray[np.float32]
    has_metadata: bool
    mjd: NDArray[np.float64]
    band: NDArray[np.int8]
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    detected: NDArray[np.bool_]
    source_id: IntArray


@dataclass(frozen=True)
class AlertBatch:
    """N alerts as arrays; their points (P,) lie end to end, row ``i`` at ``offsets[i]:offsets[i + 1]``.

    Only usable points are here: a flux and an error that a telescope can measure (FLUX_LIMIT, FLUX_ERR_FLOOR), in a
    known band, unsaturated. Every row has one, and at most MAX_READ_PER_BAND a band.
    """

    alert_id: IntArray
    """(N,)"""
    dia_source_id: IntArray
    """(N,), the triggering detection."""
    dia_object_id: IntArray
    """(N,), NO_OBJECT where there is none."""
    epoch: NDArray[np.float64]
    """(N,), mjd of the triggering detection [TAI days]."""
    metadata: NDArray[np.float32]
    """(N, 64) in the order of ``metadata.COLUMNS``, NaN where missing."""
    has_metadata: NDArray[np.bool_]
    """(N,), False where the packet carried no metadata at all (Rubin; a null diaObject)."""
    offsets: IntArray
    """(N + 1,)"""
    mjd: NDArray[np.float64]
    """(P,) [TAI days]"""
    band: NDArray[np.int8]
    """(P,), code in BANDS."""
    flux: NDArray[np.float32]
    """(P,), PSF flux on the difference image [FLUXCAL]."""
    flux_err: NDArray[np.float32]
    """(P,) [FLUXCAL]"""
    detected: NDArray[np.bool_]
    """(P,), True for a detection, False for forced photometry."""
    source_id: IntArray
    """(P,), diaSourceId of a detection, diaForcedSourceId of forced photometry: two spaces of ids."""

    def __len__(self) -> int:
        return len(self.alert_id)

    def __getitem__(self, row: int) -> Alert:
        points = slice(self.offsets[row], self.offsets[row + 1])
        return Alert(
            alert_id=int(self.alert_id[row]),
            dia_source_id=int(self.dia_source_id[row]),
            dia_object_id=int(self.dia_object_id[row]),
            epoch=float(self.epoch[row]),
            metadata=self.metadata[row],
            has_metadata=bool(self.has_metadata[row]),
            mjd=self.mjd[points],
            band=self.band[points],
            flux=self.flux[points],
            flux_err=self.flux_err[points],
            detected=self.detected[points],
            source_id=self.source_id[points],
        )

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        points, offsets = ragged.take(self.offsets, rows)
        by_row = {name: getattr(self, name)[rows] for name in _ROW_COLUMNS}
        by_point = {name: getattr(self, name)[points] for name in _POINT_COLUMNS}
        return type(self)(offsets=offsets, **by_row, **by_point)


_ROW_COLUMNS = ("alert_id", "dia_source_id", "dia_object_id", "epoch", "metadata", "has_metadata")
_POINT_COLUMNS = ("mjd", "band", "flux", "flux_err", "detected", "source_id")


def concatenated(batches: Sequence[AlertBatch]) -> AlertBatch:
    """The rows of several batches, at least one, as one."""
    joined = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in _ROW_COLUMNS + _POINT_COLUMNS
    }
    lengths = np.concatenate([np.diff(batch.offsets) for batch in batches])
    return AlertBatch(offsets=ragged.offsets_of(lengths), **joined)


def by_object(alerts: AlertBatch) -> AlertBatch:
    """One row an object: its latest alert, with the points of its earlier ones behind its own.

    Objects come in the order of their ids. An alert without an object id is an object of its own.
    """
    own = np.where(alerts.dia_object_id == NO_OBJECT, -alerts.dia_source_id, alerts.dia_object_id)
    ordered = alerts.take(np.lexsort((-alerts.epoch, own)))
    starts = np.flatnonzero(np.diff(np.sort(own), prepend=np.iinfo(np.int64).min))
    latest = {name: getattr(ordered, name)[starts] for name in _ROW_COLUMNS}
    points = {name: getattr(ordered, name) for name in _POINT_COLUMNS}
    return AlertBatch(offsets=np.append(ordered.offsets[:-1][starts], ordered.offsets[-1]), **latest, **points)


@dataclass(frozen=True)
class Decoded:
    """What became of some messages: the good alerts, the message each row is from, and why the others are not here."""

    alerts: AlertBatch
    messages: IntArray
    """(N,), position of each row's message; increasing."""
    invalid: Mapping[int, InvalidAlert]
    """The other messages' reasons, by position."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many points of the good alerts were not taken, by reason."""
    schemas: Sequence[str] = ()
    """By message, the name of the schema that read it; UNREADABLE if none did."""

    @property
    def count(self) -> int:
        """How many messages there were."""
        return len(self.messages) + len(self.invalid)


def joined(parts: Sequence[Decoded]) -> Decoded:
    """What became of the messages of several parts, at least one, one after the other."""
    before = np.cumsum([0, *(part.count for part in parts)]).tolist()
    return Decoded(
        alerts=concatenated([part.alerts for part in parts]),
        messages=np.concatenate([part.messages + start for part, start in zip(parts, before, strict=False)]),
        invalid={
            position + start: reason
            for part, start in zip(parts, before, strict=False)
            for position, reason in part.invalid.items()
        },
        left_out=sum((Counter(part.left_out) for part in parts), Counter()),
        schemas=[name for part in parts for name in part.schemas],
    )


UNREADABLE = "unknown"
"""Name of the schema of what none reads."""


def alert_batch(messages: Sequence[Framed], *, not_after: NDArray[np.float64] | None = None) -> Decoded:
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
    raw = _in_order([*raws, _raw_columns(rows)])
    decoded = _usable(raw, invalid, np.full(len(raw.message), np.nan) if not_after is None else not_after[raw.message])
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
    return _usable(_raw_columns(rows), invalid, np.full(len(rows), np.nan))


# --- survey records -> raw columns -----------------------------------------------------------------------------


class _Point(NamedTuple):
    """One point as the wire has it: nJy, NaN for null."""

    mjd: float
    band: int
    psf_flux: float
    psf_flux_err: float
    detected: bool
    saturated: bool
    source_id: int


@dataclass(frozen=True)
class _Row:
    """One alert as the wire has it, every point of it."""

    alert_id: int
    dia_source_id: int
    dia_object_id: int
    epoch: float
    metadata: list[float]
    has_metadata: bool
    points: list[_Point]


T = TypeVar("T")


def _rows(items: Mapping[int, T], row_of: Callable[[T], _Row]) -> tuple[dict[int, _Row], dict[int, InvalidAlert]]:
    """Rows of the good items by position, and the reasons of the others."""
    rows: dict[int, _Row] = {}
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


def _alert_row(record: Record) -> _Row:
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
    return _Row(
        alert_id=_id(record, "alertId") if "alertId" in record else dia_source_id,
        dia_source_id=dia_source_id,
        dia_object_id=_id(dia_object or trigger, "diaObjectId", nothing=NO_OBJECT),
        epoch=points[0].mjd,
        metadata=metadata.row(values),
        has_metadata=bool(values),
        points=points,
    )


def _object_row(values: Mapping[str, Any]) -> _Row:
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
    return _Row(
        alert_id=NO_ALERT,
        dia_source_id=NO_ALERT,
        dia_object_id=_id({"diaObjectId": int(values["diaObjectId"] or NO_OBJECT)}, "diaObjectId"),
        epoch=max(point.mjd for point in points),
        metadata=metadata.row(values["metadata"]),
        has_metadata=bool(values["metadata"]),
        points=points,
    )


def _point(source: Mapping[str, Any], spelling: _Spelling, *, detected: bool, id_: int) -> _Point:
    flux, flux_err, band = source[spelling.flux], source[spelling.flux_err], source[spelling.band]
    if band is not None and band not in _BAND_CODE:
        raise InvalidAlert(f"unknown band {band!r}; known are {', '.join(BANDS)}")
    return _Point(
        mjd=float(source[spelling.mjd]),
        band=_NO_BAND if band is None else _BAND_CODE[band],
        psf_flux=np.nan if flux is None else float(flux),
        psf_flux_err=np.nan if flux_err is None else float(flux_err),
        detected=detected,
        saturated=any(source.get(flag) for flag in _SATURATED),
        source_id=id_,
    )


_NO_BAND = -1


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


def _read_together(messages: Sequence[Framed]) -> Iterator[tuple["_RawColumns", str]]:
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
        _plans[id(schema)] = _planned(schema)
    return _plans[id(schema)]


def _planned(schema: Schema) -> _Plan | None:
    try:
        known = remembered(schema)
    except Exception:  # an odd schema raises nearly anything: read by themselves, its alerts are told what
        return None
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


def _raw_of(columns: Columns, rows: IntArray, messages: IntArray, plan: _Plan) -> "_RawColumns":
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
    return _RawColumns(
        message=messages,
        alert_id=alert_id,
        dia_source_id=dia_source_id,
        dia_object_id=object_id,
        epoch=columns.item_number[columns.offsets[rows], _MJD],
        metadata=_under_todays_names(columns.number[rows], columns.known[rows]),
        has_metadata=has_object & plan.has_metadata,
        offsets=offsets,
        mjd=item_number[:, _MJD],
        band=np.where(band == NO_WHOLE, _NO_BAND, band).astype(np.int8),
        psf_flux=item_number[:, _PSF_FLUX],
        psf_flux_err=item_number[:, _PSF_FLUX_ERR],
        detected=columns.mark[points] == _IS_DETECTED,
        saturated=np.any(item_whole[:, _FLAG:] > 0, axis=1),
        source_id=item_whole[:, _SOURCE_ID],
    )


def _under_todays_names(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Metadata under all names (N, 64 + old ones) -> the 64 columns: an old name counts where today's has nothing."""
    values, known = values.copy(), known.copy()
    for old, name in enumerate(_OLD_METADATA.values(), start=len(metadata.COLUMNS)):
        column = metadata.COLUMNS.index(name)
        taken = ~known[:, column] & known[:, old]
        values[taken, column], known[taken, column] = values[taken, old], True
    return values[:, : len(metadata.COLUMNS)]


# --- raw columns -> AlertBatch ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RawColumns:
    """Rows as arrays, still as the wire has them."""

    message: IntArray
    alert_id: IntArray
    dia_source_id: IntArray
    dia_object_id: IntArray
    epoch: NDArray[np.float64]
    metadata: NDArray[np.float64]
    has_metadata: NDArray[np.bool_]
    offsets: IntArray
    mjd: NDArray[np.float64]
    band: NDArray[np.int8]
    psf_flux: NDArray[np.float64]
    """[nJy]"""
    psf_flux_err: NDArray[np.float64]
    """[nJy]"""
    detected: NDArray[np.bool_]
    saturated: NDArray[np.bool_]
    source_id: IntArray


def _raw_columns(rows: Mapping[int, _Row]) -> _RawColumns:
    values = list(rows.values())
    mjd, band, flux, flux_err, detected, saturated, source_id = (
        zip(*(point for row in values for point in row.points), strict=True) if values else ((),) * len(_Point._fields)
    )
    return _RawColumns(
        message=np.array(list(rows), dtype=np.int64),
        alert_id=np.array([row.alert_id for row in values], dtype=np.int64),
        dia_source_id=np.array([row.dia_source_id for row in values], dtype=np.int64),
        dia_object_id=np.array([row.dia_object_id for row in values], dtype=np.int64),
        epoch=np.array([row.epoch for row in values], dtype=np.float64),
        metadata=np.array([row.metadata for row in values], dtype=np.float64).reshape(-1, len(metadata.COLUMNS)),
        has_metadata=np.array([row.has_metadata for row in values], dtype=np.bool_),
        offsets=ragged.offsets_of(np.array([len(row.points) for row in values], dtype=np.int64)),
        mjd=np.array(mjd, dtype=np.float64),
        band=np.array(band, dtype=np.int8),
        psf_flux=np.array(flux, dtype=np.float64),
        psf_flux_err=np.array(flux_err, dtype=np.float64),
        detected=np.array(detected, dtype=np.bool_),
        saturated=np.array(saturated, dtype=np.bool_),
        source_id=np.array(source_id, dtype=np.int64),
    )


def _in_order(raws: Sequence[_RawColumns]) -> _RawColumns:
    """The rows of all, by message."""
    some = [raw for raw in raws if len(raw.message)]
    if len(some) <= 1:
        return some[0] if some else raws[0]
    joined = {name: np.concatenate([getattr(raw, name) for raw in some]) for name in vars(raws[0]) if name != "offsets"}
    offsets = ragged.offsets_of(np.concatenate([np.diff(raw.offsets) for raw in some]))
    rows = np.argsort(joined["message"])
    points, in_order = ragged.take(offsets, rows)
    ordered = {name: values[points if name in _RAW_POINT_COLUMNS else rows] for name, values in joined.items()}
    return _RawColumns(offsets=in_order, **ordered)


_RAW_POINT_COLUMNS = ("mjd", "band", "psf_flux", "psf_flux_err", "detected", "saturated", "source_id")


def _usable(raw: _RawColumns, invalid: dict[int, InvalidAlert], not_after: NDArray[np.float64]) -> Decoded:
    """Units, and what of it can be used; a row with an absurd point, or with none left, joins the invalid.

    ``not_after`` (N,) [mjd] is the latest time that each row may have; NaN for any.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        flux = (raw.psf_flux * FLUXCAL_PER_NJY).astype(np.float32)
        flux_err = (raw.psf_flux_err * FLUXCAL_PER_NJY).astype(np.float32)
    rows = ragged.row_of_each(raw.offsets)
    messages = raw.message.tolist()
    absurd = (
        (~((raw.mjd >= MJD_RANGE[0]) & (raw.mjd <= MJD_RANGE[1])), "a time that no survey has (mjd {0})", raw.mjd),
        (raw.mjd > not_after[rows], "a time far after its message's own (mjd {0})", raw.mjd),
        (np.isinf(flux), "a flux that is not finite ({0} nJy)", raw.psf_flux),
        (np.isinf(flux_err), "a flux error that is not finite ({0} nJy)", raw.psf_flux_err),
        (flux_err <= 0, "a flux error that is not positive ({0} nJy)", raw.psf_flux_err),
        (np.abs(flux) > FLUX_LIMIT, "a flux that no telescope measures ({0} nJy)", raw.psf_flux),
        (flux_err > FLUX_LIMIT, "a flux error that no telescope has ({0} nJy)", raw.psf_flux_err),
        (flux_err < FLUX_ERR_FLOOR, "a flux error that no telescope has ({0} nJy)", raw.psf_flux_err),
    )
    for wrong, reason, values in absurd:
        for point in np.flatnonzero(wrong):
            invalid.setdefault(messages[rows[point]], InvalidAlert(reason.format(values[point])))
    saturated = _whole_visits(raw.offsets, raw.mjd, raw.band, raw.saturated)
    measured = ~np.isnan(flux) & ~np.isnan(flux_err) & (raw.band != _NO_BAND)
    usable = measured & ~saturated
    crowded = _crowded(raw, usable)
    usable &= ~crowded
    counts = np.diff(ragged.keep(raw.offsets, usable))
    for row in np.flatnonzero(counts == 0):
        lost = saturated[raw.offsets[row] : raw.offsets[row + 1]]
        why = f"{lost.sum()} saturated, {(~lost).sum()} without flux, error or band"
        nothing_left = NothingLeft(
            f"no usable observation: {why}",
            alert_id=int(raw.alert_id[row]),
            dia_source_id=int(raw.dia_source_id[row]),
            dia_object_id=int(raw.dia_object_id[row]),
        )
        invalid.setdefault(messages[row], nothing_left)

    good = ~np.isin(raw.message, list(invalid))
    kept = usable & good[rows]
    left_out = {"saturated": saturated, "not measured": ~measured & ~saturated, "crowded": crowded}
    alerts = AlertBatch(
        alert_id=raw.alert_id[good],
        dia_source_id=raw.dia_source_id[good],
        dia_object_id=raw.dia_object_id[good],
        epoch=raw.epoch[good],
        metadata=metadata.clean(raw.metadata[good]),
        has_metadata=raw.has_metadata[good],
        offsets=ragged.offsets_of(counts[good]),
        mjd=raw.mjd[kept],
        band=raw.band[kept],
        flux=flux[kept],
        flux_err=flux_err[kept],
        detected=raw.detected[kept],
        source_id=raw.source_id[kept],
    )
    return Decoded(
        alerts=alerts,
        messages=raw.message[good],
        invalid=invalid,
        left_out={reason: int(np.count_nonzero(points & good[rows])) for reason, points in left_out.items()},
    )


def _crowded(raw: _RawColumns, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points (P,) are too many: all but MAX_READ_PER_BAND of a band's usable ones, spread evenly over its times.

    The trigger, a row's first point, is among them.
    """
    crowded = np.zeros(len(usable), dtype=np.bool_)
    if not (np.diff(raw.offsets) > MAX_READ_PER_BAND).any():
        return crowded
    is_trigger = np.zeros(len(usable), dtype=np.bool_)
    is_trigger[raw.offsets[:-1]] = True
    places = np.flatnonzero(usable)
    crowd = ragged.row_of_each(raw.offsets)[places] * len(BANDS) + raw.band[places]
    order = np.lexsort((raw.mjd[places], crowd))
    starts = np.flatnonzero(ragged.first_of_each(crowd[order])) if len(order) else np.empty(0, dtype=np.int64)
    for points in np.split(places[order], starts[1:]):
        if len(points) > MAX_READ_PER_BAND:
            others = points[~is_trigger[points]]
            room = MAX_READ_PER_BAND - (len(points) - len(others))
            crowded[others] = True
            crowded[others[ragged.evenly(len(others), room)]] = False
    return crowded


def _whole_visits(
    offsets: IntArray, mjd: NDArray[np.float64], band: NDArray[np.int8], flagged: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Spread a flag to every point of the same visit: forced photometry has no flags, but sees the same pixels."""
    spread = flagged.copy()
    for row in np.unique(ragged.row_of_each(offsets)[flagged]):
        points = slice(offsets[row], offsets[row + 1])
        visits = set(zip(mjd[points][flagged[points]], band[points][flagged[points]], strict=True))
        spread[points] = [visit in visits for visit in zip(mjd[points], band[points], strict=True)]
    return spread

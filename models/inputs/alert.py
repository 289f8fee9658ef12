"""Decoded records -> AlertBatch. The one module that knows how the surveys spell their fields.

A survey's record becomes raw columns (wire units, NaN for null), and raw columns become an AlertBatch (FLUXCAL, only
usable points). A faster decoder fills the same raw columns another way; everything after them is shared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.inputs import metadata, ragged
from models.inputs.avro import Reading, Record
from models.inputs.errors import InvalidAlert
from models.inputs.photometry import BANDS, FLUXCAL_PER_NJY

IntArray = NDArray[np.int64]

NO_OBJECT = 0
"""``dia_object_id`` of an alert that names no object: Rubin writes null or 0 for solar-system bodies."""

MJD_RANGE = (40_000.0, 100_000.0)
"""Years 1968 to 2132: a time outside is a broken alert, not an observation."""

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

    Only usable points are here: a finite flux with a positive error in a known band, unsaturated. Every row has one.
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


def alert_batch(readings: Sequence[Reading | InvalidAlert]) -> Decoded:
    """Messages as read by ``avro`` -> an AlertBatch of the good ones. A bad alert costs itself only."""
    raw = _RawColumns()
    invalid: dict[int, InvalidAlert] = {}
    for position, reading in enumerate(readings):
        try:
            _append(raw, position, _the_one_reading(reading))
        except InvalidAlert as reason:
            invalid[position] = reason
    return _usable(raw, invalid)


# --- survey records -> raw columns -----------------------------------------------------------------------------


@dataclass
class _RawColumns:
    """Alerts as the wire has them: nJy, NaN for null, every point. Row columns (N), point columns (P)."""

    message: list[int] = field(default_factory=list)
    alert_id: list[int] = field(default_factory=list)
    dia_source_id: list[int] = field(default_factory=list)
    dia_object_id: list[int] = field(default_factory=list)
    epoch: list[float] = field(default_factory=list)
    metadata: list[list[float]] = field(default_factory=list)
    has_metadata: list[bool] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    mjd: list[float] = field(default_factory=list)
    band: list[int] = field(default_factory=list)
    psf_flux: list[float] = field(default_factory=list)
    psf_flux_err: list[float] = field(default_factory=list)
    detected: list[bool] = field(default_factory=list)
    saturated: list[bool] = field(default_factory=list)
    source_id: list[int] = field(default_factory=list)


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


def _append(raw: _RawColumns, position: int, record: Record) -> None:
    """Add one alert to the columns, or raise InvalidAlert and leave them as they were."""
    trigger = record.get("diaSource")
    if not isinstance(trigger, dict):
        raise InvalidAlert(f"not an alert: no diaSource among {', '.join(sorted(record)) or 'no fields'}")
    spelling = _ELASTICC if _ELASTICC.mjd in trigger else _RUBIN
    dia_object = record.get("diaObject")
    try:
        sources = [trigger, *(record.get("prvDiaSources") or ())]
        forced = record.get("prvDiaForcedSources") or ()
        points = [_point(source, spelling, id_field="diaSourceId") for source in sources]
        points += [_point(source, spelling, id_field="diaForcedSourceId") for source in forced]
        dia_source_id = _int64(trigger["diaSourceId"])
        alert_id = _int64(record.get("alertId", dia_source_id))
        dia_object_id = _int64((dia_object or trigger)["diaObjectId"] or NO_OBJECT)
        values = _metadata_of(dia_object)
        metadata_row = metadata.row(values)
    except InvalidAlert:
        raise
    except KeyError as missing:
        raise InvalidAlert(f"not an alert: no field {missing}") from missing
    except (AttributeError, TypeError, ValueError, OverflowError) as wrong:  # a container may spell anything
        raise InvalidAlert(f"not an alert: {wrong}") from wrong

    raw.message.append(position)
    raw.alert_id.append(alert_id)
    raw.dia_source_id.append(dia_source_id)
    raw.dia_object_id.append(dia_object_id)
    raw.epoch.append(points[0][0])
    raw.metadata.append(metadata_row)
    raw.has_metadata.append(bool(values))
    raw.length.append(len(points))
    mjd, band, flux, flux_err, saturated, source_id = zip(*points, strict=True)
    raw.mjd.extend(mjd)
    raw.band.extend(band)
    raw.psf_flux.extend(flux)
    raw.psf_flux_err.extend(flux_err)
    raw.saturated.extend(saturated)
    raw.source_id.extend(source_id)
    raw.detected.extend([True] * len(sources) + [False] * len(forced))


def _point(
    source: Mapping[str, Any], spelling: _Spelling, *, id_field: str
) -> tuple[float, int, float, float, bool, int]:
    flux, flux_err, band = source[spelling.flux], source[spelling.flux_err], source[spelling.band]
    if band is not None and band not in _BAND_CODE:
        raise InvalidAlert(f"unknown band {band!r}; known are {', '.join(BANDS)}")
    return (
        float(source[spelling.mjd]),
        _NO_BAND if band is None else _BAND_CODE[band],
        np.nan if flux is None else float(flux),
        np.nan if flux_err is None else float(flux_err),
        any(source.get(flag) for flag in _SATURATED),
        _int64(source[id_field]),
    )


_NO_BAND = -1


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


# --- raw columns -> AlertBatch ---------------------------------------------------------------------------------


def _usable(raw: _RawColumns, invalid: dict[int, InvalidAlert]) -> Decoded:
    offsets = ragged.offsets_of(np.array(raw.length, dtype=np.int64))
    mjd = np.array(raw.mjd, dtype=np.float64)
    band = np.array(raw.band, dtype=np.int8)
    detected = np.array(raw.detected, dtype=np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):
        flux = (np.array(raw.psf_flux, dtype=np.float64) * FLUXCAL_PER_NJY).astype(np.float32)
        flux_err = (np.array(raw.psf_flux_err, dtype=np.float64) * FLUXCAL_PER_NJY).astype(np.float32)
    saturated = _whole_epochs(offsets, mjd, band, np.array(raw.saturated, dtype=np.bool_))

    absurd = (
        (~((mjd >= MJD_RANGE[0]) & (mjd <= MJD_RANGE[1])), "a time that no survey has (mjd {0})", mjd),
        (np.isinf(flux), "a flux that is not finite ({0})", flux),
        (np.isinf(flux_err), "a flux error that is not finite ({0})", flux_err),
        (flux_err <= 0, "a flux error that is not positive ({0})", flux_err),
    )
    measured = ~np.isnan(flux) & ~np.isnan(flux_err) & (band != _NO_BAND)
    usable = measured & ~saturated
    rows = ragged.row_of_each(offsets)
    for wrong, reason, values in absurd:
        for point in np.flatnonzero(wrong):
            invalid.setdefault(raw.message[rows[point]], InvalidAlert(reason.format(values[point])))
    counts = np.bincount(rows[usable], minlength=len(raw.length))
    for row in np.flatnonzero(counts == 0):
        lost = saturated[offsets[row] : offsets[row + 1]].sum()
        reason = f"no usable observation: {lost} saturated, {raw.length[row] - lost} without flux, error or band"
        invalid.setdefault(raw.message[row], InvalidAlert(reason))

    message = np.array(raw.message, dtype=np.int64)
    good = np.array([position not in invalid for position in raw.message], dtype=np.bool_)
    kept = usable & good[rows]
    batch = AlertBatch(
        alert_id=np.array(raw.alert_id, dtype=np.int64)[good],
        dia_source_id=np.array(raw.dia_source_id, dtype=np.int64)[good],
        dia_object_id=np.array(raw.dia_object_id, dtype=np.int64)[good],
        epoch=np.array(raw.epoch, dtype=np.float64)[good],
        metadata=metadata.clean(np.array(raw.metadata, dtype=np.float64).reshape(-1, len(metadata.COLUMNS))[good]),
        has_metadata=np.array(raw.has_metadata, dtype=np.bool_)[good],
        offsets=ragged.offsets_of(counts[good].astype(np.int64)),
        mjd=mjd[kept],
        band=band[kept],
        flux=flux[kept],
        flux_err=flux_err[kept],
        detected=detected[kept],
        source_id=np.array(raw.source_id, dtype=np.int64)[kept],
    )
    return Decoded(alerts=batch, messages=message[good], invalid=invalid)


def _whole_epochs(
    offsets: IntArray, mjd: NDArray[np.float64], band: NDArray[np.int8], flagged: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Spread a flag to every point of the same visit: forced photometry has no flags, but sees the same pixels."""
    spread = flagged.copy()
    for row in np.unique(ragged.row_of_each(offsets)[flagged]):
        points = slice(offsets[row], offsets[row + 1])
        visits = set(zip(mjd[points][flagged[points]], band[points][flagged[points]], strict=True))
        spread[points] = [visit in visits for visit in zip(mjd[points], band[points], strict=True)]
    return spread

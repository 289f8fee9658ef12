"""Alerts as the wire has them, as arrays: nJy, NaN for null, every point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import metadata, ragged

NO_BAND = -1
"""``band`` of a point whose band is null."""


class RawPoint(NamedTuple):
    """One point as the wire has it: nJy, NaN for null."""

    mjd: float
    band: int
    psf_flux: float
    psf_flux_err: float
    detected: bool
    saturated: bool
    source_id: int


@dataclass(frozen=True)
class RawAlert:
    """One alert as the wire has it, every point of it."""

    alert_id: int
    dia_source_id: int
    dia_object_id: int
    epoch: float
    metadata: list[float]
    has_metadata: bool
    points: list[RawPoint]


@dataclass(frozen=True)
class RawColumns:
    """N alerts as arrays; their points (P,) lie end to end, row ``i`` at ``offsets[i]:offsets[i + 1]``."""

    message: IntArray
    """(N,), position of the message that each is from."""
    alert_id: IntArray
    dia_source_id: IntArray
    dia_object_id: IntArray
    epoch: FloatArray
    metadata: FloatArray
    has_metadata: BoolArray
    offsets: IntArray
    mjd: FloatArray
    band: NDArray[np.int8]
    psf_flux: FloatArray
    """[nJy]"""
    psf_flux_err: FloatArray
    """[nJy]"""
    detected: BoolArray
    saturated: BoolArray
    source_id: IntArray


def raw_columns(rows: Mapping[int, RawAlert]) -> RawColumns:
    values = list(rows.values())
    mjd, band, flux, flux_err, detected, saturated, source_id = (
        zip(*(point for row in values for point in row.points), strict=True)
        if values
        else ((),) * len(RawPoint._fields)
    )
    return RawColumns(
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


def in_order(raws: Sequence[RawColumns]) -> RawColumns:
    """The rows of all, by message."""
    some = [raw for raw in raws if len(raw.message)]
    if len(some) <= 1:
        return some[0] if some else raws[0]
    joined = {name: np.concatenate([getattr(raw, name) for raw in some]) for name in vars(raws[0]) if name != "offsets"}
    offsets = ragged.offsets_of(np.concatenate([np.diff(raw.offsets) for raw in some]))
    rows = np.argsort(joined["message"])
    points, in_order = ragged.take(offsets, rows)
    ordered = {name: values[points if name in _POINT_COLUMNS else rows] for name, values in joined.items()}
    return RawColumns(offsets=in_order, **ordered)


_POINT_COLUMNS = ("mjd", "band", "psf_flux", "psf_flux_err", "detected", "saturated", "source_id")

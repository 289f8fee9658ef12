"""N alerts as arrays, and what became of the messages that they were read from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.errors import InvalidAlert

NO_ALERT = -(2**63)
"""``alert_id`` and ``dia_source_id`` of an object that came without an alert."""

NO_OBJECT = 0
"""``dia_object_id`` of an alert that names no object: Rubin writes null or 0 for solar-system bodies."""

UNREADABLE = "unknown"
"""Name of the schema of what none reads."""


@dataclass(frozen=True)
class Alert:
    """One row's view of an AlertBatch. Points (P,) in the order of the packet: trigger, previous sources, forced."""

    alert_id: int
    dia_source_id: int
    dia_object_id: int
    epoch: float
    metadata: NDArray[np.float32]
    has_metadata: bool
    mjd: FloatArray
    band: NDArray[np.int8]
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    detected: BoolArray
    source_id: IntArray


@dataclass(frozen=True)
class AlertBatch:
    """N alerts as arrays; their points (P,) lie end to end, row ``i`` at ``offsets[i]:offsets[i + 1]``.

    Only points that ``usable`` lets through are here. Every row has one.
    """

    alert_id: IntArray
    """(N,)"""
    dia_source_id: IntArray
    """(N,), the triggering detection."""
    dia_object_id: IntArray
    """(N,), NO_OBJECT where there is none."""
    epoch: FloatArray
    """(N,), mjd of the triggering detection [TAI days]."""
    metadata: NDArray[np.float32]
    """(N, 64) in the order of ``metadata.COLUMNS``, NaN where missing."""
    has_metadata: BoolArray
    """(N,), False where the packet carried no metadata at all (Rubin; a null diaObject)."""
    offsets: IntArray
    """(N + 1,)"""
    mjd: FloatArray
    """(P,) [TAI days]"""
    band: NDArray[np.int8]
    """(P,), code in BANDS."""
    flux: NDArray[np.float32]
    """(P,), PSF flux on the difference image [FLUXCAL]."""
    flux_err: NDArray[np.float32]
    """(P,) [FLUXCAL]"""
    detected: BoolArray
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

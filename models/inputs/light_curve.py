"""AlertBatch -> light curves: merged, time-sorted, and cut to what was known at an epoch.

Training reads stored light curves into the same LightCurves and cuts them with the same ``until``: no second way.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.alert_batch import AlertBatch

FORCED_DAYS = 30.0
"""Forced photometry reaches back this far before the first detection (ELAsTiCC; thesis 4.2)."""

FORCED_DELAY_DAYS = 0.5
"""ELAsTiCC's alerts carry forced photometry only this long after the first detection."""

WINDOW_DAYS = 365.0 + FORCED_DAYS
"""How far back an alert reaches: a year of detections, and forced photometry before the first of them."""


@dataclass(frozen=True)
class LightCurve:
    """One row's view of LightCurves. Arrays (L,), time-sorted."""

    mjd: FloatArray
    band: NDArray[np.int8]
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    detected: BoolArray


@dataclass(frozen=True)
class LightCurves:
    """N light curves, each time-sorted; points (P,) end to end, row ``i`` at ``offsets[i]:offsets[i + 1]``."""

    offsets: IntArray
    """(N + 1,)"""
    first_alert_mjd: FloatArray
    """(N,), epoch of the first alert, the zero of ``days_since_first_alert``; NaN for a row without detection."""
    mjd: FloatArray
    """(P,) [TAI days]"""
    band: NDArray[np.int8]
    """(P,), code in BANDS."""
    flux: NDArray[np.float32]
    """(P,) [FLUXCAL]"""
    flux_err: NDArray[np.float32]
    """(P,) [FLUXCAL]"""
    detected: BoolArray
    """(P,)"""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> LightCurve:
        points = slice(self.offsets[row], self.offsets[row + 1])
        return LightCurve(
            mjd=self.mjd[points],
            band=self.band[points],
            flux=self.flux[points],
            flux_err=self.flux_err[points],
            detected=self.detected[points],
        )

    @property
    def lengths(self) -> IntArray:
        """(N,), points of each row."""
        return np.diff(self.offsets)

    @property
    def detections(self) -> IntArray:
        """(N,), detections of each row."""
        return np.diff(ragged.keep(self.offsets, self.detected))

    @property
    def time(self) -> NDArray[np.float32]:
        """(P,), days since the row's first point: the clock of time modulation."""
        start = np.repeat(self.mjd[self.offsets[:-1][self.lengths > 0]], self.lengths[self.lengths > 0])
        return (self.mjd - start).astype(np.float32)

    @property
    def days_since_first_alert(self) -> FloatArray:
        """(P,), the clock of early classification; up to 30 days behind ``time``."""
        return self.mjd - np.repeat(self.first_alert_mjd, self.lengths)

    def first_detection_mjd(self) -> FloatArray:
        """(N,), NaN for a row without detection."""
        return ragged.first_per_row(self.offsets, self.mjd, self.detected)

    def last_detection_mjd(self) -> FloatArray:
        """(N,), NaN for a row without detection."""
        return -ragged.first_per_row(self.offsets, -self.mjd, self.detected)

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        points, offsets = ragged.take(self.offsets, rows)
        return self._with(points, offsets, self.first_alert_mjd[rows])

    def until(self, epoch: FloatArray, *, window_days: float = WINDOW_DAYS) -> Self:
        """Each light curve as it stood at its epoch (N,) [mjd].

        Keeps nothing later, nothing older than ``window_days`` before it, and, of what is left, nothing more than
        FORCED_DAYS before the first detection.
        """
        age = np.repeat(epoch, self.lengths) - self.mjd
        recent = self.where((age >= 0) & (age <= window_days))
        first = np.repeat(recent.first_detection_mjd(), recent.lengths)
        return recent.where(~(recent.mjd < first - FORCED_DAYS))

    def as_sent(self, epoch: FloatArray, *, window_days: float = WINDOW_DAYS) -> Self:
        """As ``until``, less the forced photometry that a survey does not send yet with an alert this young.

        Of an object that was found within the last year, what the packet carries; of an older one, what a broker knows
        that has kept what its earlier packets carried. One that was silent for longer than the window is young again
        here, where a packet would bring forced photometry.
        """
        known = self.until(epoch, window_days=window_days)
        young = epoch - known.first_detection_mjd() < FORCED_DELAY_DAYS
        return known.where(known.detected | ~np.repeat(young, known.lengths))

    def thinned(self, max_points: int | None) -> Self:
        """At most ``max_points`` of each light curve, spread evenly over its points from the first to the last."""
        if max_points is None or self.lengths.max(initial=0) <= max_points:
            return self
        return self._with(*ragged.spread(self.offsets, max_points), self.first_alert_mjd)

    def where(self, kept: BoolArray) -> Self:
        """The points where ``kept`` (P,) is True; rows stay, perhaps empty."""
        return self._with(np.flatnonzero(kept), ragged.keep(self.offsets, kept), self.first_alert_mjd)

    def _with(self, points: IntArray, offsets: IntArray, first_alert_mjd: FloatArray) -> Self:
        return type(self)(
            offsets=offsets,
            first_alert_mjd=first_alert_mjd,
            mjd=self.mjd[points],
            band=self.band[points],
            flux=self.flux[points],
            flux_err=self.flux_err[points],
            detected=self.detected[points],
        )


def merged(alerts: AlertBatch) -> LightCurves:
    """One light curve an alert: each observation once, in time order.

    An id given twice counts once, with the values that the packet gives first (the triggering detection before the
    previous ones). A visit, the same time and band, given both as detection and as forced photometry counts once, as
    detected: ELAsTiCC repeats detections among the forced, and Rubin measures the same image twice.
    """
    rows = ragged.row_of_each(alerts.offsets)
    place = np.arange(len(rows))
    by_id = np.lexsort((place, alerts.source_id, alerts.detected, rows))
    kept = by_id[ragged.first_of_each(rows[by_id], alerts.detected[by_id], alerts.source_id[by_id])]
    by_visit = kept[np.lexsort((kept, ~alerts.detected[kept], alerts.band[kept], alerts.mjd[kept], rows[kept]))]
    kept = by_visit[ragged.first_of_each(rows[by_visit], alerts.mjd[by_visit], alerts.band[by_visit])]
    offsets = ragged.offsets_of(np.bincount(rows[kept], minlength=len(alerts)).astype(np.int64))
    return LightCurves(
        offsets=offsets,
        first_alert_mjd=ragged.first_per_row(offsets, alerts.mjd[kept], alerts.detected[kept]),
        mjd=alerts.mjd[kept],
        band=alerts.band[kept],
        flux=alerts.flux[kept],
        flux_err=alerts.flux_err[kept],
        detected=alerts.detected[kept],
    )

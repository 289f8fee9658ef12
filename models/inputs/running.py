"""What a light curve amounts to so far: statistics of each band up to each point, in one pass over the points.

A transformer can find them, but from few light curves it learns them slowly; forests are given them as features.
"""

from math import asinh, log1p

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, IntArray
from models.inputs.compiled import compiled
from models.inputs.photometry import BANDS, FLUX_SCALE

OF_A_BAND = (
    "count",  # log1p
    "mean",  # weighted by 1 / error^2; over FLUX_SCALE, asinh, as the next three
    "max",
    "min",
    "last",
    "scatter",  # reduced chi^2 about the mean; log1p
    "succession",  # mean squared difference of neighbours over the sum of their variances; log1p
    "since_last",  # [days], log1p
    "since_max",  # [days], log1p
)
OF_ALL = (
    "points",  # log1p
    "detections",  # log1p
    "negative",  # detections of a flux below zero, log1p
    "age",  # [days] since the first detection, log1p
    "gap",  # [days], the longest between two detections, log1p
)

LAGS = (0.02, 0.06, 0.3, 1.5, 5.0, 20.0)
"""[days]; between them, and beyond the last, a light curve's change is told apart: whether it varies within a night,
from night to night or over weeks is what periods are without a search for them."""

OF_A_LAG = (
    "change",  # half the mean squared difference of two points, in their bands' means and scatters: 1 by chance
    "pairs",  # of a point and each band's last before it, log1p
)

NAMES = (
    *(f"{name}_{band}" for band in BANDS for name in OF_A_BAND),
    *OF_ALL,
    *(f"{name}_below_{lag}d" for lag in (*LAGS, np.inf) for name in OF_A_LAG),
)
"""The columns, in order. A band that has no point yet, and a lag without a pair, have zeros."""

MIN_POINTS = 3
"""A band's mean and scatter are of at least so many points, or its points make no pair."""

MAX_CHANGE = 16.0
"""A pair counts for no more."""

_N_BANDS, _N_OF_A_BAND, _N_LAGS, _N_NAMES = len(BANDS), len(OF_A_BAND), len(LAGS) + 1, len(NAMES)
_FIRST_OF_ALL, _FIRST_OF_LAGS = _N_BANDS * _N_OF_A_BAND, _N_BANDS * _N_OF_A_BAND + len(OF_ALL)


def statistics(
    offsets: IntArray,
    *,
    time: NDArray[np.float32],
    band: IntArray,
    flux: NDArray[np.float32],
    flux_err: NDArray[np.float32],
    detected: BoolArray,
) -> NDArray[np.float32]:
    """NAMES of N rows of points up to each point, itself included: (P, S).

    Points come in order of arrival; time is in days, fluxes in FLUXCAL; offsets are (N + 1,).
    """
    result = np.zeros((len(time), _N_NAMES), dtype=np.float32)
    points = np.stack([time, flux, flux_err, detected], axis=1, dtype=np.float64)
    _fill(offsets, points, band, result)
    return result


# What is kept of a band while its points are read.
_COUNT, _WEIGHT, _MEAN, _SQUARES, _STEPS, _MAX, _MIN, _LAST, _LAST_ERR, _LAST_TIME, _MAX_TIME, _PLACE = range(12)


def _add_point(kept, time, flux, flux_err):  # type: ignore[no-untyped-def]
    first = kept[_COUNT] == 0
    if not first:
        kept[_STEPS] += (flux - kept[_LAST]) ** 2 / (flux_err**2 + kept[_LAST_ERR] ** 2)
    if first or flux > kept[_MAX]:
        kept[_MAX], kept[_MAX_TIME] = flux, time
    if first or flux < kept[_MIN]:
        kept[_MIN] = flux
    weight, away = 1 / flux_err**2, flux - kept[_MEAN]
    kept[_COUNT] += 1
    kept[_WEIGHT] += weight
    kept[_MEAN] += away * weight / kept[_WEIGHT]
    kept[_SQUARES] += weight * away * (flux - kept[_MEAN])
    kept[_LAST], kept[_LAST_ERR], kept[_LAST_TIME] = flux, flux_err, time


def _write_band(kept, time, values):  # type: ignore[no-untyped-def]
    further = max(kept[_COUNT] - 1, 1.0)
    values[0] = log1p(kept[_COUNT])
    values[1] = asinh(kept[_MEAN] / FLUX_SCALE)
    values[2] = asinh(kept[_MAX] / FLUX_SCALE)
    values[3] = asinh(kept[_MIN] / FLUX_SCALE)
    values[4] = asinh(kept[_LAST] / FLUX_SCALE)
    values[5] = log1p(max(kept[_SQUARES], 0.0) / further)
    values[6] = log1p(kept[_STEPS] / further)
    values[7] = log1p(abs(time - kept[_LAST_TIME]))
    values[8] = log1p(abs(time - kept[_MAX_TIME]))


# What is kept of all bands together.
_POINTS, _DETECTIONS, _NEGATIVE, _FIRST, _LATEST, _GAP = range(6)


def _add_alert(kept, time, flux):  # type: ignore[no-untyped-def]
    if kept[_DETECTIONS] == 0:
        kept[_FIRST] = time
    else:
        kept[_GAP] = max(kept[_GAP], time - kept[_LATEST])
    kept[_LATEST] = time
    kept[_DETECTIONS] += 1
    kept[_NEGATIVE] += flux < 0


def _write_all(kept, time, values):  # type: ignore[no-untyped-def]
    values[0] = log1p(kept[_POINTS])
    values[1] = log1p(kept[_DETECTIONS])
    values[2] = log1p(kept[_NEGATIVE])
    values[3] = log1p(max(time - kept[_FIRST], 0.0)) if kept[_DETECTIONS] else 0.0
    values[4] = log1p(kept[_GAP])


def _lag_of(days):  # type: ignore[no-untyped-def]
    for lag in range(_N_LAGS - 1):
        if days < LAGS[lag]:
            return lag
    return _N_LAGS - 1


_lag = compiled(_lag_of)


def _add_pairs(bands, mine, lags, time, flux):  # type: ignore[no-untyped-def]
    """Before the point is added to its band, so that each band's last is before it."""
    own = bands[mine]
    if own[_COUNT] < MIN_POINTS or own[_SQUARES] <= 0:
        return np.nan
    place = (flux - own[_MEAN]) / np.sqrt(own[_SQUARES] / own[_WEIGHT])
    for b in range(_N_BANDS):
        if bands[b, _COUNT] > MIN_POINTS and not np.isnan(bands[b, _PLACE]):
            lag = _lag(abs(time - bands[b, _LAST_TIME]))
            lags[lag, 0] += min((place - bands[b, _PLACE]) ** 2 / 2, MAX_CHANGE)
            lags[lag, 1] += 1
    return place


def _write_lags(lags, values):  # type: ignore[no-untyped-def]
    for lag in range(_N_LAGS):
        values[2 * lag] = lags[lag, 0] / max(lags[lag, 1], 1.0)
        values[2 * lag + 1] = log1p(lags[lag, 1])


_point, _band, _alert, _all = (compiled(part) for part in (_add_point, _write_band, _add_alert, _write_all))
_pairs, _all_lags = compiled(_add_pairs), compiled(_write_lags)


def _of_row(points, band, result):  # type: ignore[no-untyped-def]
    bands, row, lags = np.zeros((_N_BANDS, 12)), np.zeros(6), np.zeros((_N_LAGS, 2))
    for p in range(len(points)):
        time, flux, flux_err, detected = points[p, 0], points[p, 1], points[p, 2], points[p, 3]
        place = _pairs(bands, band[p], lags, time, flux)
        _point(bands[band[p]], time, flux, flux_err)
        bands[band[p], _PLACE] = place
        row[_POINTS] += 1
        if detected:
            _alert(row, time, flux)
        for b in range(_N_BANDS):
            if bands[b, _COUNT]:
                _band(bands[b], time, result[p, b * _N_OF_A_BAND :])
        _all(row, time, result[p, _FIRST_OF_ALL:])
        _all_lags(lags, result[p, _FIRST_OF_LAGS:])


_row = compiled(_of_row)


def _of_rows(offsets, points, band, result):  # type: ignore[no-untyped-def]
    for row in range(len(offsets) - 1):
        own = slice(offsets[row], offsets[row + 1])
        _row(points[own], band[own], result[own])


_fill = compiled(_of_rows)

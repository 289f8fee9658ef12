"""Light curves + metadata columns -> sequences in the order in which a survey's alerts told of their points.

What stands in a sequence up to the end of an alert is what that alert, and those before it, had carried. A causal model
therefore answers every alert of an object in one pass, and a new alert only adds tokens.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged, running
from models.inputs.batch import Layout, layout_of
from models.inputs.light_curve import FORCED_DELAY_DAYS, LightCurves

MAX_POINTS = 390
"""A longer light curve is read from its latest points: as many as six bands of MAX_POINTS_PER_BAND hold."""


@dataclass(frozen=True)
class Sequences:
    """B sequences of P points in all, each in the order of arrival, and K metadata columns."""

    layout: Layout
    """One token a row first (what is known of the object), then the points."""
    time: Tensor
    """(P,) float32, days since the row's first detection; forced photometry reaches below zero."""
    since_detection: Tensor
    """(P,) float32, days since the detection before; 0 for forced photometry and for the first."""
    band: Tensor
    """(P,) int64, code in BANDS."""
    flux: Tensor
    """(P,) float32 [FLUXCAL]"""
    flux_err: Tensor
    """(P,) float32 [FLUXCAL]"""
    peak: Tensor
    """(P,) float32, the largest absolute flux that had arrived by then [FLUXCAL]."""
    detected: Tensor
    """(P,) bool; a detection completes an alert."""
    statistics: Tensor
    """(P, S) float32, ``running.NAMES`` of all that had arrived by then; (P, 0) for a network that reads none."""
    lengths: Tensor
    """(B,) int64, points of each row that are tokens."""
    n_observations: Tensor
    """(B,) int64, points of each row that are a token or in the statistics."""
    metadata: Tensor
    """(B, K) float32, 0 where missing."""
    missing: Tensor
    """(B, K) bool"""
    has_metadata: Tensor
    """(B,) bool"""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def ends(self) -> Tensor:
        """(B,), place of each row's last token among the B + P: its answer. A row without points has its first."""
        ends = len(self) - 1 + self.lengths.cumsum(0)
        return torch.where(self.lengths > 0, ends, torch.arange(len(self), device=ends.device))

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return replace(self, **moved)


def arrival(light_curves: LightCurves) -> FloatArray:
    """Epoch (P,) [mjd] of the alert that first carried each point.

    A detection is its own alert. Forced photometry comes with the first alert at or after it that is FORCED_DELAY_DAYS
    later than the first detection; inf where there was none.
    """
    detected = light_curves.detected
    row = ragged.row_of_each(light_curves.offsets)
    delayed = (
        light_curves.mjd - np.repeat(light_curves.first_detection_mjd(), light_curves.lengths) >= FORCED_DELAY_DAYS
    )
    carriers = np.flatnonzero(detected & delayed)
    # Of points of one time, none is before another.
    places = np.arange(len(row))
    first = np.maximum.accumulate(np.where(ragged.first_of_each(row, light_curves.mjd), places, 0))
    following = np.searchsorted(carriers, first)
    exists = following < len(carriers)
    carrier = (
        carriers[np.minimum(following, len(carriers) - 1)] if len(carriers) else np.zeros(len(row), dtype=np.int64)
    )
    exists &= row[carrier] == row
    epoch = np.where(exists, light_curves.mjd[carrier], np.inf)
    return np.where(detected, light_curves.mjd, epoch)


def pack(
    light_curves: LightCurves,
    metadata: NDArray[np.float32],
    has_metadata: BoolArray,
    *,
    max_tokens: int | None = None,
    with_statistics: bool = True,
) -> Sequences:
    """Light curves (B) and their metadata (B, K), NaN where missing, as tensors on the CPU.

    Of each, the latest MAX_POINTS are read. At most ``max_tokens`` of these, evenly spread over what had arrived,
    become tokens; the statistics of a token are of every point read before it.
    """
    curves = light_curves.where(_latest(light_curves))
    row = ragged.row_of_each(curves.offsets)
    order = np.lexsort((curves.mjd, curves.detected, arrival(curves), row))
    mjd, detected, flux = curves.mjd[order], curves.detected[order], curves.flux[order]
    start = curves.first_detection_mjd()
    start = np.where(np.isnan(start), ragged.first_per_row(curves.offsets, curves.mjd, np.full(len(row), True)), start)
    missing = np.isnan(metadata)
    time = (mjd - np.repeat(start, curves.lengths)).astype(np.float32)
    band, flux_err = curves.band[order].astype(np.int64), curves.flux_err[order]
    statistics = np.empty((len(time), 0), dtype=np.float32)
    if with_statistics:
        statistics = running.statistics(
            curves.offsets, time=time, band=band, flux=flux, flux_err=flux_err, detected=detected
        )
    told, offsets = ragged.spread(curves.offsets, MAX_POINTS if max_tokens is None else max_tokens)
    return Sequences(
        layout=layout_of(offsets, causal=True),
        time=torch.from_numpy(time[told]),
        since_detection=torch.from_numpy(since_detection(row, mjd, detected)[told]),
        band=torch.from_numpy(band[told]),
        flux=torch.from_numpy(flux[told]),
        flux_err=torch.from_numpy(flux_err[told]),
        peak=torch.from_numpy(running_peak(row, flux)[told]),
        detected=torch.from_numpy(detected[told]),
        statistics=torch.from_numpy(statistics[told]),
        lengths=torch.from_numpy(np.diff(offsets)),
        n_observations=torch.from_numpy(curves.lengths if with_statistics else np.diff(offsets)),
        metadata=torch.from_numpy(np.where(missing, np.float32(0), metadata)),
        missing=torch.from_numpy(missing),
        has_metadata=torch.from_numpy(has_metadata.copy()),
    )


def _latest(light_curves: LightCurves) -> BoolArray:
    """Whether a point (P,) is among the last MAX_POINTS of its row."""
    ends = np.repeat(light_curves.offsets[1:], light_curves.lengths)
    return np.arange(len(ends)) >= ends - MAX_POINTS


def since_detection(row: IntArray, day: FloatArray, detected: BoolArray) -> NDArray[np.float32]:
    """Days from each detection (P,) of a row to the one before, in the order given; 0 for the first, and for others."""
    since = np.zeros(len(row))
    places = np.flatnonzero(detected)
    same = row[places[1:]] == row[places[:-1]]
    since[places[1:][same]] = np.diff(day[places])[same]
    return since.astype(np.float32)


_OCTAVES = 256.0
"""More than the binary logarithm of any flux spans, so that rows do not overlap below."""


def running_peak(row: IntArray, flux: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest absolute flux of each row up to each of its points, in the order given."""
    size = np.log2(np.maximum(np.abs(flux.astype(np.float64)), 1e-6))
    base = _OCTAVES * row
    peaks = np.exp2(np.maximum.accumulate(size + base) - base)
    return np.asarray(peaks, dtype=np.float32)

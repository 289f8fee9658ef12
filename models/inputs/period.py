"""The period of a light curve in several bands at once: one shape for all, with an amplitude and a mean by band.

A periodogram of one sinusoid over a grid of frequencies names candidates; a Fourier series fitted around each chooses
between them, since the light of a pulsating or eclipsing star is no sinusoid and its daily aliases nearly are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurve, LightCurves
from models.inputs.photometry import BANDS

ComplexArray = NDArray[np.complex128]

MIN_POINTS = 12
"""Fewer points than this have no period."""
MAX_POINTS = 400
"""Of more points, so many are used, evenly spread: the cost grows with their number, the certainty hardly."""

MAX_FREQUENCY = 50.0
"""[1/d], the fastest Delta Scuti."""
_OVERSAMPLING = 3
"""Frequencies of the grid to a resolution element, the reciprocal of the time span."""
_CANDIDATES = 32
_AROUND = np.arange(-4, 5) / 4
"""Each candidate is tried so far from itself, in steps of the grid."""
_HARMONICS = 3
_FINALISTS = 8
"""So many of the tried frequencies are fitted once more, with more harmonics and closer around."""
_CLOSE_AROUND = np.arange(-2, 3) / 12
_FINAL_HARMONICS = 5
_POINTS_PER_HARMONIC = 12
_FINE = 512
"""Frequencies that share a coarse one: e^(2 pi i (f + g) t) is a product, and a grid of sums a matrix product."""
_PRIOR_POINTS = 4
_MISFIT = 0.2
"""How far a point may lie from a Fourier series for other reasons than noise, in standard deviations of its band."""


@dataclass(frozen=True)
class Variation:
    """The points (P,) of one light curve with each band brought to zero mean and unit deviation."""

    time: FloatArray
    """[d], from the first point on."""
    band: NDArray[np.int8]
    value: FloatArray
    weight: FloatArray
    scale: FloatArray
    """(6,), intrinsic standard deviation by band [flux]; NaN for a band without points."""

    @property
    def span(self) -> float:
        """[d]"""
        return float(self.time[-1])


@dataclass(frozen=True)
class Period:
    """The best period of a light curve, and how it varies with it."""

    frequency: float
    """[1/d]"""
    span: float
    """Time between the first and the last point [d]."""
    explained: float
    """Share of the weighted variance that the Fourier series explains."""
    sinusoid: float
    """Share that the best sinusoid of the grid explains."""
    runner_up: float
    """What the second-best candidate explains, as a share of the best's."""
    runner_up_frequency: float
    """[1/d]"""
    significance: float
    """log10 of the explained over the unexplained variance, by degree of freedom (F statistic)."""
    harmonics: ComplexArray
    """(_FINAL_HARMONICS,), of the normalised flux, the fundamental first; zero where not fitted."""
    amplitudes: FloatArray
    """(6,), of the fundamental in each band [flux]."""
    psi_eta: float
    """von Neumann's ratio of the folded light curve."""
    psi_cusum: float
    """Range of the cumulative sum of the folded light curve."""


def search(curves: LightCurves) -> list[Period | None]:
    """Each row's period; None for one with fewer than MIN_POINTS points, all within hours, or all of one flux."""
    return [_search(curves[row]) for row in range(len(curves))]


def _search(curve: LightCurve) -> Period | None:
    if len(curve.mjd) < MIN_POINTS or curve.mjd[-1] - curve.mjd[0] < 2 * _OVERSAMPLING / MAX_FREQUENCY:
        return None
    variation = normalised(curve)
    if not variation.value.any():
        return None
    candidates, powers = _candidates(variation)
    return _best(variation, candidates, float(powers.max()))


def normalised(curve: LightCurve) -> Variation:
    """A light curve's bands on one scale."""
    kept = ragged.evenly(len(curve.mjd), MAX_POINTS)
    band, flux, err = curve.band[kept], curve.flux[kept].astype(np.float64), curve.flux_err[kept].astype(np.float64)
    codes, place, counts = np.unique(band, return_inverse=True, return_counts=True)
    # Not weighted by the errors: a bright star's are larger when it is bright.
    mean = np.bincount(place, flux) / counts
    noise = np.array([np.median(err[place == mine]) for mine in range(len(codes))])
    excess = np.maximum(np.bincount(place, (flux - mean[place]) ** 2) / counts - noise**2, 0.0)
    # A few points say little of how much their band varies: so far it is taken to vary as the others do.
    common = (counts * excess).sum() / counts.sum()
    intrinsic = (counts * excess + _PRIOR_POINTS * common) / (counts + _PRIOR_POINTS)
    deviation = np.maximum(np.sqrt(intrinsic), 0.1 * noise)
    scale = np.full(len(BANDS), np.nan)
    scale[codes] = deviation
    return Variation(
        time=curve.mjd[kept] - curve.mjd[kept[0]],
        band=band,
        value=(flux - mean[place]) / scale[band],
        weight=1 / ((err / scale[band]) ** 2 + _MISFIT**2),
        scale=scale,
    )


def _powers_of(base: ComplexArray, n: int) -> ComplexArray:
    """The powers 0..n-1 of ``base`` (P,), (n, P), by doubling: a sine costs ten times a product."""
    powers = np.ones((n, len(base)), dtype=np.complex128)
    filled = 1
    while filled < n:
        more = min(filled, n - filled)
        powers[filled : filled + more] = powers[:more] * base**filled
        filled += more
    return powers


def periodogram(variation: Variation) -> tuple[FloatArray, NDArray[np.float32]]:
    """Frequencies [1/d] and, for each, Schuster's power: 2 |sum(w v exp(2 pi i f t))|^2 / (sum(w) sum(w v^2)).

    The share of the weighted variance that a sinusoid explains, where visits are spread over its phases; where they
    bunch in phase it may be up to 2.
    """
    step = 1 / (_OVERSAMPLING * variation.span)
    n_coarse = int(np.ceil((MAX_FREQUENCY / step - _OVERSAMPLING) / _FINE))
    turn = np.exp(2j * np.pi * step * variation.time)
    weighted = variation.weight * variation.value * turn**_OVERSAMPLING  # the grid starts at one turn in the span
    coarse = (_powers_of(turn**_FINE, n_coarse) * weighted).astype(np.complex64)
    fine = _powers_of(turn, _FINE).astype(np.complex64)
    sums = (coarse @ fine.T).ravel()
    total = variation.weight.sum() * (variation.weight * variation.value**2).sum()
    power: NDArray[np.float32] = (sums.real**2 + sums.imag**2) * np.float32(2 / total)
    return step * (_OVERSAMPLING + np.arange(len(power), dtype=np.float64)), power


def _candidates(variation: Variation) -> tuple[FloatArray, NDArray[np.float32]]:
    frequencies, power = periodogram(variation)
    inner = power[1:-1]
    peaks = np.flatnonzero((inner >= power[:-2]) & (inner > power[2:])) + 1
    if len(peaks) == 0:
        peaks = np.array([int(power.argmax())])
    if len(peaks) > _CANDIDATES:
        peaks = peaks[np.argpartition(power[peaks], -_CANDIDATES)[-_CANDIDATES:]]
    return frequencies[peaks], power[peaks]


def _best(variation: Variation, candidates: FloatArray, sinusoid: float) -> Period:
    step = 1 / (_OVERSAMPLING * variation.span)
    affordable = max(len(variation.time) // _POINTS_PER_HARMONIC, 1)
    tried = candidates[:, None] + step * _AROUND
    gain, _ = _fourier(variation, tried.ravel(), min(affordable, _HARMONICS))
    gain = gain.reshape(tried.shape)
    peaks = np.take_along_axis(tried, gain.argmax(axis=1)[:, None], axis=1)[:, 0]
    finalists = peaks[np.argsort(-gain.max(axis=1), kind="stable")[:_FINALISTS]]
    n_harmonics = min(affordable, _FINAL_HARMONICS)
    frequencies = (finalists[:, None] + step * _CLOSE_AROUND).ravel()
    gain, coefficients = _fourier(variation, frequencies, n_harmonics)
    best = int(gain.argmax())
    frequency = float(frequencies[best])
    others = np.abs(frequencies - frequency) > _OVERSAMPLING * step
    second = int(np.where(others, gain, -np.inf).argmax())

    total = float((variation.weight * variation.value**2).sum())
    unexplained = max(total - gain[best], 1e-9 * total)
    freedom = max(len(variation.time) - 2 * n_harmonics - len(np.unique(variation.band)), 1)
    harmonics = np.zeros(_FINAL_HARMONICS, dtype=np.complex128)
    harmonics[:n_harmonics] = coefficients[best]
    order = np.argsort(np.mod(frequency * variation.time, 1.0), kind="stable")
    folded = variation.value[order]
    deviation = folded.std()
    return Period(
        frequency=frequency,
        span=variation.span,
        explained=float(gain[best] / total),
        sinusoid=sinusoid,
        runner_up=float(gain[second] / gain[best]) if others.any() else np.nan,
        runner_up_frequency=float(frequencies[second]) if others.any() else np.nan,
        significance=float(np.log10(gain[best] / (2 * n_harmonics) / (unexplained / freedom))),
        harmonics=harmonics,
        amplitudes=abs(harmonics[0]) * variation.scale,
        psi_eta=float(np.square(np.diff(folded, append=folded[:1])).mean() / deviation**2),
        psi_cusum=float(np.ptp(np.cumsum(folded - folded.mean())) / (len(folded) * deviation)),
    )


def _fourier(variation: Variation, frequencies: FloatArray, n_harmonics: int) -> tuple[FloatArray, ComplexArray]:
    """Weighted fits of a Fourier series at frequencies (F,), each band's mean free.

    Returns the reduction of chi-squared (F,) and the complex coefficients (F, H).
    """
    order = np.arange(1, n_harmonics + 1)
    bands, place = np.unique(variation.band, return_inverse=True)
    member = (place[:, None] == np.arange(len(bands))) * variation.weight[:, None]
    mean = (variation.value @ member) / member.sum(axis=0)
    moments = variation.weight * (variation.value - mean[place])
    # Every sum of the normal equations is one of weights times e^(2 pi i m f t), for m up to twice the harmonics.
    turn = np.exp(2j * np.pi * np.mod(frequencies[:, None] * variation.time, 1.0)).astype(np.complex64)
    turns = [turn]
    for _ in range(2 * n_harmonics - 1):
        turns.append(turns[-1] * turn)
    columns = np.column_stack([variation.weight, moments, member]).astype(np.complex64)
    sums = (np.stack(turns).reshape(-1, turn.shape[1]) @ columns).reshape(2 * n_harmonics, len(frequencies), -1)
    sums = sums.astype(np.complex128)
    z = np.concatenate([np.full((1, len(frequencies)), variation.weight.sum()), sums[..., 0]])  # by m, from 0 on

    plus = z[order[:, None] + order]
    difference = order[:, None] - order
    minus = np.where((difference < 0)[..., None], z[abs(difference)].conj(), z[abs(difference)])
    cross = (plus.imag - minus.imag) / 2  # of the cosine of the row's order and the sine of the column's
    normal = np.block(
        [
            [np.moveaxis(plus.real + minus.real, -1, 0) / 2, np.moveaxis(cross, -1, 0)],
            [np.moveaxis(cross, -1, 0).transpose(0, 2, 1), np.moveaxis(minus.real - plus.real, -1, 0) / 2],
        ]
    )
    by_band = sums[:n_harmonics, :, 2:].transpose(1, 0, 2)
    by_band = np.concatenate([by_band.real, by_band.imag], axis=1)  # (F, 2H, bands)
    normal -= (by_band / member.sum(axis=0)) @ by_band.transpose(0, 2, 1)
    # A prior, of unit amplitude that falls with the order: where the visits leave a harmonic open, it stays small.
    normal += np.diag(np.tile(order**2.0, 2))
    moment = np.concatenate([sums[:n_harmonics, :, 1].real, sums[:n_harmonics, :, 1].imag]).T
    solution = np.linalg.solve(normal, moment[..., None])[..., 0]
    gain = (moment * solution).sum(axis=1)
    return gain, solution[:, :n_harmonics] - 1j * solution[:, n_harmonics:]

"""The supernova parametric model (SPM) of ALeRCE, fitted to the six bands of many light curves at once.

A rise, a plateau that may fall, and an exponential decay (Villar et al. 2019, modified by Sanchez-Saez et al. 2021;
thesis 4.4.2). With s(x) = 1 / (1 + e^-x), t1 = t0 + gamma and u = t - t1, the flux is

    A s((t - t0) / tau_rise) [(1 - beta (t - t0) / gamma) (1 - s(u / 2)) + (1 - beta) e^(-u / tau_fall) s(u / 2)].

The plateau's line is rounded off to level within the switch's 2 days of t0 and t1: published, it goes on, and short
plateaus make a hump before the rise and a dip after the peak. Each band has its own six parameters. Chi-squared plus a
penalty on their dispersion over the bands (eq. 4.7) is minimised by Levenberg and Marquardt's method, within bounds,
with the model's own derivatives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.photometry import BANDS

PARAMETERS = ("A", "t0", "gamma", "beta", "tau_rise", "tau_fall")
"""In the order of every parameter axis: the unit of the flux, then days, but for beta, a pure number."""

Penalty = Literal["root_variance", "variance"]
"""Of eq. 4.7's variances: their root, as the released features take it, or themselves, as it is printed."""

_N_BANDS = len(BANDS)
_N = len(PARAMETERS)

# Eq. 4.7, in the order of PARAMETERS: the weights, and what is added to the variances.
_WEIGHTS = np.array([0.0, 1.0, 0.1, 20.0, 0.7, 0.01])
_ADDED = np.array([1.0, 0.05, 0.05, 0.005, 0.05, 0.05])

# Bounds of the released features. A's are in units of the band's greatest flux, t0's upper one is the last epoch.
# tau_fall may not fall below the 2 days of the switch to the decay, or the decay would diverge before the switch.
_LOWER = np.array([0.1, -50.0, 1.0, 0.0, 1.0, 2.0])
_UPPER = np.array([10.0, np.inf, 120.0, 1.0, 100.0, 180.0])
_SCALES = np.array([1.0, 10.0, 20.0, 0.5, 5.0, 30.0])
"""How far a parameter typically moves; A's is in units of the band's greatest flux."""

_STARTS = np.array(  # t0 less the brightest epoch, gamma, beta, tau_rise, tau_fall
    [
        [-10.0, 14.0, 0.5, 7.0, 28.0],  # the released features'
        [-3.0, 4.0, 0.5, 1.5, 5.0],
        [-10.0, 40.0, 0.6, 4.0, 20.0],
        [-25.0, 80.0, 0.4, 8.0, 60.0],
        [-50.0, 60.0, 0.3, 20.0, 120.0],
    ]
)
_TRIALS = 5
"""Iterations from each start; then the best of them goes on."""
_ITERATIONS = 8
"""The median chi-squared is within a few percent of what 80 iterations reach."""

_UPPER_ROWS, _UPPER_COLUMNS = np.triu_indices(_N)


@dataclass(frozen=True)
class SupernovaFit:
    """Fits of N light curves; NaN for a band without points."""

    parameters: FloatArray
    """(N, 6 bands, 6), t0 in the days of the given times."""
    chi2: FloatArray
    """(N, 6), chi-squared of each band over its number of points less six; NaN for fewer than seven points."""


@dataclass(frozen=True)
class _Points:
    """The points (P,) of N light curves by row and band, as fitted."""

    offsets: IntArray
    """(6 N + 1,)"""
    t: FloatArray
    flux: FloatArray
    inverse_err: FloatArray
    """One over the error in the fit; less where the flux is negative beyond its error."""

    @cached_property
    def segment(self) -> IntArray:
        return ragged.row_of_each(self.offsets)

    def sums(self, values: FloatArray) -> FloatArray:
        """Sums (N, 6, ...) by row and band of values (..., P); zero for a band without points."""
        summed = np.nan_to_num(ragged.reduced(np.add, self.offsets, values), nan=0.0)
        return np.moveaxis(summed.reshape(*summed.shape[:-1], -1, _N_BANDS), (-2, -1), (0, 1))


@dataclass(frozen=True)
class _Box:
    """What the parameters (N, 6, 6) may be, and how far each typically moves."""

    lower: FloatArray
    upper: FloatArray
    scale: FloatArray
    present: BoolArray
    """(N, 6), whether the band has points."""


@dataclass(frozen=True)
class _State:
    """Where the fits are: parameters (N, 6, 6), half of the cost (N,), its gradient and half of chi2's curvature."""

    parameters: FloatArray
    cost: FloatArray
    gradient: FloatArray
    curvature: FloatArray
    """(N, 6, 6, 6), by row and band."""
    stiffness: FloatArray
    """(N, 6), of the penalty's pull towards the mean over the bands."""


def fit(
    offsets: IntArray, t: FloatArray, flux: FloatArray, err: FloatArray, *, penalty: Penalty = "root_variance"
) -> SupernovaFit:
    """Fit points (P,) that lie end to end by row and band: ``offsets`` (6 N + 1,), six bands to a row.

    ``t`` in days from each row's first point; ``flux`` and ``err`` in one unit, that of A; ``err`` above zero.
    """
    n = (len(offsets) - 1) // _N_BANDS
    counts = np.diff(offsets).reshape(n, _N_BANDS)
    points = _prepared(offsets, t, flux, err)
    box = _box(points, err, counts)
    best, *others = (_descended(points, start, box, penalty, _TRIALS) for start in _starts(points, err, box))
    for other in others:
        best = _chosen(other.cost < best.cost, other, best)
    state = _descended(points, best.parameters, box, penalty, _ITERATIONS)

    parameters = np.where((counts > 0)[..., None], state.parameters, np.nan)
    residual = (_model(points, parameters)[0] - flux) / err
    chi2 = points.sums(residual**2) / np.where(counts > _N, counts - _N, np.nan)
    return SupernovaFit(parameters=parameters, chi2=chi2)


def flux_at(t: FloatArray, parameters: FloatArray) -> FloatArray:
    """The model's flux (P,) at times (P,) for one band's parameters (6,)."""
    points = _Points(np.array([0, len(t)]), t, np.zeros_like(t), np.ones_like(t))
    return _model(points, parameters[None, None])[0]


def _prepared(offsets: IntArray, t: FloatArray, flux: FloatArray, err: FloatArray) -> _Points:
    """The released features' softening of errors, and their doubt of what is negative beyond its error."""
    rows = offsets[::_N_BANDS]
    floor = 0.5 * ragged.quantile(rows, ragged.sorted_rows(rows, err), 0.1)
    softened = err + floor[ragged.row_of_each(rows)]
    negative = np.minimum(flux + err, 0.0)
    return _Points(offsets, t, flux, np.exp(-0.5 * (negative / err) ** 2) / softened)


def _box(points: _Points, err: FloatArray, counts: IntArray) -> _Box:
    n = len(counts)
    brightest = abs(ragged.reduced(np.maximum, points.offsets, points.flux))
    # Never zero: a band that shows nothing still needs a unit.
    unit = np.maximum(brightest, 0.1 * ragged.reduced(np.minimum, points.offsets, err)).reshape(n, _N_BANDS)
    lower, upper, scale = (np.tile(each, (n, _N_BANDS, 1)) for each in (_LOWER, _UPPER, _SCALES))
    for each in (lower, upper, scale):
        each[..., 0] *= np.where(counts > 0, unit, 1.0)
    last = ragged.reduced(np.maximum, points.offsets[::_N_BANDS], points.t)
    upper[..., 1] = np.nan_to_num(last, nan=0.0)[:, None]
    return _Box(lower, upper, scale, counts > 0)


def _starts(points: _Points, err: FloatArray, box: _Box) -> Iterator[FloatArray]:
    """Each shape of _STARTS, placed by each row's most significant point, with fitted amplitudes."""
    rows = points.offsets[::_N_BANDS]
    snr = points.flux / err
    highest = ragged.reduced(np.maximum, rows, snr)
    peak = np.nan_to_num(ragged.first_per_row(rows, points.t, snr == highest[ragged.row_of_each(rows)]), nan=0.0)
    for shape in _STARTS:
        start = np.empty_like(box.lower)
        start[..., 1:] = shape
        start[..., 1] += peak[:, None]
        start = np.clip(start, box.lower, box.upper)
        start[..., 0] = 1.0
        model = _model(points, start)[0] * points.inverse_err
        start[..., 0] = points.sums(model * points.flux * points.inverse_err)
        start[..., 0] /= np.maximum(points.sums(model**2), 1e-300)
        yield np.clip(start, box.lower, box.upper)


def _descended(points: _Points, start: FloatArray, box: _Box, penalty: Penalty, iterations: int) -> _State:
    state = _evaluate(points, start, box.present, penalty)
    damping = np.full(len(start), 0.01)
    for _ in range(iterations):
        moved = np.clip(state.parameters + _step(state, box, damping), box.lower, box.upper)
        tried = _evaluate(points, moved, box.present, penalty)
        better = tried.cost < state.cost
        state = _chosen(better, tried, state)
        damping = np.clip(np.where(better, damping * 0.2, damping * 5), 1e-6, 1e6)
    return state


def _model(points: _Points, parameters: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fluxes (P,), and their derivatives by the parameters (6, P)."""
    amplitude, t0, gamma, beta, tau_rise, tau_fall = parameters.reshape(-1, _N).T[:, points.segment]
    since = points.t - t0
    u = since - gamma
    rise = 1 / (1 + np.exp(np.minimum(-since / tau_rise, 500.0)))
    # e^(-u / tau_fall) s(u / 2), each factor of which may overflow.
    half = np.exp(-abs(u) / 2)
    after = np.where(u > 0, 1.0, half) / (1 + half)
    decay = np.exp(-abs(u) * np.where(u > 0, 1 / tau_fall, 0.5 - 1 / tau_fall)) / (1 + half)
    before = 1 - after
    early = np.exp(-abs(since) / 2)
    begun = np.where(since > 0, 1.0, early) / (1 + early)  # s((t - t0) / 2)
    # The mean of s(x / 2) for x from u to t - t0, which is (t - t0) / gamma inside the plateau, 0 before and 1 after.
    ramp = (np.maximum(since, 0) - np.maximum(u, 0) + 2 * (np.log1p(early) - np.log1p(half))) / gamma
    plateau = 1 - beta * ramp
    shape = (1 - beta) * decay + plateau * before

    by_u = (1 - beta) * decay * (before / 2 - 1 / tau_fall) - plateau * after * before / 2
    sloping = before * beta / gamma
    lit = amplitude * rise
    rising = lit * shape * (1 - rise) / tau_rise
    derivatives = np.stack(
        [
            rise * shape,
            lit * (sloping * (begun - after) - by_u) - rising,
            lit * (sloping * (ramp - after) - by_u),
            -lit * (decay + before * ramp),
            -rising * since / tau_rise,
            lit * (1 - beta) * decay * u / tau_fall**2,
        ]
    )
    return lit * shape, derivatives


def _evaluate(points: _Points, parameters: FloatArray, present: BoolArray, penalty: Penalty) -> _State:
    model, derivatives = _model(points, parameters)
    residual = (model - points.flux) * points.inverse_err
    derivatives = derivatives * points.inverse_err
    products = points.sums(np.concatenate([derivatives[place] * derivatives[place:] for place in range(_N)]))
    curvature = np.empty((*parameters.shape, _N))
    curvature[..., _UPPER_ROWS, _UPPER_COLUMNS] = products
    curvature[..., _UPPER_COLUMNS, _UPPER_ROWS] = products

    n_present = np.maximum(present.sum(axis=1), 1)[:, None]
    mean = (parameters * present[..., None]).sum(axis=1) / n_present
    apart = (parameters - mean[:, None]) * present[..., None]
    variance = (apart**2).sum(axis=1) / n_present
    if penalty == "variance":
        dispersion, stiffness = _WEIGHTS * (variance + _ADDED), np.broadcast_to(_WEIGHTS, variance.shape)
    else:
        root = np.sqrt(variance + _ADDED)
        dispersion, stiffness = _WEIGHTS * root, _WEIGHTS / (2 * root)
    return _State(
        parameters=parameters,
        cost=0.5 * (points.sums(residual**2).sum(axis=1) + dispersion.sum(axis=1)),
        gradient=points.sums(derivatives * residual) + apart * (stiffness / n_present)[:, None],
        curvature=curvature,
        stiffness=stiffness / n_present,
    )


def _step(state: _State, box: _Box, damping: FloatArray) -> FloatArray:
    """The damped Gauss-Newton step (N, 6, 6), zero for what lies on a bound and would leave."""
    at_lower = (state.parameters <= box.lower) & (state.gradient > 0)
    at_upper = (state.parameters >= box.upper) & (state.gradient < 0)
    free = box.present[..., None] & ~at_lower & ~at_upper
    unit = box.scale * free
    curvature = state.curvature * unit[..., :, None] * unit[..., None, :]
    stiffness = state.stiffness[:, None] * unit**2
    diagonal = np.einsum("...ii->...i", curvature)
    diagonal += stiffness + np.where(free, damping[:, None, None] * (diagonal + stiffness + 1e-3), 1.0)
    inverse = np.linalg.inv(curvature)
    alone = -(inverse @ (state.gradient * unit)[..., None])[..., 0] * unit
    # The penalty's mean couples the bands: with z the sum of the steps, step = alone + inverse pull z (Woodbury).
    inverse = inverse * unit[..., :, None] * unit[..., None, :]
    pull = state.stiffness / np.maximum(box.present.sum(axis=1), 1)[:, None]
    coupled = np.eye(_N) - inverse.sum(axis=1) * pull[:, None, :]
    z = np.linalg.solve(coupled, alone.sum(axis=1)[..., None])[..., 0]
    return np.asarray(alone + (inverse @ (pull * z)[:, None, :, None])[..., 0])


def _chosen(better: BoolArray, tried: _State, state: _State) -> _State:
    """Row for row the one or the other."""

    def pick(new: FloatArray, old: FloatArray) -> FloatArray:
        return np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return _State(
        parameters=pick(tried.parameters, state.parameters),
        cost=pick(tried.cost, state.cost),
        gradient=pick(tried.gradient, state.gradient),
        curvature=pick(tried.curvature, state.curvature),
        stiffness=pick(tried.stiffness, state.stiffness),
    )

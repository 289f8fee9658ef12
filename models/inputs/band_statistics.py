"""Statistics of the fluxes of one band: level, spread, shape, trend and smoothness, for many light curves at once.

Their definitions are those of the package light-curve (SNAD), which is under the GPL and takes a light curve at a time;
a test compares the two. Quantiles between two points are numpy's, on the line from one to the next, where the package
has Hazen's.
"""

import numpy as np
import torch

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.feature_table import ALERCE, LIGHT_CURVE_PAPER, OURS, Feature

_FLUX = "FLUXCAL"

FEATURES = (
    Feature("n_points", "", "number of points", OURS),
    Feature("mean", _FLUX, "mean of m", LIGHT_CURVE_PAPER),
    Feature("weighted_mean", _FLUX, "mean of m, weighted by e^-2", LIGHT_CURVE_PAPER),
    Feature("median", _FLUX, "median of m", LIGHT_CURVE_PAPER),
    Feature("standard_deviation", _FLUX, "of m, with n - 1; n >= 2", LIGHT_CURVE_PAPER),
    Feature("amplitude", _FLUX, "(max m - min m) / 2; n >= 2", LIGHT_CURVE_PAPER),
    Feature("median_absolute_deviation", _FLUX, "median of |m - median m|; n >= 2", LIGHT_CURVE_PAPER),
    Feature("percent_amplitude", _FLUX, "max |m - median m|; n >= 2", LIGHT_CURVE_PAPER),
    Feature("inter_percentile_range_25", _FLUX, "q(.75) - q(.25), q the quantiles of m; n >= 2", LIGHT_CURVE_PAPER),
    Feature("inter_percentile_range_10", _FLUX, "q(.9) - q(.1); n >= 2", LIGHT_CURVE_PAPER),
    Feature("percentage_ratio_40_5", "", "(q(.6) - q(.4)) / (q(.95) - q(.05)); n >= 2", LIGHT_CURVE_PAPER),
    Feature("percentage_ratio_20_5", "", "(q(.8) - q(.2)) / (q(.95) - q(.05)); n >= 2", LIGHT_CURVE_PAPER),
    Feature("skew", "", "unbiased third standardised moment G1; n >= 3", LIGHT_CURVE_PAPER),
    Feature("kurtosis", "", "unbiased fourth standardised moment less 3, G2; n >= 4", LIGHT_CURVE_PAPER),
    Feature("beyond_1_std", "", "share with |m - mean| > 1 standard deviation; n >= 2", LIGHT_CURVE_PAPER),
    Feature("beyond_2_std", "", "share with |m - mean| > 2 standard deviations; n >= 2", LIGHT_CURVE_PAPER),
    Feature("anderson_darling", "", "A^2 against a normal law, times 1 + 4/n - 25/n^2; n >= 4", LIGHT_CURVE_PAPER),
    Feature("cusum", "", "range of the running sum of (m - mean) / (n sd); n >= 2", LIGHT_CURVE_PAPER),
    Feature("eta", "", "sum of squared steps / ((n - 1) variance); n >= 2", LIGHT_CURVE_PAPER),
    Feature(
        "eta_e", "", "eta of the slopes: ((t_n - t_1) / (n - 1))^2 mean of (dm / dt)^2 / variance", LIGHT_CURVE_PAPER
    ),
    Feature("maximum_slope", f"{_FLUX}/d", "max |dm / dt| of neighbours at different times", LIGHT_CURVE_PAPER),
    Feature("linear_trend", f"{_FLUX}/d", "slope of the least-squares line; n >= 2", LIGHT_CURVE_PAPER),
    Feature("linear_fit_slope", f"{_FLUX}/d", "slope of the line weighted by e^-2; n >= 2", LIGHT_CURVE_PAPER),
    Feature("linear_fit_chi2", "", "reduced chi2 of that line; n >= 3", LIGHT_CURVE_PAPER),
    Feature(
        "stetson_k", "", "mean |d| / root mean square of d, d = (m - weighted mean) / e; n >= 2", LIGHT_CURVE_PAPER
    ),
    Feature("reduced_chi2", "", "sum of d^2 / (n - 1); n >= 2", LIGHT_CURVE_PAPER),
    Feature("excess_variance", "", "(variance - mean e^2) / mean^2 as signed log10(1 + |x|); n >= 2", ALERCE),
)


def compute(offsets: IntArray, t: FloatArray, m: FloatArray, e: FloatArray) -> dict[str, FloatArray]:
    """Every statistic (N,) by name, of N bands' points (P,), each band's in time order.

    ``t`` in days, ``m`` and ``e`` in FLUXCAL, ``e`` above zero.
    """
    n = np.diff(offsets).astype(np.float64)
    rows = ragged.row_of_each(offsets)

    def total(values: FloatArray) -> FloatArray:
        return ragged.reduced(np.add, offsets, values)

    mean = total(m) / np.maximum(n, 1)
    centred = m - mean[rows]
    second = total(centred**2)
    # A band whose fluxes are all the same has no shape: rounding alone would give it one.
    level = np.maximum(total(m**2), np.finfo(np.float64).tiny)
    varies = second > 1e-20 * level
    deviation = np.sqrt(_where(n >= 2, second, n - 1))
    spread = np.where(varies, deviation, np.nan)

    ascending = ragged.sorted_rows(offsets, m)
    q = {share: ragged.quantile(offsets, ascending, share) for share in _QUANTILES}
    off_median = abs(m - q[0.5][rows])
    extent = _where(n >= 2, q[0.95] - q[0.05], 1.0)

    moment2, moment3, moment4 = (total(centred**power) / np.maximum(n, 1) for power in (2, 3, 4))
    moment2 = np.where(varies, moment2, np.nan)
    skew = _where(n >= 3, np.sqrt(n * np.maximum(n - 1, 0)) * moment3 / moment2**1.5, n - 2)
    excess = moment4 / moment2**2 - 3
    kurtosis = _where(n >= 4, (n - 1) * ((n + 1) * excess + 6), (n - 2) * (n - 3))

    weight = e**-2
    weights = total(weight)
    weighted_mean = total(weight * m) / weights
    d = (m - weighted_mean[rows]) / e
    chi2 = total(d**2)
    trend, _ = _line(offsets, t, m, np.ones_like(m))
    slope, line_chi2 = _line(offsets, t, m, weight)
    smooth = _smoothness(offsets, t, m)
    far = abs(centred)
    noise = total(e**2) / np.maximum(n, 1)

    values = {
        "n_points": n,
        "mean": mean,
        "weighted_mean": weighted_mean,
        "median": q[0.5],
        "standard_deviation": deviation,
        "amplitude": (q[1.0] - q[0.0]) / 2,
        "median_absolute_deviation": ragged.quantile(offsets, ragged.sorted_rows(offsets, off_median), 0.5),
        "percent_amplitude": ragged.reduced(np.maximum, offsets, off_median),
        "inter_percentile_range_25": q[0.75] - q[0.25],
        "inter_percentile_range_10": q[0.9] - q[0.1],
        "percentage_ratio_40_5": _ratio(q[0.6] - q[0.4], extent),
        "percentage_ratio_20_5": _ratio(q[0.8] - q[0.2], extent),
        "skew": skew,
        "kurtosis": kurtosis,
        "beyond_1_std": total((far > deviation[rows]).astype(np.float64)) / np.maximum(n, 1),
        "beyond_2_std": total((far > 2 * deviation[rows]).astype(np.float64)) / np.maximum(n, 1),
        "anderson_darling": _anderson_darling(offsets, ascending, mean, spread),
        "cusum": _cusum(offsets, centred) / (n * spread),
        "eta": smooth["squared_steps"] / ((n - 1) * spread**2),
        "eta_e": smooth["squared_slopes"] * (smooth["duration"] / (n - 1)) ** 2 / ((n - 1) * spread**2),
        "maximum_slope": smooth["steepest"],
        "linear_trend": trend,
        "linear_fit_slope": slope,
        "linear_fit_chi2": _where(n >= 3, line_chi2, n - 2),
        "stetson_k": _ratio(total(abs(d)) / np.maximum(n, 1), np.sqrt(chi2 / np.maximum(n, 1))),
        "reduced_chi2": chi2 / (n - 1),
        "excess_variance": _signed_log(_ratio(deviation**2 - noise, mean**2)),
    }
    single = {"n_points", "mean", "weighted_mean", "median"}
    return {name: value if name in single else np.where(n >= 2, value, np.nan) for name, value in values.items()}


_QUANTILES = (0.0, 0.05, 0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.75, 0.8, 0.9, 0.95, 1.0)


def _where(defined: BoolArray, numerator: FloatArray, denominator: FloatArray | float) -> FloatArray:
    """The quotient where defined, NaN elsewhere."""
    return np.where(defined, numerator, np.nan) / np.where(defined, denominator, 1.0)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The quotient, NaN where the denominator is zero."""
    return _where(denominator > 0, numerator, denominator)


def _signed_log(values: FloatArray) -> FloatArray:
    return np.asarray(np.sign(values) * np.log10(1 + abs(values)))


def _line(offsets: IntArray, t: FloatArray, m: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and chi-squared of each row's weighted least-squares line; NaN where all points are at one time."""
    rows = ragged.row_of_each(offsets)
    weights = ragged.reduced(np.add, offsets, weight)
    t0, m0 = (ragged.reduced(np.add, offsets, weight * each) / weights for each in (t, m))
    dt, dm = t - t0[rows], m - m0[rows]
    sums = ragged.reduced(np.add, offsets, weight * np.stack([dt * dt, dt * dm]))
    slope = _where(sums[0] > 1e-12 * weights, sums[1], sums[0])
    return slope, ragged.reduced(np.add, offsets, weight * (dm - slope[rows] * dt) ** 2)


def _cusum(offsets: IntArray, centred: FloatArray) -> FloatArray:
    """Range of each row's running sum."""
    running = np.cumsum(centred)
    # Each row starts from what the rows before it sum to; the range does not depend on it.
    return ragged.reduced(np.maximum, offsets, running) - ragged.reduced(np.minimum, offsets, running)


def _smoothness(offsets: IntArray, t: FloatArray, m: FloatArray) -> dict[str, FloatArray]:
    """Sums over the steps from each point to the next of its row; NaN for a row with a single point."""
    rows = ragged.row_of_each(offsets)
    inside = rows[1:] == rows[:-1]
    dm, dt = np.diff(m)[inside], np.diff(t)[inside]
    steps = ragged.offsets_of(np.maximum(np.diff(offsets) - 1, 0))
    moved = dt > 0
    slopes = np.where(moved, dm / np.where(moved, dt, 1.0), 0.0)
    duration = ragged.reduced(np.add, steps, dt)
    return {
        "squared_steps": ragged.reduced(np.add, steps, dm**2),
        "squared_slopes": np.where(duration > 0, ragged.reduced(np.add, steps, slopes**2), np.nan),
        "steepest": np.where(duration > 0, ragged.reduced(np.maximum, steps, abs(slopes)), np.nan),
        "duration": duration,
    }


def _anderson_darling(offsets: IntArray, ascending: FloatArray, mean: FloatArray, spread: FloatArray) -> FloatArray:
    """The statistic of each row, with its correction for estimated mean and deviation; NaN below four points."""
    n = np.diff(offsets)
    rows = ragged.row_of_each(offsets)
    z = torch.from_numpy((ascending - mean[rows]) / spread[rows])
    below, above = torch.special.log_ndtr(z).numpy(), torch.special.log_ndtr(-z).numpy()
    place = np.arange(len(ascending)) - offsets[:-1][rows]
    rank = 2 * place + 1
    terms = rank * below + (2 * n[rows] - rank) * above
    defined = n >= 4
    size = np.where(defined, n, 4).astype(np.float64)
    statistic = -size - ragged.reduced(np.add, offsets, terms) / size
    return np.where(defined, statistic * (1 + 4 / size - 25 / size**2), np.nan)

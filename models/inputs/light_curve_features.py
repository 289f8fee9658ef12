"""What a light curve tells of a transient: before and after it was first seen, at its peak, and what colour it had.

The features of a supernova and the colours are the thesis's (4.4.2); those of the peak and of the whole are ours.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.feature_table import OURS, Feature, by_band
from models.inputs.photometry import BANDS, FLUXCAL_ZERO_POINT

THESIS = "thesis 4.4.2"
_FLUX = "FLUXCAL"
_N_BANDS = len(BANDS)
_PAIRS = tuple(itertools.pairwise(BANDS))

SIGNIFICANT = 3.0
"""|flux| over its error from which on the features take a point for a detection, whatever the survey does."""

# Days from the peak, in the rest frame where the redshift is known.
_BEFORE, _AT_PEAK, _SOON, _LATE = (-20.0, -7.0), (-5.0, 5.0), (10.0, 20.0), (30.0, 60.0)

_BEFORE_SEEN = "non-detections (|m| < 3 e) of the band before the first detection in any band"
_AFTER_SEEN = "non-detections of the band after the first detection in any band"

SUPERNOVA = (
    Feature("positive_fraction", "", "share of points with m > 0", THESIS),
    Feature("dflux_first_det_band", _FLUX, f"first detection's m - m of the last of the {_BEFORE_SEEN}", THESIS),
    Feature("dflux_non_det_band", _FLUX, f"first detection's m - median m of the {_BEFORE_SEEN}", THESIS),
    Feature("last_flux_before_band", _FLUX, f"m of the last of the {_BEFORE_SEEN}", THESIS),
    Feature("max_flux_before_band", _FLUX, f"greatest m of the {_BEFORE_SEEN}", THESIS),
    Feature("max_flux_after_band", _FLUX, f"greatest m of the {_AFTER_SEEN}", THESIS),
    Feature("median_flux_before_band", _FLUX, f"median m of the {_BEFORE_SEEN}", THESIS),
    Feature("median_flux_after_band", _FLUX, f"median m of the {_AFTER_SEEN}", THESIS),
    Feature("n_non_det_before_band", "", f"number of {_BEFORE_SEEN}", THESIS),
    Feature("n_non_det_after_band", "", f"number of {_AFTER_SEEN}", THESIS),
)
"""By band."""

COLOURS = tuple(
    Feature(f"colour_{blue}_{red}", "", f"q({blue}) / (q({red}) + 1), q the .9 quantile of |m| in FLUXCAL", THESIS)
    for blue, red in _PAIRS
)

_CONTRAST = "(b - r) / (|b| + |r|) of the weighted mean de-attenuated fluxes of the two bands"
_PEAK = "t and m of the point with the greatest m / e"

BY_BAND = (
    Feature("max_snr", "", "greatest m / e", OURS),
    Feature("min_snr", "", "least m / e", OURS),
    Feature("n_significant", "", "number of points with |m| >= 3 e", OURS),
    Feature(
        "peak_absolute_magnitude", "mag",
        "27.5 - 2.5 log10 of the greatest de-attenuated m >= 3 e, less the distance modulus, + 2.5 log10(1 + z)", OURS,
    ),
    Feature(
        "before_peak", "", f"weighted mean de-attenuated flux {_BEFORE[0]:g} to {_BEFORE[1]:g} d from the peak, over "
        "that within 5 d of it; in the rest frame where z is known; none where the latter is not above 0", OURS,
    ),
    Feature("soon_after_peak", "", f"the same, {_SOON[0]:g} to {_SOON[1]:g} d after it", OURS),
    Feature("late_after_peak", "", f"the same, {_LATE[0]:g} to {_LATE[1]:g} d after it", OURS),
)  # fmt: skip

PEAK_COLOURS = tuple(
    Feature(f"{name}_colour_{blue}_{red}", "", f"{_CONTRAST}, {when}", OURS)
    for name, when in (("peak", "within 5 d of the peak"), ("soon", f"{_SOON[0]:g} to {_SOON[1]:g} d after the peak"))
    for blue, red in _PAIRS
)

OVERALL = (
    Feature("n_detected", "", "number of the survey's detections", OURS),
    Feature("n_bands_significant", "", "number of bands with a point of |m| >= 3 e", OURS),
    Feature("time_span", "d", "last t - first t", OURS),
    Feature("days_since_first_detection", "d", "last t - t of the survey's first detection", OURS),
    Feature("detection_span", "d", "t of the survey's last detection - t of its first", OURS),
    Feature("longest_gap", "d", "longest time between successive points with |m| >= 3 e", OURS),
    Feature("significant_fraction", "", "share of points with |m| >= 3 e from the first such point on", OURS),
    Feature("negative_fraction", "", "share with m < 0 of the points with |m| >= 3 e", OURS),
    Feature("negative_to_positive", "", "greatest -m / e over greatest m / e", OURS),
    Feature("peak_flux", _FLUX, f"m of the peak: {_PEAK}", OURS),
    Feature("peak_luminosity", _FLUX, "de-attenuated m of the peak, scaled to the distance of z = 0.3", OURS),
    Feature("peak_night_share", "", "share of the sum of (m / e)^2 that lies within half a day of the peak", OURS),
    Feature("rise_time", "d", "peak - first point with |m| >= 3 e, in the rest frame where z is known", OURS),
    Feature("fall_time", "d", "last point with |m| >= 3 e - peak, in the rest frame where z is known", OURS),
    Feature(
        "width", "d", "last less first t with m >= 3 e and m at least half of its band's greatest, in the rest frame "
        "where z is known", OURS,
    ),
)  # fmt: skip

FEATURES = (*by_band(SUPERNOVA), *COLOURS, *by_band(BY_BAND), *PEAK_COLOURS, *OVERALL)


@dataclass(frozen=True)
class Observed:
    """The points (P,) of N objects by row and band, each band's in time order, and what is known of the objects."""

    offsets: IntArray
    """(6 N + 1,), of row and band."""
    t: FloatArray
    """[d], from the row's first point."""
    flux: FloatArray
    """[FLUXCAL]"""
    err: FloatArray
    """[FLUXCAL], above zero."""
    detected: BoolArray
    transmission: FloatArray
    """(N, 6), what the Milky Way's dust lets through; 1 where E(B-V) is not known."""
    one_plus_z: FloatArray
    """(N,), or 1 where the redshift is not known."""
    flux_scale: FloatArray
    """(N,), flux at the distance of z = 0.3 over the flux here; NaN where the redshift is not known."""
    distance_modulus: FloatArray
    """(N,), NaN where the redshift is not known."""

    def __len__(self) -> int:
        return (len(self.offsets) - 1) // _N_BANDS

    @cached_property
    def rows(self) -> IntArray:
        """(N + 1,), offsets of the rows alone."""
        return self.offsets[::_N_BANDS]

    @cached_property
    def row(self) -> IntArray:
        """(P,)"""
        return ragged.row_of_each(self.rows)

    @cached_property
    def segment(self) -> IntArray:
        """(P,), six times the row, plus the band."""
        return ragged.row_of_each(self.offsets)

    @cached_property
    def intrinsic(self) -> FloatArray:
        """(P,), de-attenuated flux [FLUXCAL]."""
        return np.asarray(self.flux / self.transmission.ravel()[self.segment])

    @cached_property
    def intrinsic_err(self) -> FloatArray:
        """(P,), its error."""
        return np.asarray(self.err / self.transmission.ravel()[self.segment])

    @cached_property
    def snr(self) -> FloatArray:
        """(P,)"""
        return self.flux / self.err

    @cached_property
    def significant(self) -> BoolArray:
        """(P,)"""
        return np.asarray(abs(self.snr) >= SIGNIFICANT)

    def bands(self, ufunc: np.ufunc, values: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """``ufunc`` over the values of each row and band, (N, 6); NaN where there are none."""
        offsets = self.offsets if where is None else ragged.keep(self.offsets, where)
        return ragged.reduced(ufunc, offsets, values if where is None else values[where]).reshape(-1, _N_BANDS)

    def all(self, ufunc: np.ufunc, values: FloatArray, where: BoolArray | None = None) -> FloatArray:
        """``ufunc`` over the values of each row, (N,); NaN where there are none."""
        offsets = self.rows if where is None else ragged.keep(self.rows, where)
        return ragged.reduced(ufunc, offsets, values if where is None else values[where])

    def count(self, where: BoolArray) -> FloatArray:
        """How many by row and band, (N, 6)."""
        return np.diff(ragged.keep(self.offsets, where)).reshape(-1, _N_BANDS).astype(np.float64)

    def band_quantile(self, values: FloatArray, share: float, where: BoolArray | None = None) -> FloatArray:
        """Quantile of the values of each row and band, (N, 6)."""
        offsets = self.offsets if where is None else ragged.keep(self.offsets, where)
        chosen = values if where is None else values[where]
        return ragged.quantile(offsets, ragged.sorted_rows(offsets, chosen), share).reshape(-1, _N_BANDS)


def compute(points: Observed) -> dict[str, FloatArray]:
    """Every feature by the name it has above: (N, 6) for those by band, else (N,)."""
    return {**_supernova(points), **_colours(points), **_around_peak(points), **_overall(points)}


def _supernova(points: Observed) -> dict[str, FloatArray]:
    first = points.all(np.minimum, points.t, points.significant)
    is_first = points.significant & (points.t == first[points.row])
    # Two bands of one moment: the first of them in the order of the bands.
    first_flux = _first(points, points.flux, is_first)[:, None]
    before = ~points.significant & (points.t < first[points.row])
    after = ~points.significant & (points.t >= first[points.row])
    last_before = before & (points.t == points.bands(np.maximum, points.t, before).ravel()[points.segment])
    last_flux = points.bands(np.add, points.flux, last_before) / points.count(last_before).clip(1)
    median_before = points.band_quantile(points.flux, 0.5, before)
    seen = np.isfinite(first)[:, None]
    positive = points.count(points.flux > 0) / points.count(np.ones_like(points.significant))
    return {
        "positive_fraction": positive,
        "dflux_first_det_band": first_flux - last_flux,
        "dflux_non_det_band": first_flux - median_before,
        "last_flux_before_band": last_flux,
        "max_flux_before_band": points.bands(np.maximum, points.flux, before),
        "max_flux_after_band": points.bands(np.maximum, points.flux, after),
        "median_flux_before_band": median_before,
        "median_flux_after_band": points.band_quantile(points.flux, 0.5, after),
        "n_non_det_before_band": np.where(seen, points.count(before), np.nan),
        "n_non_det_after_band": np.where(seen, points.count(after), np.nan),
    }


def _first(points: Observed, values: FloatArray, where: BoolArray) -> FloatArray:
    """The value (N,) of each row's first point where ``where`` is True; NaN for a row without."""
    offsets = ragged.keep(points.rows, where)
    result = np.full(len(points), np.nan)
    filled = np.diff(offsets) > 0
    result[filled] = values[where][offsets[:-1][filled]]
    return result


def _colours(points: Observed) -> dict[str, FloatArray]:
    bright = points.band_quantile(abs(points.flux), 0.9)
    ratios = bright[:, :-1] / (bright[:, 1:] + 1)
    return {feature.name: ratios[:, pair] for pair, feature in enumerate(COLOURS)}


def _peak(points: Observed) -> BoolArray:
    """The one point (P,) of each row with the greatest signal-to-noise."""
    highest = np.flatnonzero(points.snr == points.all(np.maximum, points.snr)[points.row])
    peak = np.zeros(len(points.t), dtype=np.bool_)
    peak[highest[ragged.first_of_each(points.row[highest])]] = True
    return peak


def _around_peak(points: Observed) -> dict[str, FloatArray]:
    peak_t = _first(points, points.t, _peak(points))
    since = (points.t - peak_t[points.row]) / points.one_plus_z[points.row]
    weight = points.intrinsic_err**-2

    def mean(window: tuple[float, float]) -> FloatArray:
        inside = (since >= window[0]) & (since <= window[1])
        return points.bands(np.add, weight * points.intrinsic, inside) / points.bands(np.add, weight, inside)

    at_peak, soon = mean(_AT_PEAK), mean(_SOON)
    lit = np.where(at_peak > 0, at_peak, np.nan)
    contrasts = [
        (flux[:, :-1] - flux[:, 1:]) / (abs(flux[:, :-1]) + abs(flux[:, 1:])) for flux in (at_peak, soon)
    ]  # each (N, 5)
    colours = np.concatenate(contrasts, axis=1)
    greatest = points.bands(np.maximum, points.intrinsic, points.snr >= SIGNIFICANT)
    apparent = FLUXCAL_ZERO_POINT - 2.5 * np.log10(greatest)
    return {
        "peak_absolute_magnitude": apparent + (2.5 * np.log10(points.one_plus_z) - points.distance_modulus)[:, None],
        "before_peak": mean(_BEFORE) / lit,
        "soon_after_peak": soon / lit,
        "late_after_peak": mean(_LATE) / lit,
        **{feature.name: colours[:, place] for place, feature in enumerate(PEAK_COLOURS)},
    }


def _overall(points: Observed) -> dict[str, FloatArray]:
    peak = _peak(points)
    peak_t = _first(points, points.t, peak)
    significant = points.significant
    first, last = (points.all(ufunc, points.t, significant) for ufunc in (np.minimum, np.maximum))
    first_detected, last_detected = (points.all(ufunc, points.t, points.detected) for ufunc in (np.minimum, np.maximum))
    from_first = points.t >= first[points.row]
    n_significant = points.count(significant)
    total = np.diff(ragged.keep(points.rows, from_first))
    greatest, least = points.all(np.maximum, points.snr), points.all(np.minimum, points.snr)
    power = points.snr**2
    that_night = abs(points.t - peak_t[points.row]) <= 0.5
    negative = np.where(points.flux < 0, 1.0, 0.0)
    top = points.bands(np.maximum, points.flux).ravel()[points.segment]
    bright = (points.snr >= SIGNIFICANT) & (points.flux >= top / 2)
    width = points.all(np.maximum, points.t, bright) - points.all(np.minimum, points.t, bright)
    return {
        "max_snr": points.bands(np.maximum, points.snr),
        "min_snr": points.bands(np.minimum, points.snr),
        "n_significant": n_significant,
        "n_detected": np.diff(ragged.keep(points.rows, points.detected)).astype(np.float64),
        "n_bands_significant": (n_significant > 0).sum(axis=1).astype(np.float64),
        "time_span": points.all(np.maximum, points.t),
        "days_since_first_detection": points.all(np.maximum, points.t) - first_detected,
        "detection_span": last_detected - first_detected,
        "longest_gap": _longest_gap(points),
        "significant_fraction": n_significant.sum(axis=1) / np.where(total > 0, total, np.nan),
        "negative_fraction": points.all(np.add, negative, significant) / n_significant.sum(axis=1),
        "negative_to_positive": np.maximum(-least, 0) / np.where(greatest > 0, greatest, np.nan),
        "peak_flux": _first(points, points.flux, peak),
        "peak_luminosity": _first(points, points.intrinsic, peak) * points.flux_scale,
        "peak_night_share": points.all(np.add, power, that_night) / points.all(np.add, power),
        "rise_time": (peak_t - first) / points.one_plus_z,
        "fall_time": (last - peak_t) / points.one_plus_z,
        "width": width / points.one_plus_z,
    }


def _longest_gap(points: Observed) -> FloatArray:
    """Longest time between successive significant points of each row (N,); NaN with fewer than two."""
    offsets = ragged.keep(points.rows, points.significant)
    ordered = ragged.sorted_rows(offsets, points.t[points.significant])
    rows = ragged.row_of_each(offsets)
    gaps = np.diff(ordered)[rows[1:] == rows[:-1]]
    return ragged.reduced(np.maximum, ragged.offsets_of(np.maximum(np.diff(offsets) - 1, 0)), gaps)

"""Engineered features: each family against a plain reference, and what must hold for all of them."""

from collections.abc import Sequence
from dataclasses import replace

import light_curve
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

from models.arrays import FloatArray, IntArray
from models.inputs import band_statistics, extinction, features, period, ragged, supernova_model
from models.inputs.cosmology import WMAP5
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS, row
from models.inputs.photometry import BANDS
from training.survey import survey

Point = tuple[float, str, float, float]
"""mjd, band, flux, error."""

START = 60_000.0


def curves(*light_curves: Sequence[Point]) -> LightCurves:
    """Light curves of these points; a point is detected at five times its error."""
    points = [point for curve in light_curves for point in sorted(curve, key=lambda point: point[0])]
    mjd, flux, err = (np.array([point[place] for point in points], dtype=np.float64) for place in (0, 2, 3))
    offsets = ragged.offsets_of(np.array([len(curve) for curve in light_curves], dtype=np.int64))
    detected = abs(flux) >= 5 * err
    return LightCurves(
        offsets=offsets,
        first_alert_mjd=ragged.first_per_row(offsets, mjd, detected),
        mjd=mjd,
        band=np.array([BANDS.index(point[1]) for point in points], dtype=np.int8),
        flux=flux.astype(np.float32),
        flux_err=err.astype(np.float32),
        detected=detected,
    )


def unknown(n: int = 1) -> NDArray[np.float32]:
    """Metadata of objects of which nothing is known."""
    return np.full((n, len(COLUMNS)), np.nan, dtype=np.float32)


def known(**values: float) -> NDArray[np.float32]:
    """Metadata of one object."""
    return np.array([row(values)], dtype=np.float32)


def named(light_curves: LightCurves, metadata: NDArray[np.float32] | None = None) -> dict[str, float]:
    """The features of the first light curve, without its period, by name."""
    given = unknown(len(light_curves)) if metadata is None else metadata
    return dict(zip(features.NAMES, features.compute(light_curves, given, period=False)[0].tolist(), strict=True))


def visits(rng: np.random.Generator, n: int, *, days: float = 350.0) -> FloatArray:
    """Times of visits at night: a season of whole nights, a few hours each."""
    return np.asarray(np.sort(START + rng.integers(0, int(days), n) + rng.uniform(0.0, 0.3, n)))


@pytest.fixture(scope="module")
def few() -> survey.Simulated:
    """Twelve objects of the simulated survey."""
    (simulated,) = survey.simulate(12, seed=4)
    return simulated


# --- the table -------------------------------------------------------------------------------------------------


def test_every_feature_has_one_name_and_is_documented() -> None:
    assert len(set(features.NAMES)) == len(features.NAMES) == len(features.FEATURES)
    for feature in features.FEATURES:
        assert feature.formula
        assert feature.source
    computed = features.compute(curves([(START, "g", 10.0, 1.0)]), unknown())
    assert computed.shape == (1, len(features.NAMES))
    assert computed.dtype == np.float32


def test_metadata_of_other_objects_are_refused() -> None:
    with pytest.raises(ValueError, match="metadata of shape"):
        features.compute(curves([(START, "g", 10.0, 1.0)]), unknown(2))


# --- families against plain references -------------------------------------------------------------------------


def _plain_statistics(t: FloatArray, m: FloatArray, e: FloatArray) -> dict[str, float]:
    n, mean, deviation, median = len(m), m.mean(), m.std(ddof=1), float(np.median(m))
    weighted = float(np.average(m, weights=e**-2))
    d = (m - weighted) / e
    z = np.sort((m - mean) / deviation)
    rank = np.arange(1, n + 1)
    anderson = -n - np.mean((2 * rank - 1) * (stats.norm.logcdf(z) + stats.norm.logcdf(-z[::-1])))
    q = {percent: float(np.percentile(m, percent)) for percent in (5, 10, 20, 25, 40, 60, 75, 80, 90, 95)}
    slope, offset = np.polyfit(t, m, 1, w=1 / e)
    slopes = np.diff(m) / np.diff(t)
    return {
        "n_points": n,
        "mean": mean,
        "weighted_mean": weighted,
        "median": median,
        "standard_deviation": deviation,
        "amplitude": np.ptp(m) / 2,
        "median_absolute_deviation": stats.median_abs_deviation(m),
        "percent_amplitude": max(abs(m - median)),
        "inter_percentile_range_25": q[75] - q[25],
        "inter_percentile_range_10": q[90] - q[10],
        "percentage_ratio_40_5": (q[60] - q[40]) / (q[95] - q[5]),
        "percentage_ratio_20_5": (q[80] - q[20]) / (q[95] - q[5]),
        "skew": stats.skew(m, bias=False),
        "kurtosis": stats.kurtosis(m, bias=False),
        "beyond_1_std": np.mean(abs(m - mean) > deviation),
        "beyond_2_std": np.mean(abs(m - mean) > 2 * deviation),
        "anderson_darling": anderson * (1 + 4 / n - 25 / n**2),
        "cusum": np.ptp(np.cumsum(m - mean)) / (n * deviation),
        "eta": np.sum(np.diff(m) ** 2) / ((n - 1) * deviation**2),
        "eta_e": ((t[-1] - t[0]) / (n - 1)) ** 2 * np.mean(slopes**2) / deviation**2,
        "maximum_slope": max(abs(slopes)),
        "linear_trend": np.polyfit(t, m, 1)[0],
        "linear_fit_slope": slope,
        "linear_fit_chi2": np.sum(((m - offset - slope * t) / e) ** 2) / (n - 2),
        "stetson_k": np.mean(abs(d)) / np.sqrt(np.mean(d**2)),
        "reduced_chi2": np.sum(d**2) / (n - 1),
        "excess_variance": np.log10(1 + (deviation**2 - np.mean(e**2)) / mean**2),
    }


@pytest.mark.parametrize("n", [4, 31])
def test_statistics_of_a_band_are_those_of_a_plain_computation(n: int) -> None:
    rng = np.random.default_rng(n)
    t, e = visits(rng, n), rng.uniform(1, 3, n)
    m = (20 + 15 * rng.standard_gamma(2, n)).astype(np.float32).astype(np.float64)
    e = e.astype(np.float32).astype(np.float64)
    r_band = list(zip(t, "r" * n, m, e, strict=True))
    computed = named(curves([*r_band, *((when, "z", flux, 1.0) for when, flux in zip(t, m**2, strict=True))]))
    plain = _plain_statistics(t - t[0], m, e)
    assert {f"{name}_r": value for name, value in plain.items()} == pytest.approx(
        {f"{name}_r": computed[f"{name}_r"] for name in plain}, rel=1e-4
    )
    assert np.isnan(computed["amplitude_g"])
    assert computed["n_points_g"] == 0


@pytest.mark.parametrize("n", [4, 50])
def test_statistics_of_a_band_are_those_of_the_package_that_defines_them(n: int) -> None:
    rng = np.random.default_rng(n)
    t, m, e = np.sort(rng.uniform(0, 100, n)), 20 + 15 * rng.standard_gamma(2, n), rng.uniform(1, 3, n)
    defined = {
        "mean": light_curve.Mean(),
        "weighted_mean": light_curve.WeightedMean(),
        "median": light_curve.Median(),
        "standard_deviation": light_curve.StandardDeviation(),
        "amplitude": light_curve.Amplitude(),
        "median_absolute_deviation": light_curve.MedianAbsoluteDeviation(),
        "percent_amplitude": light_curve.PercentAmplitude(),
        "skew": light_curve.Skew(),
        "kurtosis": light_curve.Kurtosis(),
        "beyond_1_std": light_curve.BeyondNStd(1),
        "beyond_2_std": light_curve.BeyondNStd(2),
        "anderson_darling": light_curve.AndersonDarlingNormal(),
        "cusum": light_curve.Cusum(),
        "eta": light_curve.Eta(),
        "eta_e": light_curve.EtaE(),
        "maximum_slope": light_curve.MaximumSlope(),
        "linear_trend": light_curve.LinearTrend(),
        "linear_fit_slope": light_curve.LinearFit(),
        "stetson_k": light_curve.StetsonK(),
        "reduced_chi2": light_curve.ReducedChi2(),
    }
    found = {name: value[0] for name, value in band_statistics.compute(np.array([0, n]), t, m, e).items()}
    told = {name: feature(t, m, e)[0] for name, feature in defined.items()}
    told["linear_fit_chi2"] = light_curve.LinearFit()(t, m, e)[2]
    told["excess_variance"] = np.log10(1 + light_curve.ExcessVariance()(t, m, e)[0])
    # Of quantiles the package takes Hazen's, between two points a little further out than numpy's.
    q = {percent: float(np.percentile(m, percent, method="hazen")) for percent in (5, 20, 25, 40, 60, 75, 80, 95)}
    assert light_curve.InterPercentileRange(0.25)(t, m, e)[0] == pytest.approx(q[75] - q[25])
    ratios = {(0.4, 0.05): q[60] - q[40], (0.2, 0.05): q[80] - q[20]}
    for shares, inner in ratios.items():
        assert light_curve.MagnitudePercentageRatio(*shares)(t, m, e)[0] == pytest.approx(inner / (q[95] - q[5]))
    quantiles = {name for name in found if "percent" in name and name != "percent_amplitude"}
    assert found.keys() - told.keys() == {"n_points", *quantiles}
    assert told == pytest.approx({name: found[name] for name in told}, rel=1e-6)


def test_supernova_features_are_those_of_a_hand_worked_example() -> None:
    # The first point of |flux| >= 3 errors, in any band, is the r one at day 10, of flux 50.
    computed = named(
        curves(
            [
                (START, "g", 2.0, 1.0), (START + 4, "g", -1.0, 1.0), (START + 8, "g", 1.5, 1.0),
                (START + 3, "r", -2.0, 1.0),
                (START + 10, "r", 50.0, 2.0),
                (START + 12, "g", 40.0, 1.0), (START + 20, "g", 2.5, 1.0), (START + 25, "g", 1.0, 1.0),
            ]
        )
    )  # fmt: skip
    assert computed["positive_fraction_g"] == pytest.approx(5 / 6)
    assert computed["dflux_first_det_band_g"] == 50 - 1.5
    assert computed["dflux_non_det_band_g"] == 50 - 1.5
    assert computed["dflux_first_det_band_r"] == 52
    assert computed["last_flux_before_band_g"] == 1.5
    assert computed["max_flux_before_band_g"] == 2
    assert computed["median_flux_before_band_g"] == 1.5
    assert computed["max_flux_after_band_g"] == 2.5
    assert computed["median_flux_after_band_g"] == 1.75
    assert (computed["n_non_det_before_band_g"], computed["n_non_det_after_band_g"]) == (3, 2)
    assert (computed["n_non_det_before_band_u"], computed["n_non_det_after_band_r"]) == (0, 0)
    assert np.isnan(computed["max_flux_after_band_r"])
    assert np.isnan(computed["positive_fraction_u"])


def test_without_detection_there_is_no_before_and_after() -> None:
    computed = named(curves([(START, "g", 2.0, 1.0), (START + 1, "g", -2.9, 1.0)]))
    assert np.isnan([computed["n_non_det_before_band_g"], computed["dflux_first_det_band_g"]]).all()
    assert computed["positive_fraction_g"] == 0.5


def test_colours_are_ratios_of_high_percentiles_of_absolute_flux_with_one_in_the_denominator() -> None:
    rng = np.random.default_rng(0)
    g, r = rng.normal(0, 30, 20), rng.normal(0, 50, 20)
    t = visits(rng, 20)
    in_g, in_r = (
        [(when, band, flux, 1.0) for when, flux in zip(t, fluxes, strict=True)] for band, fluxes in (("g", g), ("r", r))
    )
    computed = named(curves([*in_g, *in_r]))
    expected = np.percentile(abs(g), 90) / (np.percentile(abs(r), 90) + 1)
    assert computed["colour_g_r"] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(computed["colour_r_i"])


def test_the_peak_and_what_lies_around_it_are_those_of_a_hand_worked_example() -> None:
    computed = named(
        curves(
            [
                (START, "r", 10.0, 2.0), (START + 10, "r", 80.0, 2.0), (START + 24, "r", 40.0, 2.0),
                (START + 50, "r", 8.0, 2.0), (START + 11, "g", 60.0, 2.0), (START + 60, "r", -1.0, 2.0),
            ]
        )
    )  # fmt: skip
    assert computed["peak_flux"] == 80
    assert computed["peak_colour_g_r"] == pytest.approx((60 - 80) / (60 + 80))
    assert computed["before_peak_r"] == pytest.approx(10 / 80)
    assert computed["soon_after_peak_r"] == pytest.approx(0.5)
    assert computed["late_after_peak_r"] == pytest.approx((8 - 1) / 2 / 80)
    assert (computed["rise_time"], computed["fall_time"], computed["width"]) == (10, 40, 14)
    assert computed["longest_gap"] == 26
    assert computed["significant_fraction"] == pytest.approx(5 / 6)
    assert computed["negative_fraction"] == 0
    assert computed["negative_to_positive"] == pytest.approx(0.5 / 40)
    assert computed["days_since_first_detection"] == 60
    assert (computed["n_bands_significant"], computed["max_snr_g"]) == (2, 30)


# --- dust and distance -----------------------------------------------------------------------------------------


def test_peaks_are_absolute_magnitudes_of_the_wmap5_universe_without_the_dust() -> None:
    z, mwebv = 0.5, 0.2
    peak = curves([(START, "r", 100.0, 2.0), (START + 20, "r", 50.0, 2.0)])
    computed = named(peak, known(z_final=z, mwebv=mwebv))
    integral, _ = integrate.quad(lambda x: (0.277 * (1 + x) ** 3 + 0.723) ** -0.5, 0, z)
    modulus = 5 * np.log10((1 + z) * 299_792.458 / 70.2 * integral) + 25
    apparent = 27.5 - 2.5 * np.log10(100.0) - mwebv * extinction.extinction_coefficient(np.array(6223.0))
    expected = apparent - modulus + 2.5 * np.log10(1 + z)
    assert computed["peak_absolute_magnitude_r"] == pytest.approx(float(expected), abs=1e-3)
    assert computed["fall_time"] == pytest.approx(20 / (1 + z))
    scaled = 10 ** (0.4 * (27.5 - float(apparent) + modulus - float(WMAP5.distance_modulus(0.3))))
    assert computed["peak_luminosity"] == pytest.approx(scaled, rel=1e-3)


@pytest.mark.parametrize("z", [np.nan, 0.0, 0.001])
def test_without_a_redshift_luminosities_are_missing_and_the_rest_is_not(z: float) -> None:
    computed = named(curves([(START, "r", 100.0, 2.0), (START + 20, "r", 50.0, 2.0)]), known(z_final=z))
    missing = {name for name in ("peak_absolute_magnitude_r", "peak_luminosity", "spm_A_r") if np.isnan(computed[name])}
    assert missing == {"peak_absolute_magnitude_r", "peak_luminosity", "spm_A_r"}
    assert computed["fall_time"] == 20
    assert np.isfinite(computed["spm_tau_fall_r"])


def test_a_missing_final_redshift_is_taken_from_the_host() -> None:
    peak = curves([(START, "r", 100.0, 2.0)])
    given = [
        known(z_final=0.5, hostgal_zspec=0.1),
        known(hostgal_zspec=0.5, hostgal_zphot=0.1),
        known(hostgal_zphot=0.5),
        known(z_final=0.0, hostgal_zphot=0.5),
    ]
    magnitudes = {named(peak, metadata)["peak_absolute_magnitude_r"] for metadata in given}
    assert len(magnitudes) == 1
    assert np.isfinite(magnitudes.pop())


def test_dust_reddens_by_fitzpatricks_law() -> None:
    wavelengths = np.array([4110.0, 5470.0, 12_200.0])
    assert extinction.extinction_coefficient(wavelengths).tolist() == pytest.approx([4.315, 3.055, 0.829])
    assert extinction.extinction_coefficient(np.array([8691.0])).tolist() == pytest.approx(
        [1.5554], abs=1e-4
    )  # between anchors
    assert (np.diff(extinction.MILKY_WAY) < 0).all()


# --- the supernova parametric model ----------------------------------------------------------------------------

TRUE = np.array([100.0, 30.0, 25.0, 0.4, 4.0, 35.0])


def _observed_model(
    parameters: FloatArray, *, noise: float = 1.0, seed: int = 0
) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Forty points in each of the bands whose parameters (B, 6) are given; the others have none."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 150, (len(parameters), 40)), axis=1)
    flux = np.stack([supernova_model.flux_at(*each) for each in zip(t, parameters, strict=True)])
    lengths = np.array([40] * len(parameters) + [0] * (6 - len(parameters)), dtype=np.int64)
    return ragged.offsets_of(lengths), t.ravel(), flux.ravel(), np.full(flux.size, noise)


def test_the_model_is_the_published_one_between_its_start_and_the_end_of_its_plateau() -> None:
    a, t0, gamma, beta, tau_rise, tau_fall = TRUE
    t = np.array([10.0, 40.0, 43.0, 70.0])  # not within two switches of the plateau's ends, where it is rounded off
    switch = 1 / (1 + np.exp(-(t - t0 - gamma) / 2))
    plateau, decay = 1 - beta * (t - t0) / gamma, (1 - beta) * np.exp(-(t - t0 - gamma) / tau_fall)
    published = a / (1 + np.exp(-(t - t0) / tau_rise)) * (plateau * (1 - switch) + decay * switch)
    assert supernova_model.flux_at(t, TRUE)[1:] == pytest.approx(published[1:], rel=5e-3)
    assert 0 < supernova_model.flux_at(t, TRUE)[0] < published[0]
    far = supernova_model.flux_at(np.array([-1e5, 1e5]), TRUE)
    assert far == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("shape", [TRUE, [100.0, 40.0, 14.0, 0.5, 7.0, 28.0]])
def test_a_curve_of_the_model_gives_back_its_parameters(shape: FloatArray) -> None:
    true = np.tile(shape, (6, 1))
    true[:, 0] = [20, 60, 100, 90, 70, 50]
    fitted = supernova_model.fit(*_observed_model(true))
    assert (fitted.chi2 < 0.1).all()
    # How long the plateau is and how steep are known less well than the rest, even without noise.
    for place, tolerance in enumerate([0.03, 0.02, 0.5, 0.5, 0.05, 0.05]):
        np.testing.assert_allclose(fitted.parameters[0, :, place], true[:, place], rtol=tolerance)


def _plain_cost(x: FloatArray, t: FloatArray, flux: FloatArray, err: FloatArray) -> float:
    """Chi-squared with softened errors, and eq. 4.7 on the roots of the variances, of two bands."""
    parameters = x.reshape(2, 6)
    model = np.stack([supernova_model.flux_at(*each) for each in zip(t, parameters, strict=True)])
    softened = err + 0.5 * np.quantile(err, 0.1)
    doubt = np.where(flux + err < 0, np.exp(-(((flux + err) / err) ** 2)), 1.0)
    added = np.array([1.0, 0.05, 0.05, 0.005, 0.05, 0.05])
    weights = np.array([0.0, 1.0, 0.1, 20.0, 0.7, 0.01])
    penalty = weights @ np.sqrt(parameters.var(axis=0) + added)
    return float(np.sum(doubt * ((model - flux) / softened) ** 2) + penalty)


def test_no_slow_optimiser_finds_a_much_better_fit() -> None:
    rng = np.random.default_rng(3)
    true = np.stack([TRUE, TRUE * [0.7, 1.05, 1.1, 1.0, 1.2, 1.5]])
    offsets, t, flux, err = _observed_model(true, noise=5.0)
    flux = flux + err * rng.standard_normal(len(flux))
    fitted = supernova_model.fit(offsets, t, flux, err)
    points = (t.reshape(2, 40), flux.reshape(2, 40), err.reshape(2, 40))
    mine = _plain_cost(fitted.parameters[0, :2].ravel(), *points)
    bounds = [(1.0, 1000.0), (-50.0, 150.0), (1.0, 120.0), (0.0, 1.0), (1.0, 100.0), (2.0, 180.0)] * 2
    slow = optimize.minimize(
        _plain_cost, true.ravel(), args=points, bounds=bounds, method="L-BFGS-B", options={"maxfun": 1500}
    )
    assert mine < 1.02 * slow.fun
    assert np.isnan(fitted.parameters[0, 2:]).all()


def test_the_penalty_as_printed_keeps_distant_bands_closer_than_the_root_of_the_variance() -> None:
    points = _observed_model(np.stack([TRUE, TRUE * [1, 1.8, 1, 1, 1, 1]]), noise=2.0)
    apart = [
        abs(np.diff(supernova_model.fit(*points, penalty=penalty).parameters[0, :2, 1])[0])
        for penalty in ("root_variance", "variance")
    ]
    assert apart[0] == pytest.approx(0.8 * TRUE[1], rel=0.1)
    assert apart[1] < 0.5 * apart[0]


# --- the period ------------------------------------------------------------------------------------------------


def _star(rng: np.random.Generator, days_of_period: float, n: int = 70) -> list[Point]:
    """Two harmonics, R21 = 0.4 and phi21 = 1, in three bands of different amplitude."""
    t = visits(rng, n)
    phase = 2 * np.pi * t / days_of_period
    shape = np.cos(phase + 0.7) + 0.4 * np.cos(2 * phase + 1.0 + 2 * 0.7)
    band = rng.choice(["g", "r", "i"], n)
    amplitude = np.array([{"g": 100.0, "r": 70.0, "i": 50.0}[each] for each in band])
    flux = amplitude * shape + 20.0 + 4.0 * rng.standard_normal(n)
    return list(zip(t, band.tolist(), flux, np.full(n, 4.0), strict=True))


@pytest.mark.parametrize("days", [0.03, 0.21, 0.56, 4.2, 31.0])
def test_the_period_of_a_star_is_found_among_its_daily_aliases(days: float) -> None:
    rng = np.random.default_rng(1)
    computed = features.compute(curves(*(_star(rng, days) for _ in range(5))), unknown(5))
    found = dict(zip(features.NAMES, computed.T, strict=True))
    assert 10.0 ** found["period_log10"] == pytest.approx(np.full(5, days), rel=1e-2)
    assert found["harmonic_ratio_2"] == pytest.approx(np.full(5, 0.4), abs=0.1)
    assert found["harmonic_phase_2_cos"] == pytest.approx(np.full(5, np.cos(1)), abs=0.25)
    assert found["harmonic_phase_2_sin"] == pytest.approx(np.full(5, np.sin(1)), abs=0.25)
    assert found["harmonic_amplitude_g"] / found["harmonic_amplitude_i"] == pytest.approx(np.full(5, 2), rel=0.3)
    assert (found["period_explained"] > 0.95).all()
    assert (found["psi_eta"] < 0.5).all()


def test_the_periodogram_is_the_sum_over_the_points_at_every_frequency() -> None:
    variation = period.normalised(curves(_star(np.random.default_rng(2), 0.5))[0])
    frequencies, power = period.periodogram(variation)
    assert frequencies[0] == pytest.approx(1 / variation.span)
    assert frequencies[-1] >= period.MAX_FREQUENCY - 1
    chosen = np.array([0, 7, 511, 512, 20_000, len(power) - 1])
    turn = np.exp(2j * np.pi * frequencies[chosen, None] * variation.time)
    sums = (variation.weight * variation.value * turn).sum(axis=1)
    total = variation.weight.sum() * (variation.weight * variation.value**2).sum()
    assert power[chosen] == pytest.approx(2 * abs(sums) ** 2 / total, abs=1e-5)


def test_noise_has_no_significant_period() -> None:
    rng = np.random.default_rng(5)
    noise = [(t, "r", flux, 4.0) for t, flux in zip(visits(rng, 70), 4 * rng.standard_normal(70), strict=True)]
    place = features.NAMES.index("period_significance")
    significance = features.compute(curves(noise, _star(rng, 0.5)), unknown(2))[:, place]
    assert significance[0] < 1.0
    assert significance[1] > 1.5


def test_a_period_wants_enough_points_and_is_left_out_on_request() -> None:
    star = _star(np.random.default_rng(1), 0.5)
    few, enough = curves(star[: period.MIN_POINTS - 1]), curves(star)
    columns = np.array(["period" in name or "harmonic" in name or "psi" in name for name in features.NAMES])
    assert np.isnan(features.compute(few, unknown())[0, columns]).all()
    without, full = (features.compute(enough, unknown(), period=each)[0] for each in (False, True))
    assert np.isnan(without[columns]).all()
    assert np.isfinite(full[features.NAMES.index("period_log10")])
    np.testing.assert_array_equal(without[~columns], full[~columns])


# --- what holds for all ----------------------------------------------------------------------------------------


def test_a_rows_features_do_not_depend_on_the_other_rows(few: survey.Simulated) -> None:
    light_curves, metadata = few.objects.light_curves, few.objects.metadata
    together = features.compute(light_curves, metadata)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(metadata)), 2))
    shuffled = features.compute(light_curves.take(order), metadata[order])
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-4, atol=1e-6)
    alone = [features.compute(light_curves.take(np.array([place])), metadata[[place]])[0] for place in range(3)]
    np.testing.assert_allclose(np.stack(alone), together[:3], rtol=1e-4, atol=1e-6)


def test_later_points_do_not_change_the_features_of_what_was_known(few: survey.Simulated) -> None:
    light_curves, metadata = few.objects.light_curves, few.objects.metadata
    epoch = light_curves.first_alert_mjd + 20.0
    later = light_curves.mjd > np.repeat(epoch, light_curves.lengths)
    assert later.any()
    changed = replace(
        light_curves,
        first_alert_mjd=light_curves.first_alert_mjd + 5.0,
        flux=np.where(later, 1e4, light_curves.flux).astype(np.float32),
        detected=light_curves.detected | later,
    )
    never_came = light_curves.where(~later)
    before, after = (features.compute(each, metadata) for each in (never_came, changed.until(epoch)))
    np.testing.assert_array_equal(before, after)


_POINTS = st.tuples(
    st.one_of(st.floats(0, 400), st.sampled_from([0.0, 1.0, 2.0])).map(lambda day: START + day),
    st.sampled_from(BANDS),
    st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 7.0])),
    st.floats(1e-3, 1e4),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_POINTS, max_size=40), st.lists(_POINTS, min_size=1, max_size=10), st.floats(-0.01, 4.5))
def test_any_points_give_finite_or_missing_features_whatever_stands_beside_them(
    points: list[Point], others: list[Point], z: float
) -> None:
    metadata = np.repeat(known(z_final=z, mwebv=abs(z)), 2, axis=0)
    alone = features.compute(curves(points), metadata[:1])[0]
    beside = features.compute(curves(others, points), metadata)[1]
    assert not np.isinf(alone).any()
    np.testing.assert_allclose(beside, alone, rtol=1e-4, atol=1e-6)


def test_one_point_gives_its_levels_and_no_shape() -> None:
    computed = named(curves([(START, "g", 10.0, 1.0)]), known(z_final=0.1, mwebv=0.05))
    assert (computed["n_points_g"], computed["mean_g"], computed["median_g"], computed["max_snr_g"]) == (1, 10, 10, 10)
    assert (computed["time_span"], computed["rise_time"], computed["peak_flux"]) == (0, 0, 10)
    assert np.isfinite(computed["peak_absolute_magnitude_g"])
    shapes = ("amplitude_g", "standard_deviation_g", "skew_g", "eta_g", "linear_trend_g", "stetson_k_g", "period_log10")
    assert np.isnan([computed[name] for name in shapes]).all()
    assert np.isnan([computed["mean_r"], computed["spm_tau_fall_r"], computed["colour_g_r"]]).all()


def test_no_point_at_all_is_a_row_of_missing_values() -> None:
    computed = named(curves([], [(START, "g", 10.0, 1.0)]), unknown(2))
    counts = {name for name, value in computed.items() if value == 0}
    by_band = {f"{name}_{band}" for name in ("n_points", "n_significant") for band in BANDS}
    assert counts == by_band | {"n_bands_significant", "n_detected"}
    assert np.isnan([value for name, value in computed.items() if name not in counts]).all()
    assert features.compute(curves(), unknown(0)).shape == (0, len(features.NAMES))


def test_points_without_a_flux_or_an_error_are_not_there() -> None:
    good = [(START + day, "g", 10.0 + day**2, 1.0) for day in range(15)]
    bad = [(START + 0.5, "g", np.nan, 1.0), (START + 3.5, "r", 5.0, 0.0), (START + 4.5, "g", 1.0, np.inf)]
    np.testing.assert_array_equal(
        features.compute(curves([*good, *bad]), unknown()), features.compute(curves(good), unknown())
    )


def test_a_constant_flux_has_no_shape_and_no_period() -> None:
    computed = features.compute(curves([(START + day, "g", 7.3, 1.0) for day in range(20)]), unknown())[0]
    by_name = dict(zip(features.NAMES, computed.tolist(), strict=True))
    assert (by_name["amplitude_g"], by_name["standard_deviation_g"]) == (0, 0)
    assert np.isnan([by_name[name] for name in ("skew_g", "kurtosis_g", "eta_g", "anderson_darling_g")]).all()
    assert np.isnan(by_name["period_log10"])


def test_fluxes_scale_and_shapes_do_not_when_the_unit_changes(few: survey.Simulated) -> None:
    light_curves, metadata = few.objects.light_curves, few.objects.metadata
    factor = np.float32(8.0)  # a power of two leaves every digit as it is
    larger = replace(light_curves, flux=light_curves.flux * factor, flux_err=light_curves.flux_err * factor)
    one, other = features.compute(light_curves, metadata), features.compute(larger, metadata)
    for place, feature in enumerate(features.FEATURES):
        if feature.name.startswith(("colour_", "peak_absolute_magnitude")):
            continue  # their denominator's 1, and a logarithm, have a unit
        expected = one[:, place] * (factor if feature.unit.startswith("FLUXCAL") else 1)
        np.testing.assert_allclose(other[:, place], expected, rtol=1e-3, atol=1e-5, err_msg=feature.name)
    place = features.NAMES.index("peak_absolute_magnitude_r")
    difference = (one - other)[:, place]
    assert difference[np.isfinite(difference)] == pytest.approx(2.5 * np.log10(8.0), abs=1e-4)


def test_no_feature_is_infinite_or_a_sentinel(few: survey.Simulated) -> None:
    epochs = [few.objects.light_curves.first_alert_mjd + days for days in (0.0, 3.0, 30.0, 1000.0)]
    for epoch in epochs:
        computed = features.compute(few.objects.light_curves.as_sent(epoch), few.objects.metadata)
        assert not np.isinf(computed).any()
        assert not np.isin(computed, [-9, -99, -999, -9999, 999]).any()

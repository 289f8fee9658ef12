"""Light curves and metadata -> engineered features, in one named order (thesis 4.4.2).

They feed the random forest and ATAT's feature tokens, in training and service alike. Fluxes are FLUXCAL; nothing is
looked at but the points that are given, so what a light curve is cut to is what its features know. A row's features do
not depend on the other rows. What is not defined, for want of points or of metadata, is NaN.
"""

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs import band_statistics, light_curve_features, period, ragged, supernova_model
from models.inputs.cosmology import REDSHIFTS, WMAP5
from models.inputs.extinction import transmission
from models.inputs.feature_table import ALERCE, OURS, Feature, by_band
from models.inputs.light_curve import LightCurves
from models.inputs.light_curve_features import Observed
from models.inputs.metadata import COLUMNS
from models.inputs.photometry import BANDS

_REFERENCE_REDSHIFT = 0.3
_MIN_REDSHIFT = 0.003
"""Below it there is no distance to speak of: the surveys write 0 for the Milky Way, too (released features)."""

_CHUNK = 32
"""Rows computed together: so many that Python's own time is small, so few that memory is reused, not mapped anew."""

_LARGEST = float(np.finfo(np.float32).max)

_NEED_PERIOD = f"NaN for fewer than {period.MIN_POINTS} points"
PERIOD = (
    Feature("period_log10", "log10 d", f"of the best period, all bands together; {_NEED_PERIOD}", OURS),
    Feature("period_runner_up_log10", "log10 d", "of the second-best", OURS),
    Feature("period_runner_up", "", "what the second-best explains over what the best explains", OURS),
    Feature(
        "period_explained",
        "",
        "weighted scatter that the Fourier series explains, over that about the bands' unweighted means",
        OURS,
    ),
    Feature("period_sinusoid", "", "Schuster's power at its greatest: about the share that a sinusoid explains", OURS),
    Feature("period_significance", "log10", "log10 of explained over unexplained variance by degree of freedom", OURS),
    Feature("period_cycles", "log10", "log10 of the time span over the period", OURS),
    Feature("harmonic_ratio_2", "", "R21: amplitude of the second harmonic over the first's", ALERCE),
    Feature("harmonic_ratio_3", "", "R31", ALERCE),
    Feature("harmonic_ratio_4", "", "R41", ALERCE),
    *(
        Feature(f"harmonic_phase_{order}_{part}", "", f"{part} of phi{order}1 = phi{order} - {order} phi1", ALERCE)
        for order in (2, 3)
        for part in ("cos", "sin")
    ),
    Feature("psi_eta", "", "von Neumann's ratio of the light curve folded with the period", ALERCE),
    Feature("psi_cusum", "", "range of the running sum of the light curve folded with the period", ALERCE),
)
PERIOD_BY_BAND = (Feature("harmonic_amplitude", "FLUXCAL", "of the best period's first harmonic", ALERCE),)

_SPM = "of the supernova parametric model, fitted to the de-attenuated fluxes"
SUPERNOVA_MODEL = (
    Feature("spm_A", "FLUXCAL", f"A {_SPM} as seen from the distance of z = 0.3; NaN without redshift", ALERCE),
    Feature("spm_t0", "d", f"t0 {_SPM}, from the first point on", ALERCE),
    Feature("spm_gamma", "d", f"gamma {_SPM}", ALERCE),
    Feature("spm_beta", "", f"beta {_SPM}", ALERCE),
    Feature("spm_tau_rise", "d", f"tau_rise {_SPM}", ALERCE),
    Feature("spm_tau_fall", "d", f"tau_fall {_SPM}", ALERCE),
    Feature("spm_chi2", "", "its chi2 in the band over the number of points less six; n >= 7", ALERCE),
)

FEATURES: tuple[Feature, ...] = (
    *by_band(band_statistics.FEATURES),
    *light_curve_features.FEATURES,
    *by_band(SUPERNOVA_MODEL),
    *PERIOD,
    *by_band(PERIOD_BY_BAND),
)
"""What each column is."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
"""In the order of every feature axis."""

PERIOD_NAMES = frozenset(feature.name for feature in (*PERIOD, *by_band(PERIOD_BY_BAND)))
"""Those that ask for the search of a period."""


def compute(
    light_curves: LightCurves,
    metadata: NDArray[np.float32],
    *,
    period: bool = True,
) -> NDArray[np.float32]:
    """The features (N, F) of N light curves and their metadata (N, 64), in the order of NAMES.

    Without ``period`` the columns of PERIOD and PERIOD_BY_BAND are NaN: the search takes most of the time.
    Raises ValueError if the metadata do not fit the light curves.
    """
    if metadata.shape != (len(light_curves), len(COLUMNS)):
        raise ValueError(f"metadata of shape {metadata.shape} for {len(light_curves)} light curves")
    chunks = [np.arange(start, min(start + _CHUNK, len(metadata))) for start in range(0, len(metadata), _CHUNK)]
    parts = [_chunk(light_curves.take(rows), metadata[rows], period) for rows in chunks]
    return np.concatenate([np.empty((0, len(NAMES)), dtype=np.float32), *parts])


def _chunk(curves: LightCurves, metadata: NDArray[np.float32], with_period: bool) -> NDArray[np.float32]:
    curves = curves.where(np.isfinite(curves.flux) & np.isfinite(curves.flux_err) & (curves.flux_err > 0))
    points = _observed(curves, metadata)
    # 0 / 0 of a band with too few points is the NaN that is meant.
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = band_statistics.compute(points.offsets, points.t, points.flux, points.err)
        named = {
            **{name: values.reshape(-1, len(BANDS)) for name, values in statistics.items()},
            **light_curve_features.compute(points),
            **_supernova_model(points),
            **(_periods(curves) if with_period else {}),
        }
    columns = {}
    for name, values in named.items():
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}_{band}": values[:, code] for code, band in enumerate(BANDS)}
    absent = np.full(len(curves), np.nan)
    table = np.stack([columns.get(name, absent) for name in NAMES], axis=1)
    return np.where(abs(table) < _LARGEST, table, np.nan).astype(np.float32)


def _observed(curves: LightCurves, metadata: NDArray[np.float32]) -> Observed:
    """The points by row and band, and what the metadata say of dust and distance (thesis 4.4.1)."""
    segment = ragged.row_of_each(curves.offsets) * len(BANDS) + curves.band
    order = np.argsort(segment, kind="stable")
    counts = np.bincount(segment, minlength=len(curves) * len(BANDS)).astype(np.int64)
    start = np.repeat(curves.mjd[curves.offsets[:-1][curves.lengths > 0]], curves.lengths[curves.lengths > 0])
    redshift = _redshift(metadata)
    modulus = WMAP5.distance_modulus(redshift)
    return Observed(
        offsets=ragged.offsets_of(counts),
        t=(curves.mjd - start)[order],
        flux=curves.flux[order].astype(np.float64),
        err=curves.flux_err[order].astype(np.float64),
        detected=curves.detected[order],
        transmission=transmission(metadata[:, COLUMNS.index("mwebv")]),
        one_plus_z=1 + np.nan_to_num(redshift, nan=0.0),
        flux_scale=10 ** (0.4 * (modulus - WMAP5.distance_modulus(_REFERENCE_REDSHIFT))),
        distance_modulus=modulus,
    )


def _redshift(metadata: NDArray[np.float32]) -> FloatArray:
    """z_final, or where a survey has none the same from its host: spectroscopic before photometric. (N,)"""
    redshift = np.full(len(metadata), np.nan)
    for column in ("z_final", "hostgal_zspec", "hostgal_zphot"):
        z = metadata[:, COLUMNS.index(column)].astype(np.float64)
        usable = np.isnan(redshift) & (z >= _MIN_REDSHIFT) & (z <= REDSHIFTS[-1])
        redshift[usable] = z[usable]
    return redshift


def _supernova_model(points: Observed) -> dict[str, FloatArray]:
    fit = supernova_model.fit(points.offsets, points.t, points.intrinsic, points.intrinsic_err)
    columns = {f"spm_{name}": fit.parameters[..., place] for place, name in enumerate(supernova_model.PARAMETERS)}
    return {**columns, "spm_A": columns["spm_A"] * points.flux_scale[:, None], "spm_chi2": fit.chi2}


def _periods(curves: LightCurves) -> dict[str, FloatArray]:
    columns = {feature.name: np.full(len(curves), np.nan) for feature in PERIOD}
    columns["harmonic_amplitude"] = np.full((len(curves), len(BANDS)), np.nan)
    for row, found in enumerate(period.search(curves)):
        if found is None:
            continue
        first, ratios = found.harmonics[0], found.harmonics[1:] / max(abs(found.harmonics[0]), 1e-300)
        for order, harmonic in zip((2, 3), found.harmonics[1:], strict=False):
            phase = np.angle(harmonic) - order * np.angle(first) if abs(harmonic) > 0 else np.nan
            columns[f"harmonic_phase_{order}_cos"][row] = np.cos(phase)
            columns[f"harmonic_phase_{order}_sin"][row] = np.sin(phase)
        for order in (2, 3, 4):
            columns[f"harmonic_ratio_{order}"][row] = abs(ratios[order - 2]) or np.nan
        columns["period_log10"][row] = -np.log10(found.frequency)
        columns["period_runner_up_log10"][row] = -np.log10(found.runner_up_frequency)
        columns["period_runner_up"][row] = found.runner_up
        columns["period_explained"][row] = found.explained
        columns["period_sinusoid"][row] = found.sinusoid
        columns["period_significance"][row] = found.significance
        columns["period_cycles"][row] = np.log10(found.frequency * found.span)
        columns["psi_eta"][row] = found.psi_eta
        columns["psi_cusum"][row] = found.psi_cusum
        columns["harmonic_amplitude"][row] = found.amplitudes
    return columns

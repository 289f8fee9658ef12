"""Milliseconds a light curve with and without the period, and how many periods of stars are recovered.

``python -m tests.benchmarks.features`` makes its own light curves, computes on one thread and prints JSON.
"""

import json
import time

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.inputs import features, period, ragged
from models.inputs.light_curve import WINDOW_DAYS, LightCurves
from models.inputs.metadata import COLUMNS
from training.survey import cadence, photometry
from training.survey.classes import pulsating
from training.survey.classes.pulsating import Pulsation

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

RR_LYRAE, DELTA_SCUTI, CEPHEID = "RR Lyrae", "Delta Scuti", "Cepheid"
KINDS = (RR_LYRAE, DELTA_SCUTI, CEPHEID)
MIN_POINTS = 60
TOLERANCE = 0.01
TIMED_DAYS = 680.0
"""So long light curves have 150 points in the mean."""


def _star(rng: np.random.Generator, kind: str) -> Pulsation:
    """Periods and amplitudes of the real classes; skew shapes, the larger the amplitude, the skewer."""
    if kind == RR_LYRAE:
        is_c = rng.random() < 0.22
        period = rng.uniform(0.22, 0.45) if is_c else float(np.clip(rng.normal(0.58, 0.08), 0.42, 0.9))
        amplitude = rng.uniform(0.3, 0.6) if is_c else float(np.clip(rng.normal(0.95, 0.25), 0.3, 1.4))
        falloff, colours, mean = (0.15 if is_c else 0.45), [1.26, 0.12, 0.0, -0.02, -0.015, -0.01], (16.5, 23.0)
    elif kind == DELTA_SCUTI:
        period = float(np.exp(rng.uniform(np.log(0.02), np.log(0.3))))
        amplitude = float(np.exp(rng.uniform(np.log(0.05), np.log(0.9))))
        falloff, colours, mean = 0.1 + 0.35 * amplitude, [1.2, 0.2, 0.0, -0.05, -0.05, -0.05], (16.5, 22.0)
    else:
        period = float(np.exp(rng.uniform(np.log(1.0), np.log(80.0))))
        amplitude = rng.uniform(0.2, 1.3)
        falloff, colours, mean = rng.uniform(0.2, 0.5), [1.8, 0.5, 0.0, -0.15, -0.2, -0.25], (16.5, 22.0)
    order = np.arange(5)
    # Phases near those of a sawtooth, each harmonic with some freedom of its own.
    phases = 2 * np.pi * rng.random() * (order + 1) - np.pi / 2 * order + 0.3 * rng.standard_normal(5)
    harmonics = 0.4 * falloff**order * np.exp(1j * phases)
    by_band = amplitude * np.array([0.95, 1.0, 0.72, 0.58, 0.52, 0.5]) * (1 + 0.05 * rng.standard_normal(6))
    return Pulsation(period, rng.random(), rng.uniform(*mean) + np.array(colours), by_band, harmonics)


def stars(rng: np.random.Generator, kind: str, n: int, *, days: float) -> tuple[LightCurves, FloatArray]:
    """``n`` stars on the survey's own visits, from the first detection - 30 d on for ``days``, and their periods."""
    columns: list[tuple[FloatArray, NDArray[np.int8], FloatArray, FloatArray, NDArray[np.bool_]]] = []
    periods: list[float] = []
    while len(columns) < n:
        star = _star(rng, kind)
        source = pulsating.against_template(rng, cadence.load().draw(rng), star)
        visits = source.visits
        limit = photometry.limits(visits.m5, visits.band)
        err = photometry.flux_errors(source.flux, limit, source.steady[visits.band])
        detected = rng.random(len(err)) < photometry.detection_probability(source.flux / err)
        if not photometry.triggers(visits.mjd[detected]):
            continue
        begin = visits.mjd[detected][0] - 30
        kept = (visits.mjd >= begin) & (visits.mjd <= min(begin + days, visits.mjd[detected][-1]))
        if np.count_nonzero(kept) < MIN_POINTS:
            continue
        flux = source.flux + err * rng.standard_normal(len(err))
        columns.append((visits.mjd[kept], visits.band[kept], flux[kept], err[kept], detected[kept]))
        periods.append(star.period)
    mjd, band, flux, err, seen = (np.concatenate(column) for column in zip(*columns, strict=True))
    offsets = ragged.offsets_of(np.array([len(column[0]) for column in columns], dtype=np.int64))
    curves = LightCurves(
        offsets=offsets,
        first_alert_mjd=ragged.first_per_row(offsets, mjd, seen),
        mjd=mjd,
        band=band,
        flux=flux.astype(np.float32),
        flux_err=err.astype(np.float32),
        detected=seen,
    )
    return curves, np.array(periods)


def share_recovered(found: FloatArray, true: FloatArray) -> dict[str, float]:
    """Shares of periods found within 1 %, and of those half and double the true one."""
    return {
        name: float(np.mean(abs(found / (factor * true) - 1) < TOLERANCE))
        for name, factor in (("recovered", 1.0), ("half", 0.5), ("double", 2.0))
    }


def _periods(curves: LightCurves) -> FloatArray:
    return np.array([np.nan if found is None else 1 / found.frequency for found in period.search(curves)])


def _milliseconds(curves: LightCurves, *, with_period: bool) -> float:
    """Of a light curve, the best of three runs: the machine may have other work."""
    metadata = np.full((len(curves), len(COLUMNS)), np.nan, dtype=np.float32)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        features.compute(curves, metadata, period=with_period)
        took.append(time.perf_counter() - start)
    return 1000 * min(took) / len(curves)


def main() -> None:
    """Print what was measured."""
    rng = np.random.default_rng(1)
    with threadpool_limits(1):
        torch.set_num_threads(1)
        timed, _ = stars(rng, RR_LYRAE, 200, days=TIMED_DAYS)
        measured: dict[str, object] = {
            "mean_points": float(timed.lengths.mean()),
            "ms_without_period": _milliseconds(timed, with_period=False),
            "ms_with_period": _milliseconds(timed, with_period=True),
            "features": len(features.NAMES),
        }
        for name, days in (("alert_window", WINDOW_DAYS), ("three_years", 1100.0)):
            for kind in KINDS:
                curves, true = stars(rng, kind, 200, days=days)
                shares = share_recovered(_periods(curves), true)
                measured[f"{kind}, {name}"] = {"mean_points": float(curves.lengths.mean()), **shares}
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()

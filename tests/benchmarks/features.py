"""Milliseconds a light curve on one core, and how many periods of simulated stars are recovered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.arrays import FloatArray
from models.inputs import features, period, ragged
from models.inputs.light_curve import WINDOW_DAYS, LightCurves
from models.inputs.metadata import COLUMNS
from training.survey import cadence, survey

KINDS = {"rr_lyrae": 2323, "delta_scuti": 2324, "cepheid": 2322}
STARS = 200
MIN_POINTS = 60
TOLERANCE = 0.01
TIMED_DAYS = 680.0
"""So long light curves have 150 points in the mean."""


def stars(rng: np.random.Generator, class_id: int, n: int, *, days: float) -> tuple[LightCurves, FloatArray]:
    """``n`` stars as the survey finds them, from the first detection - 30 d on for ``days``, and their periods."""
    found: list[survey.Found] = []
    while len(found) < n:
        star = survey.observe(rng, class_id, cadence.load().draw(rng))
        if star is not None and np.count_nonzero(star.mjd <= star.mjd[0] + days) >= MIN_POINTS:
            found.append(star)
    kept = [star.mjd <= star.mjd[0] + days for star in found]

    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(star, name)[own] for star, own in zip(found, kept, strict=True)])

    offsets = ragged.offsets_of(np.array([np.count_nonzero(own) for own in kept], dtype=np.int64))
    mjd, detected = joined("mjd").astype(np.float64), joined("detected").astype(np.bool_)
    curves = LightCurves(
        offsets=offsets,
        first_alert_mjd=ragged.first_per_row(offsets, mjd, detected),
        mjd=mjd,
        band=joined("band").astype(np.int8),
        flux=joined("flux").astype(np.float32),
        flux_err=joined("flux_err").astype(np.float32),
        detected=detected,
    )
    return curves, np.array([star.period for star in found])


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


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def measure() -> dict[str, float]:
    """On one thread; stars in the window that an alert reaches back over, and over the whole survey."""
    rng = np.random.default_rng(1)
    with _one_thread():
        timed, _ = stars(rng, KINDS["rr_lyrae"], STARS, days=TIMED_DAYS)
        measured = {
            "points_per_light_curve": float(timed.lengths.mean()),
            "milliseconds_without_period": _milliseconds(timed, with_period=False),
            "milliseconds_with_period": _milliseconds(timed, with_period=True),
        }
        for name, days in (("alert_window", WINDOW_DAYS), ("three_years", 1100.0)):
            for kind, class_id in KINDS.items():
                curves, true = stars(rng, class_id, STARS, days=days)
                for outcome, share in share_recovered(_periods(curves), true).items():
                    measured[f"{kind}_{name}_{outcome}"] = share
    return measured

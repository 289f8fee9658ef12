"""Running statistics are those of the points so far, whatever comes later and whatever else is in the batch."""

import numpy as np
import pytest

from models.inputs import running
from models.inputs.photometry import BANDS, FLUX_SCALE

LENGTHS = [0, 1, 40, 7]


def _points(lengths: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return {
        "time": np.concatenate([np.sort(rng.uniform(-5, 90, length)) for length in lengths]).astype(np.float32),
        "band": rng.integers(0, len(BANDS), n),
        "flux": rng.normal(20, 40, n).astype(np.float32),
        "flux_err": rng.uniform(2, 9, n).astype(np.float32),
        "detected": rng.random(n) < 0.6,
    }


def _statistics(lengths: list[int], points: dict[str, np.ndarray]) -> np.ndarray:
    return running.statistics(np.concatenate([[0], np.cumsum(lengths)]), **points)


def _value(statistics: np.ndarray, name: str) -> float:
    return float(statistics[running.NAMES.index(name)])


@pytest.mark.parametrize("place", [0, 1, 9, 39])
def test_each_band_is_described_by_its_points_so_far(place: int) -> None:
    points = _points(LENGTHS)
    statistics = _statistics(LENGTHS, points)[1 + place]
    time, flux, err = (points[name][1 : 2 + place].astype(float) for name in ("time", "flux", "flux_err"))
    for code, band in enumerate(BANDS):
        mine = points["band"][1 : 2 + place] == code
        if not mine.any():
            assert not any(_value(statistics, f"{name}_{band}") for name in running.OF_A_BAND)
            continue
        t, f, e = time[mine], flux[mine], err[mine]
        mean = np.average(f, weights=e**-2)
        expected = {
            "count": np.log1p(len(f)),
            "mean": np.arcsinh(mean / FLUX_SCALE),
            "max": np.arcsinh(f.max() / FLUX_SCALE),
            "min": np.arcsinh(f.min() / FLUX_SCALE),
            "last": np.arcsinh(f[-1] / FLUX_SCALE),
            "scatter": np.log1p((((f - mean) / e) ** 2).sum() / max(len(f) - 1, 1)),
            "succession": np.log1p((np.diff(f) ** 2 / (e[1:] ** 2 + e[:-1] ** 2)).sum() / max(len(f) - 1, 1)),
            "since_last": np.log1p(time[-1] - t[-1]),
            "since_max": np.log1p(time[-1] - t[f.argmax()]),
        }
        assert tuple(expected) == running.OF_A_BAND
        for name, value in expected.items():
            assert _value(statistics, f"{name}_{band}") == pytest.approx(value, abs=1e-5), name


def test_the_whole_light_curve_is_described_by_its_detections() -> None:
    points = _points(LENGTHS)
    detected = points["detected"][1:41]
    epochs, flux = points["time"][1:41][detected], points["flux"][1:41][detected]
    statistics = _statistics(LENGTHS, points)[40]
    assert _value(statistics, "points") == pytest.approx(np.log1p(40))
    assert _value(statistics, "detections") == pytest.approx(np.log1p(len(epochs)))
    assert _value(statistics, "negative") == pytest.approx(np.log1p((flux < 0).sum()))
    assert _value(statistics, "age") == pytest.approx(np.log1p(points["time"][40] - epochs[0]), abs=1e-5)
    assert _value(statistics, "gap") == pytest.approx(np.log1p(np.diff(epochs).max()), abs=1e-5)


def test_change_is_told_apart_by_the_days_between_points() -> None:
    points = {name: values[:40] for name, values in _points([40]).items()}
    points["band"] %= 2
    statistics = _statistics([40], points)[-1]
    change, pairs = np.zeros(len(running.LAGS) + 1), np.zeros(len(running.LAGS) + 1)
    time, flux, err = (points[name].astype(float) for name in ("time", "flux", "flux_err"))
    places: dict[int, float] = {}
    for p in range(40):
        before = [np.flatnonzero(points["band"][:p] == code) for code in (0, 1)]
        mine = before[points["band"][p]]
        if len(mine) < running.MIN_POINTS:
            continue
        weight = err[mine] ** -2
        mean = np.average(flux[mine], weights=weight)
        place = (flux[p] - mean) / np.sqrt(np.average((flux[mine] - mean) ** 2, weights=weight))
        for code in (0, 1):
            if code in places:
                lag = np.searchsorted(running.LAGS, abs(time[p] - time[before[code][-1]]), side="right")
                change[lag] += min((place - places[code]) ** 2 / 2, running.MAX_CHANGE)
                pairs[lag] += 1
        places[int(points["band"][p])] = place
    for lag, name in enumerate((*running.LAGS, np.inf)):
        assert _value(statistics, f"pairs_below_{name}d") == pytest.approx(np.log1p(pairs[lag]), abs=1e-5)
        assert _value(statistics, f"change_below_{name}d") == pytest.approx(change[lag] / max(pairs[lag], 1), rel=1e-4)
    assert pairs.sum() > 60


def test_rows_do_not_know_of_each_other() -> None:
    points = _points(LENGTHS)
    together = _statistics(LENGTHS, points)
    alone = _statistics([7], {name: values[41:] for name, values in points.items()})
    np.testing.assert_array_equal(together[41:], alone)


def test_the_brightest_and_the_most_precise_points_stay_finite() -> None:
    points = _points([30])
    points["flux"][::3] = 1e12
    points["flux_err"][::2] = 1e-6
    assert np.isfinite(_statistics([30], points)).all()

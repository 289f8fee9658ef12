"""Figures and how sure they are, against answers known beforehand."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from models.taxonomy import Taxonomy
from training.metrics import (
    Estimate,
    Rates,
    Resampling,
    class_weights,
    confusion,
    macro_f1,
    over_seeds,
    reliability,
    summary,
)


def _labels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    return labels, np.where(rng.random(n) < 0.7, labels, rng.integers(4, size=n))


def test_rates_are_those_of_scikit_learn() -> None:
    labels, predicted = _labels(500)
    rates = Rates.of(confusion(labels, predicted, 5))
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=0)
    np.testing.assert_allclose([rates.precision, rates.recall, rates.f1], [precision, recall, f1])
    assert rates.accuracy == pytest.approx(np.mean(labels == predicted))
    assert macro_f1(labels, predicted) == pytest.approx(f1[:4].mean())


def test_a_class_without_objects_does_not_count_in_the_mean() -> None:
    found = summary(np.array([0, 0, 2]), np.array([0, 1, 2]), Taxonomy((2222, 2224, 2332)))
    assert set(found["classes"]) == {"Ia", "AGN"}
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_the_bootstrap_of_a_recall_is_as_wide_as_a_binomial() -> None:
    labels = np.repeat([0, 1], [400, 100])
    predicted = labels.copy()
    predicted[:100] = 1  # recall .75 of 400
    table = np.eye(2)[predicted]
    draws = Rates.of(Resampling.of(labels, 2, draws=2000).totals(table)).recall
    estimate = Estimate.of(draws[:, 0])
    assert estimate.value == 0.75
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (estimate.low, estimate.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.008)
    assert Estimate.of(draws[:, 1]) == Estimate(1.0, 1.0, 1.0)


def test_objects_are_drawn_within_their_class() -> None:
    labels = np.repeat([0, 1, 3], [5, 1, 7])
    totals = Resampling.of(labels, 4, draws=50).totals(np.ones((13, 2, 3)))
    assert totals.shape == (51, 4, 2, 3)
    np.testing.assert_array_equal(totals[:, :, 0, 0], np.tile([5, 1, 0, 7], (51, 1)))


def test_seeds_widen_an_interval_and_their_mean_is_the_figure() -> None:
    constant = [np.full(2001, value) for value in (0.6, 0.7, 0.8)]
    estimate = Estimate.of(over_seeds(constant))
    assert estimate.value == pytest.approx(0.7)
    assert estimate.low < 0.65
    assert estimate.high > 0.75
    assert Estimate.of(over_seeds(constant[:1])) == Estimate(0.6, 0.6, 0.6)


def test_the_mean_of_a_few_seeds_spreads_as_the_seeds_say() -> None:
    values = [0.6, 0.9]
    draws = over_seeds([np.full(20_001, value) for value in values])
    assert draws[1:].std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(2), rel=0.02)


def test_few_seeds_and_the_objects_drawn_make_an_interval_together() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.0, 0.02):
        objects = np.concatenate([[0.0], rng.normal(0, spread, 20_000)])
        found = Estimate.of_seeds([value + objects for value in (0.6, 0.7, 0.8)])
        by_seed = 4.3027 * 0.1 / np.sqrt(3)
        assert found.value == pytest.approx(0.7)
        assert found.high - 0.7 == pytest.approx(np.hypot(by_seed, 1.96 * spread), rel=0.02)
        assert 0.7 - found.low == pytest.approx(np.hypot(by_seed, 1.96 * spread), rel=0.02)
    assert np.isnan(Estimate.of_seeds([objects]).low)


def test_calibration_errors_are_as_made() -> None:
    rng = np.random.default_rng(1)
    n = 30_000
    resampling = Resampling.of(np.zeros(n, dtype=np.int64), 1, draws=3)
    confidence = rng.uniform(0.4, 1, n)
    honest = rng.random(n) < confidence
    for right, expected in ((honest, 0.0), (rng.random(n) < confidence - 0.3, 0.3)):
        found = reliability(confidence, right, np.ones(n), np.arange(n), resampling)
        assert found.ece == pytest.approx(expected, abs=0.025)
        np.testing.assert_allclose(found.mass[0], n / 15, rtol=0.01)


def test_weights_count_in_calibration_errors() -> None:
    right = np.array([True, False, False])
    confidence, weight = np.array([0.5, 0.5, 0.9]), np.array([3.0, 1.0, 0.0])
    resampling = Resampling.of(np.zeros(3, dtype=np.int64), 1, draws=1)
    found = reliability(confidence, right, weight, np.arange(3), resampling)
    assert found.mass[0].sum() == 4
    assert np.nansum(found.accuracy[0] * found.mass[0]) == 3


def test_a_bin_that_a_draw_leaves_empty_makes_no_interval_wider() -> None:
    n = 30
    resampling = Resampling.of(np.zeros(n, dtype=np.int64), 1, draws=500)
    found = reliability(np.linspace(0.5, 0.99, n), np.ones(n, dtype=np.bool_), np.ones(n), np.arange(n), resampling)
    assert Estimate.of(found.accuracy[:, 0]) == Estimate(1.0, 1.0, 1.0)


def test_class_weights_make_classes_as_common_as_asked() -> None:
    labels = np.repeat([0, 1], [90, 10])
    weights = class_weights(np.bincount(labels, minlength=3), np.array([0.5, 0.4, 0.1]))[labels]
    assert weights.sum() == pytest.approx(100)
    assert weights[labels == 0].sum() / weights.sum() == pytest.approx(5 / 9)  # nobody is of the third

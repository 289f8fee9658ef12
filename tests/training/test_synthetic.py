"""Syn-A, Syn-B, Syn-C: what tells their classes apart, and how well it can."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from training.data import synthetic


def _of_class(name: str, label: int) -> NDArray[np.float32]:
    curves = synthetic.make(name, {"train": 200}, seed=1)
    return curves.take(np.flatnonzero(curves.label == label)).value


def test_four_points_of_five_are_kept_between_0_and_1() -> None:
    curves = synthetic.make("syn-a", {"train": 100, "test": 50}, seed=1)
    assert np.diff(curves.offsets).mean() == pytest.approx(160, abs=2)
    assert curves.time.min() >= 0
    assert curves.time.max() <= 1
    assert np.bincount(curves.of("test").label).tolist() == [50, 50]


def test_a_seed_makes_the_same_light_curves_again_and_another_seed_makes_others() -> None:
    first, again, other = (synthetic.make("syn-c", {"train": 5}, seed=seed).value for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:100], other[:100])


def test_noise_alone_tells_the_classes_of_a_apart() -> None:
    assert np.abs(_of_class("syn-a", 0)).max() <= 1
    assert _of_class("syn-a", 1).std() == pytest.approx(np.hypot(synthetic.NOISE_A, np.sqrt(0.5)), rel=0.02)


def test_a_ripple_tells_the_classes_of_b_apart() -> None:
    assert np.abs(_of_class("syn-b", 0)).max() <= 1
    assert 1.2 < np.abs(_of_class("syn-b", 1)).max() <= 1 + synthetic.AMPLITUDE_B


def test_the_ripple_is_that_of_equation_3_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 1 is f (1 + .25 sin(2 pi 30 w t + phi)): without the ripple the same draws give the angle of f."""
    with_it = synthetic.make("syn-b", {"train": 20}, seed=1)
    monkeypatch.setattr(synthetic, "AMPLITUDE_B", 0.0)
    monkeypatch.setattr(synthetic, "sine", lambda time, frequency, phase: 2 * np.pi * frequency * time + phase)
    angle = synthetic.make("syn-b", {"train": 20}, seed=1).value.astype(np.float64)
    time = with_it.time.astype(np.float64)
    for row in np.flatnonzero(with_it.label == 1):
        points = slice(with_it.offsets[row], with_it.offsets[row + 1])
        turn, phase = np.polyfit(time[points], angle[points], 1)
        ripple = 1 + 0.25 * np.sin(30 * turn * time[points] + phase)
        np.testing.assert_allclose(with_it.value[points], np.sin(angle[points]) * ripple, atol=5e-3)


def test_the_shapes_of_c_are_a_sine_and_a_saw_blade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "NOISE_C", 0.0)
    curves = synthetic.make("syn-c", {"train": 20}, seed=1)
    for row in range(len(curves)):
        points = slice(curves.offsets[row], curves.offsets[row + 1])
        rise, later = np.diff(curves.value[points]), np.diff(curves.time[points])
        slope = rise[later > 1e-3] / later[later > 1e-3]
        steady = np.isclose(slope, np.median(slope), rtol=0.02).mean()  # but where the blade falls
        assert steady > 0.9 if curves.label[row] == 1 else steady < 0.2
    assert np.abs(curves.value).max() <= 1


def test_the_classes_of_c_can_be_told_apart_995_times_of_1000() -> None:
    sure, right = _likelihood_ratio_accuracy(per_class=600)
    assert sure == pytest.approx(0.995, abs=0.0015)
    assert right == pytest.approx(0.995, abs=0.006)


def test_the_classes_of_c_could_not_be_told_apart_with_the_noise_of_a(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "NOISE_C", synthetic.NOISE_A)
    assert max(_likelihood_ratio_accuracy(per_class=150)) < 0.7


def _likelihood_ratio_accuracy(*, per_class: int, n_grid: int = 32) -> tuple[float, float]:
    """Of the best classifier there can be: it knows both shapes, and averages over frequency and phase on a grid.

    Its own probability of being right, whose mean varies less, and the share that is right.
    """
    curves = synthetic.make("syn-c", {"test": per_class}, seed=3)
    phase = np.arange(n_grid, dtype=np.float32) / n_grid
    turn = np.stack([np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)], axis=1)
    frequency = np.linspace(*synthetic.FREQUENCY, n_grid, dtype=np.float32)[:, None]
    sure, right = 0.0, 0
    for row in range(len(curves)):
        points = slice(curves.offsets[row], curves.offsets[row + 1])
        turns, value = frequency * curves.time[points], curves.value[points]
        # sin(a + b) by products, for all phases at once; the saw blade as it is.
        waves = np.stack([np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)], axis=1)
        power = np.einsum("pi,fij,pj->fp", turn, waves @ waves.transpose(0, 2, 1), turn)
        saw = synthetic.saw(turns[:, None].astype(np.float64), np.ones(1), 2 * np.pi * phase[:, None]).astype(
            np.float32
        )
        sine_fit = (waves @ value) @ turn.T - power / 2
        saw_fit = saw @ value - np.square(saw).sum(axis=2) / 2
        for_saw = _evidence(saw_fit) - _evidence(sine_fit)
        sure += float(expit(abs(for_saw)))
        right += int((for_saw > 0) == (curves.label[row] == 1))
    return sure / len(curves), right / len(curves)


def _evidence(fit: NDArray[np.float32]) -> float:
    """Logarithm of the mean likelihood over a grid of templates."""
    exponent = fit.astype(np.float64) / synthetic.NOISE_C**2
    return float(exponent.max() + np.log(np.exp(exponent - exponent.max()).mean()))

"""The moments at which a light curve is cut for training and evaluation."""

import numpy as np
import pytest

from tests.training import objects
from training.data import views
from training.data.augmentation import Augmentation

CURVES = objects.make(200).light_curves


def test_the_epoch_of_a_detection_counts_from_one_and_stops_at_the_last() -> None:
    number = np.full(len(CURVES), 2)
    for row, epoch in enumerate(views.epoch_of_detection(CURVES, number)):
        detected = CURVES[row].mjd[CURVES[row].detected]
        assert epoch == detected[min(1, len(detected) - 1)]
    np.testing.assert_array_equal(views.epoch_of_detection(CURVES, number + 10_000), CURVES.last_detection_mjd())


def test_random_alerts_are_detections_and_half_of_them_early() -> None:
    rng = np.random.default_rng(0)
    epochs = np.concatenate([views.random_alert(CURVES, rng) for _ in range(50)])
    first = np.tile(views.epoch_of_detection(CURVES, np.ones(len(CURVES), dtype=np.int64)), 50)
    assert 0.2 < np.mean(epochs == first) < 0.5
    for row in range(20):
        assert epochs[row] in CURVES[row].mjd[CURVES[row].detected]


def test_random_windows_end_anywhere_once_one_is_full_and_with_the_last_detection_of_a_shorter_life() -> None:
    rng = np.random.default_rng(0)
    first, last = CURVES.first_detection_mjd(), CURVES.last_detection_mjd()
    days = float((last - first).max()) / 2
    ends = np.stack([views.random_window(CURVES, rng, days) for _ in range(200)])
    short = last - first <= days
    assert 0 < short.sum() < len(short)
    np.testing.assert_array_equal(ends[:, short], np.tile(last[short], (200, 1)))
    share = (ends - first - days)[:, ~short] / (last - first - days)[~short]
    assert share.min() >= 0
    assert share.max() <= 1
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=0.1)


def test_mask_temporal_augmentation_cuts_at_8_128_and_2048_days_after_the_first_alert() -> None:
    epochs = np.stack([views.random_mta(CURVES, np.random.default_rng(seed))[0] for seed in range(40)])
    days = epochs - CURVES.first_alert_mjd
    lasting = CURVES.last_detection_mjd() - CURVES.first_alert_mjd
    for cut in (8, 128):
        assert np.isclose(days, np.minimum(cut, lasting)).any(axis=0).all()
    assert (np.isclose(days, 8) | np.isclose(days, 128) | np.isclose(days, lasting)).all()


def test_an_object_that_was_never_detected_has_no_alert() -> None:
    undetected = CURVES.where(~CURVES.detected)
    with pytest.raises(ValueError, match="never an alert"):
        views.random_alert(undetected, np.random.default_rng(0))


def test_augmentation_of_zero_changes_nothing_and_detections_are_never_dropped() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(Augmentation()(CURVES, rng).flux, CURVES.flux)
    varied = Augmentation(flux=0.2, noise=1.0, sparsity=0.9)(CURVES, rng)
    assert varied.detected.sum() == CURVES.detected.sum()
    assert len(varied.mjd) < len(CURVES.mjd)
    assert (varied.flux_err > 0).all()

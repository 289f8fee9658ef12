"""The moments at which a light curve is cut for training and evaluation, its features there, and how it is varied."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from models.arrays import FloatArray
from models.atat import ATATConfig
from models.inputs.light_curve import LightCurves
from models.inputs.table import ALL_COLUMNS, FloatTable
from tests.training import objects
from training.data import views
from training.data.augmentation import Augmentation
from training.data.layout import Objects
from training.draws import Draws, Tables
from training.experiment import Experiment, TrainingConfig
from training.features import FeatureTable
from training.validation import views_of


def _made() -> Objects:
    """Objects of which most outlast the second of MTA_DAYS, and none the model's window; their errors differ."""
    made = objects.make(200)
    curves = made.light_curves
    flux_err = np.random.default_rng(1).uniform(2, 9, len(curves.mjd)).astype(np.float32)
    varied = replace(curves, mjd=60_000.0 + 3 * (curves.mjd - 60_000.0), flux_err=flux_err)
    return replace(made, light_curves=replace(varied, first_alert_mjd=varied.first_detection_mjd()))


OBJECTS = _made()
CURVES = OBJECTS.light_curves
SHAPE = ATATConfig(n_classes=2, metadata_columns=(), feature_columns=("n_points_u", "n_points_g"))


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


def _telling() -> Tables:
    """Of each object and length two features: the object's row, and the length itself."""
    n, places, parts = len(OBJECTS), [ALL_COLUMNS.index(name) for name in SHAPE.feature_columns], []
    for days in np.array(views.MTA_DAYS, dtype=np.float32):
        columns = np.zeros((n, len(ALL_COLUMNS)), dtype=np.float32)
        columns[:, places] = np.stack([np.arange(n), np.full(n, days)], axis=1)
        parts.append(FeatureTable(OBJECTS.object_id, OBJECTS.class_id, OBJECTS.split, np.full(n, days), columns))
    return Tables(FeatureTable.joined(parts), OBJECTS, SHAPE)


def _cut_as_told(curves: LightCurves, table: FloatTable) -> FloatArray:
    """The lengths (N,) that features tell of, once each light curve is seen to be its object's, cut so."""
    row, days = table[:, 0].astype(np.int64), table[:, 1].astype(np.float64)
    whole = CURVES.take(row)
    expected = whole.until(views.days_after_first_alert(whole, days), window_days=SHAPE.window_days)
    np.testing.assert_array_equal(curves.lengths, expected.lengths)
    np.testing.assert_array_equal(curves.mjd, expected.mjd)
    return days


@pytest.mark.parametrize("crops", ["mta", "none"])
def test_a_draws_features_are_those_of_its_light_curve_as_cut(crops: Literal["mta", "none"]) -> None:
    config = TrainingConfig(batch_size=900, crops=crops, full=0.4)
    labels = (OBJECTS.class_id == objects.VARIABLE).astype(np.int64)
    drawn = Draws(Experiment("toy", "1", training=config), SHAPE, OBJECTS, labels, tables=_telling()).step(0)
    shares = {days: np.mean(_cut_as_told(drawn.light_curves, drawn.table) == days) for days in views.MTA_DAYS}
    expected = {8.0: 0.2, 128.0: 0.2, 2048.0: 0.6} if crops == "mta" else {8.0: 0.0, 128.0: 0.0, 2048.0: 1.0}
    assert shares == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("crops", "lengths"), [("mta", (8.0, 128.0, 2048.0)), ("none", (2048.0,))])
def test_objects_to_validate_on_have_the_features_of_each_length(
    crops: Literal["mta", "none"], lengths: tuple[float, ...]
) -> None:
    found = dict(views_of(OBJECTS, SHAPE, TrainingConfig(crops=crops), _telling()))
    assert list(found) == [f"{days:.0f} days" for days in lengths]
    for days, view in zip(lengths, found.values(), strict=True):
        np.testing.assert_array_equal(view.table[:, 0], np.arange(len(OBJECTS)))
        assert (_cut_as_told(view.light_curves, view.table) == days).all()


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


def _of_each(curves: LightCurves, values: FloatArray) -> FloatArray:
    """The value (N,) that all points (P,) of a light curve share."""
    own = values[curves.offsets[:-1]]
    np.testing.assert_allclose(values, np.repeat(own, curves.lengths), rtol=1e-6)
    return own


def test_a_fainter_object_has_errors_as_much_smaller() -> None:
    varied = Augmentation(flux=0.2)(CURVES, np.random.default_rng(0))
    np.testing.assert_allclose(varied.flux / varied.flux_err, CURVES.flux / CURVES.flux_err, rtol=1e-6)
    factor = _of_each(CURVES, varied.flux_err.astype(np.float64) / CURVES.flux_err)
    assert np.log(factor).mean() == pytest.approx(0, abs=0.05)
    assert np.log(factor).std() == pytest.approx(0.2, rel=0.15)


def test_noise_is_added_that_the_errors_know_of() -> None:
    """Of a share s of a point's error, one an object: the two together are sqrt(1 + s^2) of it."""
    varied = Augmentation(noise=0.8)(CURVES, np.random.default_rng(0))
    grown = varied.flux_err.astype(np.float64) / CURVES.flux_err
    squares = _of_each(CURVES, grown) ** 2 - 1
    assert squares.max() <= 0.8**2
    assert squares.mean() == pytest.approx(0.8**2 / 3, abs=0.04)
    told = grown > 1.01  # what is less is lost in rounding
    added = ((varied.flux.astype(np.float64) - CURVES.flux) / CURVES.flux_err)[told] / np.sqrt(grown[told] ** 2 - 1)
    assert added.mean() == pytest.approx(0, abs=0.05)
    assert added.std() == pytest.approx(1, abs=0.05)

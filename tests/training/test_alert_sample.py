"""Which alerts are looked at: a few of each object, by what they carry, the same for everybody."""

import numpy as np

from models.inputs.light_curve import LightCurves
from tests.training import objects
from training.data.alert_sample import BINS, AlertSample, bin_of


def _curve(days: list[float], detected: list[bool]) -> LightCurves:
    return LightCurves(
        offsets=np.array([0, len(days)]),
        first_alert_mjd=np.array([60_000.0 + days[detected.index(True)]]),
        mjd=60_000.0 + np.array(days),
        band=np.zeros(len(days), dtype=np.int8),
        flux=np.ones(len(days), dtype=np.float32),
        flux_err=np.ones(len(days), dtype=np.float32),
        detected=np.array(detected),
    )


def test_bins_are_those_of_the_report() -> None:
    assert [BINS[place] for place in bin_of(np.array([1, 2, 3, 5, 6, 20, 21, 900]))] == [
        *("1", "2", "3-5", "3-5", "6-20", "6-20", "> 20", "> 20")
    ]


def test_detections_count_that_an_alert_still_carries() -> None:
    curve = _curve([0, 1, 2, 500, 501], [True, False, True, True, True])
    sample = AlertSample.draw(np.array([7]), curve, per_bin=9)
    by_epoch = dict(zip((sample.epoch - 60_000).tolist(), sample.detections.tolist(), strict=True))
    assert by_epoch == {0: 1, 2: 2, 500: 1, 501: 2}


def test_the_sample_stands_for_every_alert() -> None:
    data = objects.make(40)
    sample = AlertSample.draw(data.object_id, data.light_curves)
    assert sample.weight.sum() == data.light_curves.detected.sum()
    each = sample.row * len(BINS) + bin_of(sample.detections)
    assert len(np.unique(each)) == len(each)
    assert (np.diff(sample.row) >= 0).all()


def test_an_object_gives_the_same_alerts_whatever_is_beside_it() -> None:
    data = objects.make(40)
    whole = AlertSample.draw(data.object_id, data.light_curves)
    some = data.take(np.array([31, 4, 17]))
    part = AlertSample.draw(some.object_id, some.light_curves)
    for place, row in enumerate((31, 4, 17)):
        np.testing.assert_array_equal(part.epoch[part.row == place], whole.epoch[whole.row == row])


def test_any_alert_of_a_bin_may_be_chosen() -> None:
    lengths = [20] * 300
    curve = _curve([float(day) for day in range(20)], [True] * 20).take(np.zeros(len(lengths), dtype=np.int64))
    sample = AlertSample.draw(np.arange(1, 301) * 13, curve)
    of_many = sample.detections[bin_of(sample.detections) == 3]
    assert len(of_many) == 300
    assert np.bincount(of_many, minlength=21)[6:].min() > 5  # 20 each on average

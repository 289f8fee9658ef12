"""Merging, the two clocks, and what was known when."""

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.inputs.light_curve import WINDOW_DAYS, LightCurves, merged
from tests import alerts
from tests.alerts import FIRST_MJD, batch, elasticc, forced, rubin, rubin_point, source


def _same(first: LightCurves, second: LightCurves) -> None:
    for name in ("offsets", "first_alert_mjd", "mjd", "band", "flux", "flux_err", "detected"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_a_visit_in_both_lists_counts_once_as_detected() -> None:
    record = elasticc(
        source(3, FIRST_MJD),
        previous=[source(1, FIRST_MJD - 5)],
        forced=[forced(1, FIRST_MJD - 5, flux=1000), forced(2, FIRST_MJD - 7)],
    )
    curve = merged(batch(record))[0]
    assert curve.mjd.tolist() == [FIRST_MJD - 7, FIRST_MJD - 5, FIRST_MJD]
    assert curve.detected.tolist() == [False, True, True]


def test_ids_of_detections_and_forced_photometry_are_apart() -> None:
    curve = merged(batch(rubin(prvDiaForcedSources=[rubin_point(100, FIRST_MJD - 3)])))[0]
    assert curve.detected.tolist() == [False, True]


def test_conflicting_values_for_one_id_go_to_the_trigger() -> None:
    record = elasticc(source(1, FIRST_MJD, flux=500), previous=[source(1, FIRST_MJD - 1, flux=900)])
    curve = merged(batch(record))[0]
    assert curve.mjd.tolist() == [FIRST_MJD]


def test_two_bands_at_one_time_are_two_observations() -> None:
    record = elasticc(source(1, FIRST_MJD, band="g"), previous=[source(2, FIRST_MJD, band="r")])
    assert merged(batch(record)).lengths.tolist() == [2]


@given(alerts.records, st.randoms())
def test_the_order_of_a_packet_does_not_matter(record: alerts.Record, random: Random) -> None:
    shuffled = record | {}
    for name in ("prvDiaSources", "prvDiaForcedSources"):
        shuffled[name] = list(record[name])
        random.shuffle(shuffled[name])
    _same(merged(batch(record)), merged(batch(shuffled)))


@given(alerts.records)
def test_light_curves_are_sorted_by_time(record: alerts.Record) -> None:
    curve = merged(batch(record))[0]
    assert (np.diff(curve.mjd) >= 0).all()


def test_time_starts_at_the_first_point_and_the_other_clock_at_the_first_alert() -> None:
    curves = merged(batch(elasticc(forced=[forced(1, FIRST_MJD - 20)]), elasticc()))
    assert curves.time.tolist() == [0.0, 20.0, 0.0]
    assert curves.days_since_first_alert.tolist() == [-20.0, 0.0, 0.0]


@given(alerts.records, st.floats(0, 70))
def test_later_points_do_not_change_what_was_known(record: alerts.Record, days: float) -> None:
    curves = merged(batch(record))
    epoch = np.array([FIRST_MJD + days])
    later = curves.mjd > epoch[0]
    changed = replace(curves, flux=np.where(later, -curves.flux, curves.flux), detected=curves.detected | later)
    _same(curves.until(epoch), changed.until(epoch))


def test_nothing_older_than_the_window_or_than_30_days_before_the_first_detection_is_used() -> None:
    record = elasticc(
        source(9, FIRST_MJD),
        previous=[source(1, FIRST_MJD - 396), source(2, FIRST_MJD - 300)],
        forced=[forced(3, FIRST_MJD - 335), forced(4, FIRST_MJD - 329), forced(5, FIRST_MJD - 1)],
    )
    curve = merged(batch(record)).until(np.array([FIRST_MJD]))[0]
    assert WINDOW_DAYS == 395
    assert (curve.mjd - FIRST_MJD).tolist() == [-329, -300, -1, 0]


def test_how_far_back_is_looked_is_the_models_choice() -> None:
    record = elasticc(
        source(9, FIRST_MJD),
        previous=[source(1, FIRST_MJD - 51), source(2, FIRST_MJD - 40)],
        forced=[forced(3, FIRST_MJD - 52), forced(4, FIRST_MJD - 50), forced(5, FIRST_MJD - 1)],
    )
    curves, epoch = merged(batch(record)), np.array([FIRST_MJD])
    for known in (curves.until(epoch, window_days=50), curves.as_sent(epoch, window_days=50)):
        assert (known.mjd - FIRST_MJD).tolist() == [-50, -40, -1, 0]


def test_an_alert_younger_than_half_a_day_is_sent_without_forced_photometry() -> None:
    record = elasticc(
        source(9, FIRST_MJD + 3),
        previous=[source(1, FIRST_MJD)],
        forced=[forced(3, FIRST_MJD - 3), forced(4, FIRST_MJD + 1)],
    )
    curves = merged(batch(record))
    assert curves.as_sent(np.array([FIRST_MJD + 0.4])).lengths.tolist() == [1]
    assert curves.as_sent(np.array([FIRST_MJD + 3.0])).lengths.tolist() == [4]


def test_rows_can_be_taken_in_any_order_and_twice() -> None:
    curves = merged(batch(elasticc(previous=[source(1, FIRST_MJD - 1)]), elasticc()))
    taken = curves.take(np.array([1, 0, 1]))
    assert taken.lengths.tolist() == [1, 2, 1]
    assert taken[1].mjd.tolist() == curves[0].mjd.tolist()


def test_thinning_keeps_both_ends_and_spreads_the_rest_evenly() -> None:
    rng = np.random.default_rng(0)
    curves = merged(alerts.batch(*(alerts.random_elasticc(rng, n, alert_id=n) for n in (1, 5, 40))))
    thinned = curves.thinned(7)
    assert thinned.lengths.tolist() == np.minimum(curves.lengths, 7).tolist()
    for row in range(len(curves)):
        kept = np.searchsorted(curves[row].mjd, thinned[row].mjd)
        np.testing.assert_array_equal(curves[row].flux[kept], thinned[row].flux)
        n = len(curves[row].mjd)
        np.testing.assert_array_equal(kept, np.rint(np.linspace(0, n - 1, min(n, 7))))
    np.testing.assert_array_equal(thinned.thinned(7).mjd, thinned.mjd)
    assert curves.thinned(None) is curves

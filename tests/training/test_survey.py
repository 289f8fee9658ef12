"""The simulated survey: reproducible, by ELAsTiCC's rules, and such that an astronomer would not laugh."""

import collections
import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from models.arrays import FloatArray
from models.inputs import avro, ragged
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch, by_object, concatenated
from models.inputs.light_curve import merged
from models.inputs.metadata import COLUMNS
from training.__main__ import main
from training.data import layout
from training.survey import alerts, cadence, cosmology, photometry, survey
from training.survey.cadence import SightLine
from training.survey.classes import CLASSES, active, core_collapse, pulsating, thermonuclear
from training.survey.classes.source import Source
from training.survey.spectra import WAVELENGTHS
from training.survey.survey import Simulated

STARS = (2233, 2234, 2235, 2322, 2323, 2324, 2325)
G, R = 1, 2


@pytest.fixture(scope="module")
def few() -> Simulated:
    """Twenty objects."""
    (simulated,) = survey.simulate(20, seed=3)
    return simulated


@pytest.fixture(scope="module")
def many() -> Simulated:
    """Three hundred, for shares."""
    (simulated,) = survey.simulate(300, seed=8)
    return simulated


@pytest.fixture(scope="module")
def sent(few: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with their alerts."""
    directory = tmp_path_factory.mktemp("alerts") / "night"
    alerts.write(directory, alerts.stream([few]))
    return directory


@pytest.fixture(scope="module")
def decoded(sent: Path) -> AlertBatch:
    """Their alerts, as a broker reads them."""
    return concatenated(list(_batches(sent)))


def _batches(directory: Path) -> Iterator[AlertBatch]:
    for path in sorted(directory.glob("*.avro")):
        batch = alert_batch(list(avro.readings(path.read_bytes())))
        assert not batch.invalid
        yield batch.alerts


def _nightly(band: int, *, days: float = 1500.0, step: float = 1.0) -> SightLine:
    """A sight line that is looked at all the time, in one band."""
    mjd = np.arange(60_000.0, 60_000.0 + days, step)
    return SightLine(0.0, -30.0, -60.0, mjd, np.full(len(mjd), band, dtype=np.int8), np.full(len(mjd), 24.0))


def _same(one: Simulated, two: Simulated) -> bool:
    arrays = [
        (of.split, of.fold, of.metadata, lc.offsets, lc.mjd, lc.band, lc.flux, lc.flux_err, lc.detected)
        for of, lc in ((part.objects, part.objects.light_curves) for part in (one, two))
    ]
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(*arrays, strict=True))


# --- objects ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_objects_on_any_number_of_processes() -> None:
    alone = list(survey.simulate(20, seed=5, shard_size=7))
    together = list(survey.simulate(20, seed=5, shard_size=7, processes=2))
    assert all(_same(one, two) for one, two in zip(alone, together, strict=True))
    (other,) = survey.simulate(7, seed=6)
    assert not np.array_equal(alone[0].objects.light_curves.mjd, other.objects.light_curves.mjd)


def test_an_object_does_not_depend_on_how_many_are_made(few: Simulated) -> None:
    (fewer,) = survey.simulate(4, seed=3)
    first = few.objects.take(np.arange(4))
    assert _same(fewer, Simulated(first, few.ra[:4], few.dec[:4]))


def test_every_object_is_found_and_kept_from_30_days_before_its_first_detection_to_its_last(few: Simulated) -> None:
    curves = few.objects.light_curves
    assert (curves.first_alert_mjd == curves.first_detection_mjd()).all()
    more = np.array([not CLASSES[class_id].once for class_id in few.objects.class_id.tolist()])
    assert ((curves.last_detection_mjd() - curves.first_alert_mjd)[more] * 24 * 60 > 30).all()
    for row in range(len(curves)):
        curve = curves[row]
        assert curve.detected[-1]
        assert curve.mjd[0] >= curves.first_alert_mjd[row] - 30
        assert (np.diff(curve.mjd) >= 0).all()
        assert (curve.flux_err > 0).all()


def test_a_host_is_known_for_what_has_one_and_for_no_star(many: Simulated) -> None:
    metadata = many.objects.metadata
    is_star = np.isin(many.objects.class_id, STARS)
    column = {name: metadata[:, COLUMNS.index(name)] for name in COLUMNS}
    assert is_star.any()
    assert {name for name in COLUMNS if not np.isnan(column[name][is_star]).all()} == {"mwebv", "mwebv_err"}
    assert np.isfinite(column["hostgal_zphot"][~is_star]).mean() > 0.8
    assert np.isfinite(column["mwebv"]).all()


def test_the_final_redshift_is_the_catalogues_never_the_drawn_one(many: Simulated) -> None:
    metadata = many.objects.metadata.astype(np.float64)
    z_final, spectroscopic, photometric = (
        metadata[:, COLUMNS.index(name)] for name in ("z_final", "hostgal_zspec", "hostgal_zphot")
    )
    np.testing.assert_array_equal(z_final, np.where(np.isfinite(spectroscopic), spectroscopic, photometric))
    assert np.isfinite(spectroscopic).any()


# --- physics ---------------------------------------------------------------------------------------------------


def test_distances_are_those_of_the_concordance_universe() -> None:
    for z in (0.1, 0.5, 1.0, 3.0):
        integral, _ = quad(lambda x: (0.3 * (1 + x) ** 3 + 0.7) ** -0.5, 0, z)
        megaparsec = (1 + z) * 299_792.458 / 70 * integral
        assert cosmology.distance_modulus(z) == pytest.approx(5 * np.log10(megaparsec) + 25, abs=1e-4)


def _magnitude_of(flux: FloatArray) -> FloatArray:
    return photometry.magnitude_of(flux)


def _absolute(source: Source) -> FloatArray:
    """Absolute magnitudes of the lit visits, at the wavelength the light left with."""
    assert source.redshift is not None
    apparent = _magnitude_of(source.flux[source.flux > 0])
    return np.asarray(apparent - cosmology.distance_modulus(source.redshift) + 2.5 * np.log10(1 + source.redshift))


def _whole(source: Source, line: SightLine) -> bool:
    """Whether maximum lies well inside the survey and the source is near enough for its own V in the r band."""
    peak = source.visits.mjd[np.argmax(source.flux)]
    return source.redshift is not None and source.redshift < 0.35 and line.mjd[0] + 60 < peak < line.mjd[-1] - 60


def test_type_ia_peaks_near_minus_19_and_fades_by_a_magnitude_in_15_days() -> None:
    rng, line = np.random.default_rng(0), _nightly(R)
    drawn = [source for source in (thermonuclear.type_ia(rng, line) for _ in range(3000)) if _whole(source, line)]
    peaks = np.array([_absolute(source).min() for source in drawn])
    assert np.median(peaks) == pytest.approx(-19.3, abs=0.25)
    assert ((peaks > -20.3) & (peaks < -17.5)).all()
    # Delta m15 in B: 1.1 for the mean.
    days = np.array([0.0, 15.0])
    faded = thermonuclear.magnitude(days, np.full(2, 4400.0), x1=0.0, colour=0.0)
    assert faded[1] - faded[0] == pytest.approx(1.1, abs=0.15)


def test_type_ii_is_fainter_and_most_stay_bright_for_two_months() -> None:
    rng, line = np.random.default_rng(0), _nightly(R)
    drawn = [source for source in (core_collapse.type_ii(rng, line) for _ in range(3000)) if _whole(source, line)]
    curves = [_absolute(source) for source in drawn]
    peaks = np.array([curve.min() for curve in curves])
    assert np.median(peaks) == pytest.approx(-16.9, abs=0.4)
    within_a_magnitude = np.array([np.sum(curve < peak + 1) for curve, peak in zip(curves, peaks, strict=True)])
    assert 50 < np.median(within_a_magnitude) < 130


def test_rr_lyrae_have_their_periods_and_amplitudes() -> None:
    rng, line = np.random.default_rng(0), _nightly(G, days=20, step=0.002)
    for _ in range(60):
        source = pulsating.rr_lyrae(rng, line)
        light = source.flux + source.steady[G]
        magnitudes = _magnitude_of(light)
        rises = np.sum((light[:-1] < light.mean()) & (light[1:] >= light.mean()))
        assert 0.2 < 20 / rises < 1.0
        assert 0.2 < np.ptp(magnitudes) < 1.6
        assert abs(source.flux.mean()) < 0.4 * light.mean()


def test_a_damped_random_walk_has_unit_variance_and_forgets_exponentially() -> None:
    rng = np.random.default_rng(0)
    days = np.sort(rng.uniform(0, 1000, 40))
    walks = np.array([active.damped_walk(rng, days, 100.0) for _ in range(8000)])
    expected = np.exp(-np.abs(days[:, None] - days) / 100.0)
    assert np.abs(walks.T @ walks / len(walks) - expected).max() < 0.08


def test_an_agn_varies_by_some_tenths_more_in_the_blue() -> None:
    rng = np.random.default_rng(0)
    deviations = np.array([active._variability(rng, -23.0, 1.0)[1] for _ in range(200)])
    assert 0.05 < np.median(deviations[:, R]) < 0.4
    assert (deviations[:, G] > deviations[:, R]).all()
    assert len(WAVELENGTHS) == deviations.shape[1]


def test_half_are_detected_at_about_five_times_the_noise() -> None:
    chances = photometry.detection_probability(np.array([-4.8, 0.0, 4.8, 9.0]))
    assert chances.tolist() == pytest.approx([0.5, 0.0, 0.5, 1.0], abs=2e-3)


def test_the_shipped_cadence_is_three_years_in_every_band() -> None:
    shipped = cadence.load()
    assert shipped.end - shipped.begin == pytest.approx(3 * 365, abs=5)
    for line in shipped.wide + shipped.deep:
        assert 150 < len(line.mjd) < alerts.SOURCES_PER_OBJECT
        assert set(line.band.tolist()) == set(range(6))
    assert cadence.VISITS.stat().st_size < 3_000_000


# --- alerts ----------------------------------------------------------------------------------------------------


def test_every_detection_is_an_alert_and_they_come_in_time_order(
    few: Simulated, decoded: AlertBatch, sent: Path
) -> None:
    assert len(decoded) == few.objects.light_curves.detected.sum()
    assert (np.diff(decoded.epoch) >= 0).all()
    assert len(set(decoded.alert_id.tolist())) == len(decoded)
    np.testing.assert_array_equal(decoded.alert_id, decoded.dia_source_id)
    with (sent / "truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    assert [int(row["alertId"]) for row in truth] == decoded.alert_id.tolist()
    classes = dict(zip(few.objects.object_id.tolist(), few.objects.class_id.tolist(), strict=True))
    assert all(classes[int(row["diaObjectId"])] == int(row["classId"]) for row in truth)


def test_alerts_carry_what_elasticcs_do(few: Simulated, decoded: AlertBatch) -> None:
    curves = few.objects.light_curves
    first = dict(zip(few.objects.object_id.tolist(), curves.first_alert_mjd.tolist(), strict=True))
    for row in range(len(decoded)):
        alert = decoded[row]
        young = alert.epoch - first[alert.dia_object_id] < 0.5
        assert (len(alert.mjd) == 1) == (alert.epoch == first[alert.dia_object_id])
        assert not (young and not alert.detected.all())
        assert alert.mjd.max() == alert.epoch
        assert alert.epoch - alert.mjd.min() <= 398
        assert alert.epoch - alert.mjd[alert.detected].min() <= 365
        assert len({*zip(alert.source_id.tolist(), alert.detected.tolist(), strict=True)}) == len(alert.mjd)


def test_forced_photometry_repeats_earlier_detections_under_the_same_id(decoded: AlertBatch) -> None:
    shared = 0
    for row in range(len(decoded)):
        alert = decoded[row]
        forced = {id_: at for at, id_ in enumerate(alert.source_id.tolist()) if not alert.detected[at]}
        for at in np.flatnonzero(alert.detected)[1:] if forced else ():
            again = forced[int(alert.source_id[at])]
            assert (alert.mjd[again], alert.flux[again]) == (alert.mjd[at], alert.flux[at])
            shared += 1
    assert shared


def test_an_objects_alerts_together_are_its_stored_light_curve(few: Simulated, decoded: AlertBatch) -> None:
    rows = by_object(decoded)
    assert rows.dia_object_id.tolist() == few.objects.object_id.tolist()
    together, stored = merged(rows), few.objects.light_curves
    whole = 0
    for row in range(len(stored)):
        sent, kept = together[row], stored[row]
        epochs = kept.mjd[kept.detected]
        # Forced photometry comes half a day later, and no alert reaches across a year without a detection.
        if epochs[-1] - epochs[0] < 0.5 or np.diff(epochs).max() > 365:
            assert set(sent.mjd.tolist()) <= set(kept.mjd.tolist())
            continue
        whole += 1
        np.testing.assert_array_equal(sent.mjd, kept.mjd)
        np.testing.assert_array_equal(sent.band, kept.band)
        np.testing.assert_array_equal(sent.detected, kept.detected)
        np.testing.assert_allclose(sent.flux, kept.flux, rtol=1e-6)
        np.testing.assert_allclose(sent.flux_err, kept.flux_err, rtol=1e-6)
    assert whole > len(stored) / 2


def test_metadata_survives_the_wire_and_what_is_missing_stays_missing(few: Simulated, decoded: AlertBatch) -> None:
    rows = by_object(decoded)
    np.testing.assert_array_equal(rows.metadata, few.objects.metadata)
    assert rows.has_metadata.all()


def test_supernova_alerts_are_as_short_as_real_ones(data: Path) -> None:
    # Of all real alerts 30 % hold one point, but most are chosen for being young; one file set is a whole night.
    with gzip.open(data / "elasticc" / "truth.csv.gz", "rt") as file:
        night = [row for row in csv.DictReader(file) if row["source"] == "finktut" and row["gentype"] != "37"]
    real = np.array([int(row["n_det"]) for row in night])
    (simulated,) = survey.simulate(1000, seed=1)
    supernovae = simulated.objects.where(np.isin(simulated.objects.class_id, (2222, 2224)))
    numbers = [np.arange(1, count + 1) for count in supernovae.light_curves.detections.tolist()]
    made = np.concatenate(numbers)
    assert np.mean(made == 1) == pytest.approx(np.mean(real == 1), abs=0.08)
    assert np.median(made) == pytest.approx(np.median(real), rel=0.4)


_AGES = (0.0, 1e-9, 0.5, 5.0, 20.0, 60.0, 150.0)
"""Days since the first detection that part alerts by age: the first one alone, the same night, and so on."""


def _shares_by_age(alerts_: AlertBatch) -> dict[float, tuple[float, float]]:
    """By age, the share of alerts that hold one point, and of those without forced photometry."""
    first = ragged.first_per_row(alerts_.offsets, alerts_.mjd, alerts_.detected)
    age = np.digitize(alerts_.epoch - first, _AGES) - 1
    is_one = np.diff(alerts_.offsets) == 1
    row = ragged.row_of_each(alerts_.offsets)
    forced_free = np.bincount(row, weights=~alerts_.detected, minlength=len(alerts_)) == 0
    return {
        _AGES[bin_]: (float(is_one[age == bin_].mean()), float(forced_free[age == bin_].mean()))
        for bin_ in np.unique(age)
    }


def test_by_age_as_many_alerts_hold_one_point_or_no_forced_photometry_as_of_the_real_ones(data: Path) -> None:
    paths = sorted((data / "elasticc" / "alerts").glob("finktut*.avro"))
    real = concatenated([alert_batch(list(avro.readings(path.read_bytes()))).alerts for path in paths])
    (simulated,) = survey.simulate(300, seed=4)
    rows = np.isin(simulated.objects.class_id, (2221, 2222, 2224))
    supernovae = Simulated(simulated.objects.where(rows), simulated.ra[rows], simulated.dec[rows])
    made = alert_batch([{"v0_9_1": sent.record} for sent in alerts.stream([supernovae])]).alerts
    ours, theirs = _shares_by_age(made), _shares_by_age(real)
    assert ours.keys() >= {0.0, 1e-9, 0.5, 5.0, 20.0, 60.0}
    for age in ours.keys() & theirs.keys():
        assert ours[age] == pytest.approx(theirs[age], abs=0.02), age


def test_light_curves_as_sent_are_what_packets_carry_of_objects_younger_than_a_year(
    few: Simulated, decoded: AlertBatch
) -> None:
    curves = few.objects.light_curves
    row = np.searchsorted(few.objects.object_id, decoded.dia_object_id)
    assert (few.objects.object_id[row] == decoded.dia_object_id).all()
    young = np.flatnonzero(decoded.epoch - curves.first_detection_mjd()[row] < alerts.SOURCE_DAYS)
    assert len(young) > 200
    known = curves.take(row[young]).as_sent(decoded.epoch[young])
    packets = merged(decoded.take(young)).until(decoded.epoch[young])
    assert known.lengths.tolist() == packets.lengths.tolist()
    for place in range(len(young)):
        one, other = known[place], packets[place]
        order, same = np.lexsort((one.band, one.mjd)), np.lexsort((other.band, other.mjd))
        np.testing.assert_allclose(one.mjd[order], other.mjd[same], atol=1e-6)
        np.testing.assert_array_equal(one.detected[order], other.detected[same])
        np.testing.assert_allclose(one.flux[order], other.flux[same], rtol=1e-5)


# --- the command -----------------------------------------------------------------------------------------------


def test_the_command_writes_the_layout(tmp_path: Path) -> None:
    output = tmp_path / "set"
    assert main(["simulate", "--objects", "12", "--seed", "3", "--output", str(output)]) == 0
    read = layout.read(output)
    assert len(read) == 12
    assert set(read.source.tolist()) == {"simulated"}
    assert len(collections.Counter(read.class_id.tolist())) > 1


def test_the_command_writes_alerts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["simulate", "--objects", "2", "--seed", "1", "--output", str(tmp_path / "night"), "--alerts"]
    assert main(command) == 0
    assert sum(map(len, _batches(tmp_path / "night"))) > 2
    assert main(command) == 1
    assert "already holds alerts" in capsys.readouterr().err


def test_a_count_that_makes_no_sense_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["simulate", "--objects", "0", "--output", "nowhere"])
    assert exit_.value.code == 2
    assert "0 is not from 1 to" in capsys.readouterr().err

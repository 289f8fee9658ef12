"""What of an alert survives decoding, and what costs it."""

import math
from typing import Any

import numpy as np
import pytest

from models.inputs import metadata
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import NO_ALERT, NO_OBJECT, by_object
from tests import alerts
from tests.alerts import FIRST_MJD, batch, elasticc, forced, rubin, rubin_point, source


def test_fluxes_become_fluxcal() -> None:
    alert = batch(elasticc(source(1, FIRST_MJD, flux=36.3078, flux_err=3.63078)))[0]
    np.testing.assert_allclose([alert.flux[0], alert.flux_err[0]], [1.0, 0.1], rtol=1e-5)


def test_both_surveys_spell_the_same_alert() -> None:
    ours = batch(elasticc(previous=[source(99, FIRST_MJD - 2, band="Y")], forced=[forced(3, FIRST_MJD - 4)]))[0]
    theirs = batch(
        rubin(
            prvDiaSources=[rubin_point(99, FIRST_MJD - 2, band="y")],
            prvDiaForcedSources=[rubin_point(3, FIRST_MJD - 4, psfFlux=10.0)],
        )
    )[0]
    for name in ("dia_source_id", "dia_object_id", "epoch", "mjd", "band", "flux", "flux_err", "detected", "source_id"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert theirs.alert_id == theirs.dia_source_id
    assert ours.has_metadata
    assert not theirs.has_metadata


def test_every_way_to_write_missing_becomes_nan() -> None:
    written = (-9.0, -99.0, -999.0, -9999.0, 999.0, -9.008, None, math.nan, math.inf)
    names = metadata.COLUMNS[: len(written)]
    alert = batch(elasticc(object_=alerts.dia_object() | dict(zip(names, written, strict=True))))[0]
    assert np.isnan(alert.metadata[: len(written)]).all()
    assert not np.isnan(batch(elasticc(object_=alerts.dia_object(mwebv=0.0)))[0].metadata[0])


def test_metadata_are_the_64_columns_without_ids_and_coordinates() -> None:
    assert len(metadata.COLUMNS) == len(set(metadata.COLUMNS)) == 64
    assert not [name for name in metadata.COLUMNS if name.endswith(("_ra", "_dec", "decl", "Id", "simVersion"))]


def test_older_names_fill_the_columns_of_today() -> None:
    old = {"diaObjectId": 7, "mwebv": 0.1, "hostgal_z": 0.4, "hostgal_zphot_q50": 0.5, "hostgal2_zphot_p50": 0.6}
    row = batch(elasticc(object_=old))[0].metadata
    for name, value in {"hostgal_zspec": 0.4, "hostgal_zphot_q050": 0.5, "hostgal2_zphot_q050": 0.6}.items():
        assert row[metadata.COLUMNS.index(name)] == np.float32(value)


def test_a_null_object_leaves_an_alert_without_metadata() -> None:
    alert = batch(elasticc(object_=None))[0]
    assert alert.dia_object_id == 7
    assert not alert.has_metadata
    assert np.isnan(alert.metadata).all()


@pytest.mark.parametrize("id_", [0, None])
def test_object_zero_and_null_are_no_object(id_: int | None) -> None:
    alert = batch(rubin(rubin_point(1, FIRST_MJD, diaObjectId=id_), diaObject=None))[0]
    assert alert.dia_object_id == NO_OBJECT


def test_a_flux_of_zero_is_an_observation_and_null_is_not() -> None:
    previous = [
        rubin_point(1, FIRST_MJD - 1, psfFlux=0.0),
        rubin_point(2, FIRST_MJD - 2, psfFlux=None),
        rubin_point(3, FIRST_MJD - 3, psfFlux=math.nan),
        rubin_point(4, FIRST_MJD - 4, psfFluxErr=None),
        rubin_point(5, FIRST_MJD - 5, band=None),
    ]
    assert batch(rubin(prvDiaSources=previous))[0].source_id.tolist() == [100, 1]


@pytest.mark.parametrize("flag", ["pixelFlags_saturated", "pixelFlags_saturatedCenter"])
def test_a_saturated_visit_is_dropped_with_its_forced_photometry(flag: str) -> None:
    alert = batch(
        rubin(
            prvDiaSources=[rubin_point(1, FIRST_MJD - 1, **{flag: True}), rubin_point(2, FIRST_MJD - 2)],
            prvDiaForcedSources=[rubin_point(3, FIRST_MJD - 1), rubin_point(4, FIRST_MJD - 2)],
        )
    )[0]
    assert alert.source_id.tolist() == [100, 2, 4]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (elasticc(source(1, FIRST_MJD, band="w")), "unknown band 'w'"),
        (elasticc(source(1, FIRST_MJD, flux=math.inf)), "flux that is not finite"),
        (elasticc(source(1, FIRST_MJD, flux=1e41)), "flux that is not finite"),
        (elasticc(source(1, FIRST_MJD, flux_err=0.0)), "error that is not positive"),
        (elasticc(source(1, FIRST_MJD, flux_err=-3.0)), "error that is not positive"),
        (elasticc(source(1, 2_460_000.5)), "time that no survey has"),
        (elasticc(source(1, math.nan)), "time that no survey has"),
        (elasticc(source(1, FIRST_MJD, flux=math.nan)), "no usable observation: 0 saturated, 1 without"),
        (rubin(rubin_point(1, FIRST_MJD, pixelFlags_saturated=True)), "no usable observation: 1 saturated"),
        (elasticc(source(1, FIRST_MJD, flux=1e30, flux_err=1e-30)), "flux that no telescope measures"),
        (elasticc(source(1, FIRST_MJD, flux_err=1e-30)), "flux error that no telescope has"),
        (elasticc(source(1, FIRST_MJD, flux_err=1e30)), "flux error that no telescope has"),
        (elasticc(source(2**70, FIRST_MJD)), "more than 64 bits"),
        (elasticc(source(NO_ALERT, FIRST_MJD)), "diaSourceId is below zero"),
        (elasticc(alert_id=NO_ALERT), "alertId is below zero"),
        (elasticc(object_=alerts.dia_object(-7)), "diaObjectId is below zero"),
        (elasticc(forced=[forced(-1, FIRST_MJD)]), "diaForcedSourceId is below zero"),
        ({"alertId": 1}, "no diaSource"),
        ({"diaSource": {"diaSourceId": 1}}, "no field 'psfFlux'"),
        (elasticc(source(1, FIRST_MJD) | {"psFlux": "bright"}), "could not convert"),
        (elasticc(object_=alerts.dia_object(mwebv="dusty")), "could not convert"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_alert_costs_itself_only_and_says_why(record: dict[str, Any], reason: str) -> None:
    good = elasticc(alert_id=8)
    decoded = alert_batch([{"test": good}, {"test": record}, {"test": good}])
    assert decoded.messages.tolist() == [0, 2]
    assert decoded.alerts.alert_id.tolist() == [8, 8]
    assert list(decoded.invalid) == [1]
    assert reason in str(decoded.invalid[1])


def test_no_messages_make_an_empty_batch() -> None:
    assert len(alert_batch([]).alerts) == 0


def test_a_datum_that_fits_two_schemas_asks_for_its_name() -> None:
    decoded = alert_batch([{"one": elasticc(), "another": elasticc(alert_id=2)}])
    assert "reads as one and as another" in str(decoded.invalid[0])
    implausible = elasticc(source(1, 12.0))
    assert alert_batch([{"one": elasticc(alert_id=5), "another": implausible}]).alerts.alert_id.tolist() == [5]
    assert alert_batch([{"one": elasticc(alert_id=5), "another": elasticc(alert_id=5)}]).alerts.alert_id.tolist() == [5]


def test_alerts_of_one_object_become_its_latest_with_every_point() -> None:
    early = elasticc(source(1, FIRST_MJD), alert_id=1)
    late = elasticc(source(2, FIRST_MJD + 5), forced=[forced(3, FIRST_MJD - 1)], alert_id=2)
    other = elasticc(source(9, FIRST_MJD), alert_id=3, object_=alerts.dia_object(4))
    rows = by_object(batch(early, other, late))
    assert rows.dia_object_id.tolist() == [4, 7]
    assert rows.alert_id.tolist() == [3, 2]
    assert rows[1].source_id.tolist() == [2, 3, 1]

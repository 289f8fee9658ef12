"""How far simulated objects are from real ones, and which real ones may be looked at."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.arrays import FloatArray, IntArray
from models.inputs.light_curve import FORCED_DAYS, LightCurves
from models.inputs.metadata import COLUMNS
from models.inputs.ragged import offsets_of
from tests.training.objects import TRANSIENT, VARIABLE, make
from training import compare
from training.__main__ import main
from training.data import layout, views
from training.data.layout import Objects
from training.data.splits import is_compared


def _columns(rng: np.random.Generator, n: int, shift: float = 0.0) -> dict[str, FloatArray]:
    return {"same": rng.standard_normal(n), "shifted": rng.standard_normal(n) + shift}


def _told(simulated: dict[str, FloatArray], real: dict[str, FloatArray]) -> compare.Verdict:
    verdict = compare.tell_apart(simulated, real, simulated_id=_apart(simulated))
    assert verdict is not None
    return verdict


def _apart(simulated: dict[str, FloatArray]) -> IntArray:
    """Each row of an object of its own."""
    return np.arange(len(next(iter(simulated.values()))))


def test_two_draws_of_one_kind_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    assert _told(_columns(rng, 300), _columns(rng, 300)).auc == pytest.approx(0.5, abs=0.07)


def test_an_object_that_is_drawn_again_is_not_told_by_having_been_seen() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 100, 300)
    ours = {name: values[drawn] for name, values in _columns(rng, 100).items()}
    verdict = compare.tell_apart(ours, _columns(rng, 300), simulated_id=drawn)
    assert verdict is not None
    assert verdict.auc == pytest.approx(0.5, abs=0.1)
    assert _told(ours, _columns(rng, 300)).auc > 0.8  # as if they were objects of their own


def test_what_is_shifted_is_told_apart_and_named_with_its_medians() -> None:
    rng = np.random.default_rng(0)
    verdict = _told(_columns(rng, 200, shift=4.0), _columns(rng, 100))
    assert verdict.auc > 0.97
    name, simulated, real = verdict.telling[0]
    assert name == "shifted"
    assert simulated == pytest.approx(4.0, abs=0.3)
    assert real == pytest.approx(0.0, abs=0.3)


def test_what_one_survey_does_not_publish_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = _columns(rng, 200), _columns(rng, 200)
    ours["theirs lacks it"], theirs["theirs lacks it"] = np.ones(200), np.full(200, np.nan)
    assert _told(ours, theirs).auc == pytest.approx(0.5, abs=0.08)
    bare = {"same": np.full(len(ours["same"]), np.nan)}
    assert compare.tell_apart({"same": ours["same"]}, bare, simulated_id=_apart(ours)) is None


def test_numbers_are_read_off_each_light_curve_by_itself() -> None:
    one = LightCurves(
        offsets=offsets_of(np.array([4, 2])),
        first_alert_mjd=np.array([10.0, 50.0]),
        mjd=np.array([8.0, 10.0, 12.0, 19.0, 50.0, 51.0]),
        band=np.array([1, 1, 2, 2, 3, 3], dtype=np.int8),
        flux=np.array([1.0, 100.0, 10.0, 40.0, -30.0, 2.0], dtype=np.float32),
        flux_err=np.full(6, 2.0, dtype=np.float32),
        detected=np.array([False, True, True, True, True, False]),
    )
    found = compare.photometry(one)
    expected = {
        "detections": [np.log10(3), 0.0],
        "share detected": [0.75, 0.5],
        "days of detections": [1.0, 0.0],
        "median S/N of detections": [np.log10(20), np.log10(15)],
        "peak flux": [2.0, np.log10(30)],
        "days to peak": [0.0, 0.0],
        "share below template": [0.0, 1.0],
        "colour g-r": [-2.5 * np.log10(100 / 40), np.nan],
        "error in i": [np.nan, np.log10(2)],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


def test_half_of_the_real_objects_may_be_looked_at_and_always_the_same_half() -> None:
    ids = list(range(1, 4001))
    compared = is_compared(ids)
    assert compared.mean() == pytest.approx(0.5, abs=0.03)
    assert compared.tolist() == [is_compared([one]).item() for one in ids]


def test_alerts_are_met_by_simulated_ones_with_as_many_detections() -> None:
    simulated, everything = make(200), make(100, seed=1)
    curves = everything.light_curves
    number = np.random.default_rng(2).integers(1, 6, len(everything))
    sent = curves.as_sent(views.epoch_of_detection(curves, number), window_days=np.inf)
    ours, theirs = compare.as_alerts(simulated, replace(everything, light_curves=sent))
    assert len(ours) == len(theirs) > 30
    np.testing.assert_array_equal(ours.light_curves.detections, theirs.light_curves.detections)
    for row in range(len(ours)):
        curve = ours.light_curves[row]
        assert curve.detected[-1]
        assert curve.mjd[0] >= curve.mjd[curve.detected][0] - FORCED_DAYS


def test_alerts_published_without_their_forced_photometry_are_left_out() -> None:
    real = make(100, seed=1)
    bare = replace(real, light_curves=real.light_curves.where(real.light_curves.detected))
    assert (bare.light_curves.detections > 2).all()
    ours, theirs = compare.as_alerts(make(200), bare)
    assert len(ours) == len(theirs) == 0


# --- the command -----------------------------------------------------------------------------------------------


def _written(directory: Path, objects: Objects) -> str:
    layout.write(directory, [objects])
    return str(directory)


def test_the_command_writes_figures_and_pictures_and_the_rest(tmp_path: Path) -> None:
    real = make(80, seed=1)
    metadata = real.metadata.copy()
    metadata[:, COLUMNS.index("mwebv")] += 1
    real = replace(real, metadata=metadata)
    simulated, theirs = _written(tmp_path / "ours", make(80)), _written(tmp_path / "theirs", real)
    arguments = ["--simulated", simulated, "--real", theirs, "--output", str(tmp_path / "to")]
    assert main(["compare", *arguments, "--rest", str(tmp_path / "rest")]) == 0

    rows = json.loads((tmp_path / "to" / "compare.json").read_text())
    assert [row["class"] for row in rows] == ["theirs, Ia", "theirs, RR Lyrae"]
    assert all(row["AUC, metadata"] > 0.95 and "mwebv" in row["telling, metadata"] for row in rows)
    assert (tmp_path / "to" / "compare.csv").read_text().count("\n") == 3
    for class_id in (TRANSIENT, VARIABLE):
        for picture in ("distributions", "samples"):
            assert (tmp_path / "to" / f"theirs-{class_id}-{picture}.png").stat().st_size > 1000
    rest = layout.read(tmp_path / "rest").object_id
    np.testing.assert_array_equal(np.sort(rest), real.object_id[~is_compared(real.object_id.tolist())])


def test_the_command_compares_alerts_as_alerts(tmp_path: Path) -> None:
    first = make(60, seed=1)
    sent = first.light_curves.as_sent(first.light_curves.first_alert_mjd)
    simulated = _written(tmp_path / "ours", make(60))
    theirs = _written(tmp_path / "theirs", replace(first, light_curves=sent).where(first.class_id == TRANSIENT))
    assert main(["compare", "--simulated", simulated, "--alerts", theirs, "--output", str(tmp_path / "to")]) == 0
    (row,) = json.loads((tmp_path / "to" / "compare.json").read_text())
    assert row["simulated"] == row["real"]
    assert "; detections (" not in f"; {row['telling, photometry']}"


def test_too_few_real_objects_are_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    simulated, theirs = _written(tmp_path / "ours", make(60)), _written(tmp_path / "theirs", make(8, seed=1))
    arguments = ["--simulated", simulated, "--real", theirs, "--output", str(tmp_path / "to")]
    assert main(["compare", *arguments]) == 1
    assert "no class has 10 objects" in capsys.readouterr().err

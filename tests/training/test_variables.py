"""Variable stars as surveys publish them: the right points, classes and periods; folded, centred and scaled."""

import csv
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.inputs import ragged
from training.data import variables
from training.data.curves import LEAST_POINTS, prepared
from training.errors import InvalidData


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _macho(directory: Path, *, points: int = 450) -> Path:
    """A Cepheid of 3 days, a star blended with a giant, and one that the catalogue does not know."""
    kinds = {1: (4, 3.0), 2: (11, 0.5)}
    catalogue = [
        {"starid": seqn, "field": 1, "tile": 7, "seqn": seqn, "period_r": days, "classification": kind}
        for seqn, (kind, days) in kinds.items()
    ]
    _write(directory / "catalogue.csv", catalogue)
    for seqn in (1, 2, 3):
        dates = np.sort(np.random.default_rng(seqn).uniform(48000, 51000, points))
        rows = [
            {"dateobs": date, "rmag": -8 + np.sin(2 * np.pi * date / 3) if n else -99.0, "rerr": 0.02, "bmag": -7.0}
            for n, date in enumerate(dates.tolist())
        ]
        _write(directory / "photometry" / f"LC_1.7.{seqn}.csv", rows)
    return directory


def test_machos_catalogue_gives_class_and_period_and_its_band_r_the_points(tmp_path: Path) -> None:
    objects = variables.macho(_macho(tmp_path))
    assert len(objects) == 1
    assert [objects.classes[label] for label in objects.label] == ["Cepheid"]
    assert objects.period.tolist() == [3.0]
    assert len(objects.mjd) == 449


def test_a_long_light_curve_is_cut_into_stretches_of_one_split_each_folded_with_its_period(tmp_path: Path) -> None:
    curves = prepared(variables.macho(_macho(tmp_path)), stretch=200)
    assert np.diff(curves.offsets).tolist() == [200, 200]  # a rest of 49 is left out
    assert len(set(curves.split.tolist())) == 1
    for row in range(2):
        points = slice(curves.offsets[row], curves.offsets[row + 1])
        value = curves.value[points]
        assert (np.diff(curves.time[points]) >= 0).all()
        assert value.mean() == pytest.approx(0, abs=1e-5)
        assert value.std() == pytest.approx(1, abs=1e-5)
        assert np.corrcoef(value, np.sin(2 * np.pi * curves.time[points]))[0, 1] > 0.999
        assert np.sqrt(curves.variance[points]) == pytest.approx(0.02 * np.sqrt(2), rel=0.1)


def test_the_public_macho_light_curves_are_read(data: Path) -> None:
    objects = variables.macho(data / "periodic/macho_deepnets")
    assert len(objects) == 15
    assert {objects.classes[label] for label in objects.label} <= set(variables.PERIODIC)
    assert (objects.period > 0).all()
    curves = prepared(objects, stretch=200)
    assert 0 <= curves.time.min() <= curves.time.max() < 1


def test_asas_stars_get_the_period_that_they_have(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    days = {"11": 0.5612, "12": 7.31}
    _write(
        tmp_path / "set_classes.dat",
        [
            {"filename": "11", "class": "RR_Lyrae_FM"},
            {"filename": "12", "class": "Classical_Cepheid"},
            {"filename": "13", "class": "RCB"},
        ],
    )
    for name in ("11", "12", "13"):
        mjd = np.sort(rng.uniform(1900, 2600, 150))
        value = 11 + 0.4 * np.sin(2 * np.pi * mjd / days.get(name, 3.0)) + rng.normal(0, 0.02, 150)
        lines = (f"{a:.5f},{b:.3f},0.02\n" for a, b in zip(mjd, value, strict=True))
        (tmp_path / f"{name}.dat").write_text("".join(lines))
    objects = variables.asas(tmp_path)
    assert [objects.classes[label] for label in objects.label] == ["RR Lyrae", "Cepheid"]
    assert objects.period == pytest.approx(list(days.values()), rel=1e-3)


def write_transients(directory: Path, *, each: int = 1) -> Path:
    """The Bright Transient Survey's files, with so many objects of three types, one of which is not used."""
    kinds = ("SN Ia", "SN Ic-BL", "nova")
    types = {f"ZTF{number + 1}": kind for number, kind in enumerate(kinds * each)}
    _write(directory / "bts.csv", [{"ZTFID": name, "type": kind} for name, kind in types.items()])
    for name in types:
        rows = [
            {"ant_mjd": 58700 + 2 * day, "ant_passband": band, "ant_mag": 18 + 0.1 * day, "ant_magerr": 0.1}
            for day in range(12)
            for band in ("g", "R", "i")
        ]
        _write(directory / "ANTARES" / f"{name}.csv", rows)
    return directory


def test_the_public_asas_stars_are_read_and_folded(data: Path, tmp_path: Path) -> None:
    """Some of them: to find the period of every one takes minutes."""
    published = data / "periodic/asas_richards2012"
    table = published / "asas_training_set_classes.dat"
    (tmp_path / table.name).write_bytes(table.read_bytes())
    with tarfile.open(published / "asas_training_set.tar.gz") as archive:
        for member in archive.getmembers()[::60]:
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".dat"):
                (tmp_path / Path(member.name).name).write_bytes(file.read())
    objects = variables.asas(tmp_path)
    assert len(objects) > 5
    assert np.isfinite(objects.period).all()
    assert (np.diff(objects.offsets) > 100).all()
    assert (np.abs(objects.value) < 20).all()
    curves = prepared(objects, stretch=200)
    assert np.diff(curves.offsets).max() == 200


def test_the_public_bright_transients_are_read(data: Path) -> None:
    objects = variables.ztf_bts(data / "ztf_bts")
    assert len(objects) > 2000
    counts = np.bincount(objects.label)
    assert counts.argmax() == objects.classes.index("SN Ia")
    assert counts.min() > 50
    assert set(np.unique(objects.band).tolist()) == {0, 1}
    assert (
        np.diff(objects.mjd)[ragged.row_of_each(objects.offsets)[1:] == ragged.row_of_each(objects.offsets)[:-1]] >= 0
    ).all()


def test_bright_transients_have_two_bands_and_the_share_of_their_span_as_time(tmp_path: Path) -> None:
    objects = variables.ztf_bts(write_transients(tmp_path))
    assert [objects.classes[label] for label in objects.label] == ["SN Ia", "SN Ib/c"]
    curves = prepared(objects)
    assert np.diff(curves.offsets).tolist() == [24, 24]
    assert np.bincount(curves.band).tolist() == [24, 24]
    assert curves.time[:24] == pytest.approx(np.repeat(np.linspace(0, 1, 12), 2))


def test_another_seed_has_other_test_objects_and_stretches_stay_together(tmp_path: Path) -> None:
    curves = prepared(variables.macho(_macho(tmp_path)), stretch=50)
    splits = [curves.split_anew(seed).split for seed in range(8)]
    assert np.array_equal(splits[0], curves.split)
    assert any(not np.array_equal(splits[0], each) for each in splits[1:])
    for split in splits:
        for owner in np.unique(curves.owner):
            assert len(set(split[curves.owner == owner])) == 1


def test_the_rest_of_a_cut_light_curve_needs_a_few_points(tmp_path: Path) -> None:
    objects = variables.ztf_bts(write_transients(tmp_path))
    curves = prepared(objects, stretch=LEAST_POINTS)
    assert np.diff(curves.offsets).min() >= LEAST_POINTS


def _ztf_release(directory: Path) -> Path:
    """Two catalogue entries, the bands of the first in two rows 0.7" apart; then one row 5" off, and one of band i."""
    _write(
        directory / "labels.csv",
        [
            {"ra": 10.0, "dec": 30.0, "class": "EB", "period": 0.4},
            {"ra": 20.0, "dec": 30.0, "class": "QSO", "period": ""},
        ],
    )
    arcsec = 1 / 3600
    rows = [(1, 10.0, 30.0), (2, 10.0, 30.0 + 0.7 * arcsec), (1, 20.0, 30.0 + 5 * arcsec), (3, 10.0, 30.0), (2, 20, 30)]
    times = [(58000 + np.arange(250.0)).tolist()] * len(rows)
    table = pa.table(
        {
            "objectid": list(range(len(rows))),
            "filterid": pa.array([row[0] for row in rows], pa.int8()),
            "objra": pa.array([row[1] for row in rows], pa.float32()),
            "objdec": pa.array([row[2] for row in rows], pa.float64()),
            "hmjd": times,
            "mag": [[17.0] * 250] * len(rows),
            "magerr": [[0.02] * 250] * len(rows),
            "catflags": [[32768] * 10 + [0] * 240] * len(rows),
        }
    )
    pq.write_table(table, directory / "ztf_000245_zg.parquet")
    return directory


def test_a_data_release_is_matched_to_labels_by_position_and_its_bands_joined(tmp_path: Path) -> None:
    objects = variables.ztf_release(_ztf_release(tmp_path))
    assert [objects.classes[label] for label in objects.label] == ["EB", "QSO"]
    assert objects.period[0] == 0.4
    assert np.isnan(objects.period[1])
    first, second = objects.offsets[1], objects.offsets[2] - objects.offsets[1]
    assert (first, second) == (400, 200)  # 200 good points a band, evenly spread
    assert np.bincount(objects.band[:400]).tolist() == [200, 200]
    assert (np.diff(objects.mjd[:400]) >= 0).all()
    assert objects.mjd.min() == 58010  # the first ten are flagged


@pytest.mark.parametrize("period", ["0", "-99"])
def test_a_period_that_is_none_folds_nothing(period: str, tmp_path: Path) -> None:
    _ztf_release(tmp_path)
    (tmp_path / "labels.csv").write_text(f"ra,dec,class,period\n10,30,EB,{period}\n20,30,QSO,\n")
    assert np.isnan(variables.ztf_release(tmp_path).period).all()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [("10,30,EB,often\n", "no number in the column period"), ("east,30,EB,1\n", "column ra"), ("", "no object in it")],
)
def test_a_catalogue_without_numbers_is_named(rows: str, reason: str, tmp_path: Path) -> None:
    _ztf_release(tmp_path)
    (tmp_path / "labels.csv").write_text(f"ra,dec,class,period\n{rows}")
    with pytest.raises(InvalidData, match=rf"labels\.csv: .*{reason}"):
        variables.ztf_release(tmp_path)


def test_plasticc_gives_six_bands_of_flux(data: Path) -> None:
    objects = variables.plasticc_stars(data / "plasticc")
    assert len(objects) == 6257
    assert len(objects.classes) == 14
    assert set(np.unique(objects.band)) == set(range(6))


@pytest.mark.parametrize("name", ["macho", "asas", "ztf-dr", "ztf-bts", "plasticc"])
def test_a_directory_that_is_something_else_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InvalidData, match=str(tmp_path)):
        variables.READERS[name](tmp_path)


def test_a_table_without_the_columns_or_the_numbers_is_named(tmp_path: Path) -> None:
    _macho(tmp_path)
    (tmp_path / "photometry" / "LC_1.7.1.csv").write_text("dateobs,bmag\n1,2\n")
    with pytest.raises(InvalidData, match=r"LC_1\.7\.1\.csv: the columns dateobs, rmag, rerr are needed"):
        variables.macho(tmp_path)
    (tmp_path / "photometry" / "LC_1.7.1.csv").write_text("dateobs,rmag,rerr\n1,bright,2\n")
    with pytest.raises(InvalidData, match=r"no numbers in the columns .*bright"):
        variables.macho(tmp_path)

"""SNANA's files into the layout: flags, types, host columns and bands mean what SNANA means by them."""

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from models.inputs.metadata import COLUMNS
from training.__main__ import main
from training.data import layout
from training.data.layout import Objects
from training.errors import InvalidData

Point = tuple[float, str, float, float, int]

POINTS: tuple[Point, ...] = (
    (60_000.0, "g", 1.0, 2.0, 0),
    (60_003.0, "LSST-r", 30.0, 2.0, 4096),
    (60_002.0, "Y ", 20.0, 2.0, 4096),
    (60_004.0, "i", 40.0, 2.0, 6144),
    (60_005.0, "z", 9e4, 2.0, 4096 + 1024),
    (60_006.0, "u", 4.0, 0.0, 0),
    (60_007.0, "H", 4.0, 1.0, 0),
)


def _pair(
    directory: Path,
    name: str = "LSST-0001",
    *,
    objects: Sequence[Sequence[Point]] = (POINTS,),
    head: Mapping[str, object] | None = None,
    cards: Mapping[str, object] | None = None,
    first_id: int = 7,
) -> Path:
    """A HEAD and a PHOT file as SNANA writes them, with a row of -777 after each light curve."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [row for points in objects for row in (*points, (-777.0, "-", -777.0, -777.0, 0))]
    columns = {
        "MJD": np.array([row[0] for row in rows]),
        "BAND": np.array([row[1] for row in rows], dtype="S8"),
        "PHOTFLAG": np.array([row[4] for row in rows], dtype=np.int32),
        "FLUXCAL": np.array([row[2] for row in rows], dtype=np.float32),
        "FLUXCALERR": np.array([row[3] for row in rows], dtype=np.float32),
        "ZEROPT": np.full(len(rows), 31.0),
    }
    stop = np.cumsum([len(points) + 1 for points in objects]) - 1
    n_points = np.array([len(points) for points in objects])
    table = {
        "SNID": np.array([str(first_id + row) for row in range(len(objects))], dtype="S16"),
        "NOBS": n_points.astype(np.int32),
        "PTROBS_MIN": (stop - n_points + 1).astype(np.int32),
        "PTROBS_MAX": stop.astype(np.int32),
        "SIM_TYPE_INDEX": np.full(len(objects), 42, dtype=np.int16),
        "SIM_REDSHIFT_CMB": np.full(len(objects), 0.123),
        **{key: np.broadcast_to(np.asarray(value), len(objects)) for key, value in (head or {}).items()},
    }
    _fits(directory / f"{name}_HEAD.FITS", table, cards)
    _fits(directory / f"{name}_PHOT.FITS", columns, cards)
    return directory


def _fits(path: Path, columns: Mapping[str, np.ndarray], cards: Mapping[str, object] | None) -> None:
    primary = fits.PrimaryHDU()
    primary.header["SURVEY"] = "LSST"
    for key, value in (cards or {}).items():
        primary.header[key if len(key) <= 8 else f"HIERARCH {key}"] = value
    kinds = [(name, column.dtype) for name, column in columns.items()]
    record = np.rec.fromarrays(list(columns.values()), dtype=kinds)
    fits.HDUList([primary, fits.BinTableHDU(record)]).writeto(path, overwrite=True)


def _import(source: Path, output: Path, *options: str) -> Objects:
    assert main(["import", "snana", str(source), "--output", str(output), "--processes", "1", *options]) == 0
    return layout.read(output)


# --- what a point is --------------------------------------------------------------------------------------------------


def test_usable_points_are_kept_in_time_order_and_the_others_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = _import(_pair(tmp_path / "in"), tmp_path / "set")
    curve = read.light_curves[0]
    assert curve.mjd.tolist() == [60_000, 60_002, 60_003, 60_004]
    assert curve.band.tolist() == [1, 5, 2, 3]
    assert curve.flux.tolist() == [1, 20, 30, 40]
    assert curve.detected.tolist() == [False, True, True, True]
    told = capsys.readouterr().err
    assert "1 points saturated" in told
    assert "1 points without a flux and a positive error" in told
    assert "1 points in band H" in told


def test_the_trigger_is_the_first_alert_and_else_the_first_detection(tmp_path: Path) -> None:
    untriggered = [(*row[:4], row[4] & ~2048) for row in POINTS]
    read = _import(_pair(tmp_path / "in", objects=[POINTS, untriggered]), tmp_path / "set")
    assert read.light_curves.first_alert_mjd.tolist() == [60_004, 60_002]
    assert read.light_curves.first_detection_mjd().tolist() == [60_002, 60_002]


def test_the_header_may_name_another_detection_flag(tmp_path: Path) -> None:
    points = [(60_000.0 + day, "r", 30.0, 1.0, flag) for day, flag in enumerate((4096, 8, 0))]
    read = _import(_pair(tmp_path / "in", objects=[points], cards={"PHOTFLAG_DETECT": 8}), tmp_path / "set")
    assert read.light_curves.detected.tolist() == [False, True, False]


def test_without_any_flag_a_detection_has_signal_to_noise_5_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [(60_000.0 + day, "r", flux, 2.0, 0) for day, flux in enumerate((9.9, 10.0, -30.0, 11.0))]
    read = _import(_pair(tmp_path / "in", objects=[points]), tmp_path / "set")
    assert read.light_curves.detected.tolist() == [False, True, False, True]
    assert read.light_curves.first_alert_mjd.tolist() == [60_001]
    assert "1 objects without detection flags: detected where flux/error >= 5" in capsys.readouterr().err


def test_an_object_without_a_usable_point_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = [(60_000.0, "r", np.nan, 1.0, 0)]
    read = _import(_pair(tmp_path / "in", objects=[nothing, POINTS, ()]), tmp_path / "set")
    assert read.object_id.tolist() == [8]
    assert "2 objects without a usable point" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["ZP_FLUXCAL", "ZEROPT"])
def test_another_zero_point_is_brought_to_fluxcal(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str) -> None:
    njy = _import(_pair(tmp_path / "in", cards={key: 31.4}), tmp_path / "set").light_curves
    np.testing.assert_allclose(njy.flux, np.array([1, 20, 30, 40]) * 0.0275423, rtol=1e-5)
    np.testing.assert_allclose(njy.flux_err, 2 * 0.0275423, rtol=1e-5)
    assert "1 objects brought from zero point 31.4" in capsys.readouterr().err


def test_a_zero_point_that_is_no_ab_magnitude_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _pair(tmp_path / "in", cards={"ZP_FLUXCAL": "VEGA"})
    assert main(["import", "snana", str(source), "--output", str(tmp_path / "set")]) == 1
    assert "ZP_FLUXCAL = 'VEGA' is no AB zero point" in capsys.readouterr().err


# --- what an object is ------------------------------------------------------------------------------------------------


def test_types_are_numbered_as_the_survey_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = {"elasticc": {37: 2221, 11: 2226, 99: -1}, "plasticc": {11: 2222, 64: 2243}, "des": {1: 2222, 32: 2223}}
    for numbering, expected in types.items():
        source = _pair(
            tmp_path / numbering, objects=[POINTS] * len(expected), head={"SIM_GENTYPE": np.array(list(expected))}
        )
        read = _import(source, tmp_path / f"{numbering}-set", "--numbering", numbering)
        assert read.class_id.tolist() == list(expected.values())
    assert "1 objects of unknown class: type 99" in capsys.readouterr().err


def test_a_normal_ia_under_another_classs_number_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = {"SIM_TYPE_INDEX": 11, "SIM_MODEL_NAME": np.array(b"SALT2.WFIRST-H17")}
    source = _pair(tmp_path / "in", head=head)
    assert main(["import", "snana", str(source), "--output", str(tmp_path / "set")]) == 1
    assert "type 11 is 91bg as elasticc numbers them, but simulated by SALT2" in capsys.readouterr().err
    assert _import(source, tmp_path / "set", "--numbering", "plasticc").class_id.tolist() == [2222]


def test_host_columns_become_the_metadata_and_nothing_simulated_does(tmp_path: Path) -> None:
    head = {
        "MWEBV": 0.05,
        "MWEBV_ERR": 0.01,
        "REDSHIFT_HELIO": 0.5,
        "REDSHIFT_FINAL": 0.4,
        "REDSHIFT_FINAL_ERR": 0.02,
        "HOSTGAL_SPECZ": -9.0,
        "HOSTGAL_PHOTOZ": 0.0,
        "HOSTGAL_PHOTOZ_ERR": 0.0,
        "HOSTGAL_ZPHOT_Q050": 0.41,
        "HOSTGAL_MAG_g": 22.5,
        "HOSTGAL_MAG_Y": 666.0,
        "HOSTGAL_MAGERR_g": 999.0,
        "HOSTGAL2_SNSEP": 1.5,
        "HOSTGAL2_ELLIPTICITY": -9999.0,
        "HOSTGAL_LOGMASS": 10.0,
        "SIM_REDSHIFT_HELIO": 0.39,
    }
    metadata = _import(_pair(tmp_path / "in", head=head), tmp_path / "set").metadata[0]
    given = {name: value for name, value in zip(COLUMNS, metadata.tolist(), strict=True) if not np.isnan(value)}
    assert given == pytest.approx(
        {
            "mwebv": 0.05,
            "mwebv_err": 0.01,
            "z_final": 0.5,
            "z_final_err": 0.02,
            "hostgal_zphot_q050": 0.41,
            "hostgal_mag_g": 22.5,
            "hostgal2_snsep": 1.5,
        }
    )


def test_every_metadata_column_is_found_under_elasticcs_names(data: Path, tmp_path: Path) -> None:
    path = next((data / "snana" / "elasticc2_mdwarf").glob("*0031_HEAD.FITS.gz"))
    with fits.open(path) as file:
        names = set(file[1].columns.names)
    quantiles = {f"{host}_ZPHOT_Q{percent:03d}" for host in ("HOSTGAL", "HOSTGAL2") for percent in range(0, 101, 10)}
    values = {name: 1.0 for name in names | quantiles if name.startswith(("HOSTGAL", "MWEBV", "REDSHIFT"))}
    metadata = _import(_pair(tmp_path / "in", head=values), tmp_path / "set").metadata
    assert (metadata == 1).all()


# --- files ------------------------------------------------------------------------------------------------------------


def _four(directory: Path) -> Path:
    for number in range(4):
        _pair(directory / "deep", f"LSST-{number}", objects=[POINTS] * 3, first_id=10 * number)
    return directory


def test_a_shard_is_named_after_its_pair_and_processes_make_no_difference(tmp_path: Path) -> None:
    source = _four(tmp_path / "in")
    alone = _import(source, tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "alone").iterdir()) == [
        f"deep.LSST-{number}.parquet" for number in range(4)
    ]
    command = ["import", "snana", str(source), "--output", str(tmp_path / "together"), "--processes", "2"]
    assert main(command) == 0
    together = layout.read(tmp_path / "together")
    np.testing.assert_array_equal(together.object_id, alone.object_id)
    np.testing.assert_array_equal(together.light_curves.flux, alone.light_curves.flux)


def test_gzipped_and_plain_pairs_are_alike(tmp_path: Path) -> None:
    plain = _import(_pair(tmp_path / "plain"), tmp_path / "plain-set")
    for path in (tmp_path / "plain").iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    zipped = _import(tmp_path / "LSST-0001_HEAD.FITS.gz", tmp_path / "zipped-set")
    np.testing.assert_array_equal(zipped.light_curves.flux, plain.light_curves.flux)


def test_a_broken_file_costs_one_line_and_no_shard_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _four(tmp_path / "in")
    phot = source / "deep" / "LSST-1_PHOT.FITS"
    whole = phot.read_bytes()
    phot.write_bytes(whole[:6000])
    (source / "deep" / "LSST-2_PHOT.FITS").unlink()
    (source / "deep" / "LSST-3_HEAD.FITS").write_bytes(b"no FITS at all")
    command = ["import", "snana", str(source), "--output", str(tmp_path / "set"), "--processes", "1"]
    assert main(command) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 3
    for line, name in zip(
        errors, ("LSST-1_PHOT.FITS: broken", "not with one _PHOT.FITS file", "LSST-3_HEAD"), strict=True
    ):
        assert name in line
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["deep.LSST-0.parquet"]

    phot.write_bytes(whole)
    assert main(command) == 1
    assert sorted(path.stem for path in (tmp_path / "set").iterdir()) == ["deep.LSST-0", "deep.LSST-1"]


def test_a_pair_that_has_changed_is_imported_again(tmp_path: Path) -> None:
    source = _pair(tmp_path / "in")
    assert len(_import(source, tmp_path / "set")) == 1
    _pair(source, objects=[POINTS] * 100)
    assert len(_import(source, tmp_path / "set")) == 100


def test_an_id_that_stands_in_two_files_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _pair(tmp_path / "in", "A", objects=[POINTS] * 3)
    _pair(tmp_path / "in", "B", objects=[POINTS] * 2)
    assert len(_import(tmp_path / "in", tmp_path / "set")) == 5
    assert "2 objects with the id of another" in capsys.readouterr().err


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _four(tmp_path / "in")
    command = ["import", "snana", str(source), "--output", str(tmp_path / "set"), "--processes", "1"]
    write_shard = layout.write_shard

    def interrupted(path: Path, objects: Objects, *, notes: Mapping[str, str]) -> None:
        if "LSST-2" in path.name:
            raise KeyboardInterrupt
        write_shard(path, objects, notes=notes)

    with monkeypatch.context() as patch:
        patch.setattr(layout, "write_shard", interrupted)
        assert main(command) == 130
    with pytest.raises(InvalidData, match="has not finished"):
        layout.read(tmp_path / "set")
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("*.parquet")}
    assert len(done) == 2
    assert main(command) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").glob("*.parquet")}
    assert len(after) == 4
    assert done.items() <= after.items()
    assert len(layout.read(tmp_path / "set")) == 12


def test_pointers_into_another_file_are_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A HEAD cut out of a larger one keeps that one's pointers; the ends of the light curves tell the rows."""
    other: tuple[Point, ...] = ((60_001.0, "g", 5.0, 1.0, 4096),)
    shifted = {"PTROBS_MIN": np.array([1, 3]), "PTROBS_MAX": np.array([7, 3])}
    read = _import(_pair(tmp_path / "in", objects=[POINTS, other], head=shifted), tmp_path / "set")
    assert read.light_curves.lengths.tolist() == [4, 1]
    assert "2 objects whose rows HEAD points to wrongly" in capsys.readouterr().err
    wrong = _pair(tmp_path / "wrong", objects=[POINTS, other], head={**shifted, "NOBS": np.array([7, 2])})
    assert main(["import", "snana", str(wrong), "--output", str(tmp_path / "none")]) == 1
    assert "not those that HEAD points to" in capsys.readouterr().err


def test_a_directory_without_snanas_files_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "snana", str(tmp_path), "--output", str(tmp_path / "set")]) == 1
    assert "no *_HEAD.FITS(.gz), no text files" in capsys.readouterr().err


# --- text -------------------------------------------------------------------------------------------------------------

TEXT = """SURVEY: DES
SNID:   17
FILTERS: griz
MWEBV:   0.0111    MW E(B-V)
REDSHIFT_FINAL:   0.35020 +- 0.04680  (CMB)
HOST_GALAXY_PHOTO-Z:   0.3502  +- 0.0468
HOSTGAL_MAG:  22.1 21.0 20.5 20.1
SIM_COMMENT:  SN Type = IIn , MODEL = SDSS-012842
SIM_REDSHIFT:  0.3972
NOBS: 3
NVAR: 5
VARLIST:  MJD  FLT FIELD   FLUXCAL   FLUXCALERR
OBS:  56179.023  g NULL   6.122e+00   6.377e+00
OBS:  56221.004  z NULL   3.895e+01   5.337e+00
DETECTION:  6 MJDs satisfy g+r+i+z
OBS:  56171.051  g NULL  -3.679e+01   7.809e+01
END:
"""


def _archive(path: Path, texts: Mapping[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def test_text_is_read_from_files_and_from_archives(tmp_path: Path) -> None:
    _archive(tmp_path / "in" / "all.tar.gz", {"snpcc/DES_SN17.DAT": TEXT, "snpcc/README.txt": "about"})
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "DES_SN17.DAT").write_text(TEXT)
    for number, source in enumerate((tmp_path / "in", tmp_path / "in" / "all.tar.gz", tmp_path / "files")):
        read = _import(source, tmp_path / f"set{number}")
        assert read.object_id.tolist() == [17]
        assert read.class_id.tolist() == [2224]
        assert read.light_curves.mjd.tolist() == [56171.051, 56179.023, 56221.004]
        assert read.light_curves.band.tolist() == [1, 1, 4]
        assert read.light_curves.first_alert_mjd.tolist() == [56221.004]
        metadata = dict(zip(COLUMNS, read.metadata[0].tolist(), strict=True))
        expected = {
            "mwebv": 0.0111,
            "z_final": 0.3502,
            "z_final_err": 0.0468,
            "hostgal_zphot": 0.3502,
            "hostgal_zphot_err": 0.0468,
            **{f"hostgal_mag_{band}": mag for band, mag in zip("griz", (22.1, 21.0, 20.5, 20.1), strict=True)},
        }
        given = {name: value for name, value in metadata.items() if not np.isnan(value)}
        assert given == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("NOBS: 3", "NOBS: 4", "4 observations announced, 3 there"),
        ("56221.004  z NULL", "56221.004  z", "an observation has not the 5 values"),
        ("6.122e+00", "six", "could not convert"),
        ("SNID:   17", "", "no SNANA light curve: no SNID"),
        ("FLUXCALERR", "MAGERR", "no column MJD, BAND"),
        ("NVAR: 5", "ZP_FLUXCAL: none", "no AB zero point"),
    ],
)
def test_a_broken_text_costs_one_line_and_not_its_neighbours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, reason: str
) -> None:
    texts = {"A.DAT": TEXT, "B.DAT": TEXT.replace(before, after), "C.DAT": TEXT.replace("SNID:   17", "SNID: 18")}
    source = _archive(tmp_path / "in" / "all.tar.gz", texts)
    for _ in range(2):  # said again when there is nothing left to do
        assert main(["import", "snana", str(source), "--output", str(tmp_path / "set")]) == 1
        told = capsys.readouterr().err
        assert "error: B.DAT" in told
        assert reason in told
    assert layout.read(tmp_path / "set").object_id.tolist() == [17, 18]


def test_a_text_may_leave_a_value_open(tmp_path: Path) -> None:
    open_ = TEXT.replace("0.35020 +- 0.04680  (CMB)", "0.35020 +-").replace(
        "SIM_REDSHIFT", "SIM_GENTYPE:\nSIM_REDSHIFT"
    )
    (tmp_path / "A.DAT").write_text(open_)
    read = _import(tmp_path / "A.DAT", tmp_path / "set")
    assert read.class_id.tolist() == [2224]
    assert np.isnan(read.metadata[0, COLUMNS.index("z_final_err")])


def test_an_archive_that_breaks_off_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).bytes(100_000).hex()
    source = _archive(tmp_path / "in" / "all.tar.gz", {"A.DAT": TEXT, "B.DAT": TEXT + noise})
    source.write_bytes(source.read_bytes()[:50_000])
    assert main(["import", "snana", str(source), "--output", str(tmp_path / "set")]) == 1
    assert "all.tar.gz: broken" in capsys.readouterr().err
    assert not list((tmp_path / "set").iterdir())


@pytest.mark.parametrize("name", ["SN2010ab", "20100000000000000001"])
def test_an_id_that_is_no_number_of_64_bits_becomes_one_that_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "SN2010ab.dat").write_text(TEXT.replace("SNID:   17", f"SNID: {name}"))
    first = _import(tmp_path / "SN2010ab.dat", tmp_path / "a").object_id
    assert first[0] > 2**32
    assert first.tolist() == _import(tmp_path / "SN2010ab.dat", tmp_path / "b").object_id.tolist()


# --- real files -------------------------------------------------------------------------------------------------------


def test_elasticcs_m_dwarf_flares(data: Path, tmp_path: Path) -> None:
    read = _import(data / "snana" / "elasticc2_mdwarf", tmp_path / "set")
    assert len(read) == 27
    assert set(read.class_id.tolist()) == {2233}
    curves = read.light_curves
    heads = [fits.getdata(path, 1) for path in (data / "snana" / "elasticc2_mdwarf").glob("*HEAD*")]
    told = {int(row["SNID"]): row for head in heads for row in head}
    for object_id, first, length in zip(read.object_id, curves.first_alert_mjd, curves.lengths, strict=True):
        assert first == pytest.approx(told[int(object_id)]["MJD_TRIGGER"], abs=0.01)
        assert length <= told[int(object_id)]["NOBS"]
    assert curves.last_detection_mjd() == pytest.approx(
        [told[int(object_id)]["MJD_DETECT_LAST"] for object_id in read.object_id], abs=0.01
    )
    given = {name for column, name in enumerate(COLUMNS) if not np.isnan(read.metadata[:, column]).all()}
    assert given == {"mwebv", "mwebv_err"}  # no host, no redshift: stars of our galaxy


def test_plasticcs_normal_ias(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = _import(data / "snana" / "plasticc_91bg", tmp_path / "set", "--numbering", "plasticc")
    assert len(read) == 115
    assert set(read.class_id.tolist()) == {2222}
    assert "115 objects whose correction for Milky Way dust was taken back" in capsys.readouterr().err
    peak = read.light_curves.flux[read.light_curves.detected].max()
    assert 30 < peak < 5000


def test_des_ias_whose_head_was_cut_out_of_a_larger_one(data: Path, tmp_path: Path) -> None:
    read = _import(data / "snana" / "des_ia", tmp_path / "set", "--numbering", "des")
    assert len(read) == 200
    assert set(read.class_id.tolist()) == {2222}
    assert len(read.light_curves.mjd) == 12_518
    assert set(read.light_curves.band.tolist()) == {1, 2, 3, 4}
    # A supernova's detections are around its peak: they would not be under another one's number.
    head = fits.getdata(data / "snana" / "des_ia" / "DES_Ia-0001_HEAD.FITS", 1)
    seen = read.light_curves.first_detection_mjd()
    peak = {int(row["SNID"]): row["PEAKMJD"] for row in head}
    before = np.array([peak[int(object_id)] for object_id in read.object_id]) - seen
    assert (np.abs(before[~np.isnan(before)]) < 120).all()


def test_a_thousand_of_snpcc(data: Path, tmp_path: Path) -> None:
    truth = {}
    for line in (data / "snpcc" / "snpcc_truth_avocado.txt").read_text().splitlines()[:1000]:
        name, type_, *_ = line.split()
        truth[name] = {"Ia": 2222, "II": 2224}.get(type_[:2], 2223)
    with tarfile.open(next((data / "snpcc").glob("*.tar.gz")), "r|*") as archive:
        for member in archive:
            name = Path(member.name).name
            if name in truth and (file := archive.extractfile(member)) is not None:
                (tmp_path / name).write_bytes(file.read())
    read = _import(tmp_path, tmp_path / "set")
    assert len(read) == 1000
    assert set(read.class_id.tolist()) == {2222, 2223, 2224}
    for object_id, class_id in zip(read.object_id.tolist(), read.class_id.tolist(), strict=True):
        assert class_id == truth[f"DES_SN{object_id:06d}.DAT"]

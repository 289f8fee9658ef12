"""Importers: other people's files into the layout, or one clear line."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from models.inputs.extinction import MILKY_WAY
from models.inputs.metadata import COLUMNS
from tests import alerts
from tests.alerts import FIRST_MJD
from tests.training import objects
from training.__main__ import main
from training.data import layout
from training.data.splits import FOLDS


def _plasticc(directory: Path, *, light_curves: str = "training_set.csv", detected: str = "detected") -> Path:
    directory.mkdir(parents=True)
    with (directory / light_curves).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["object_id", "mjd", "passband", "flux", "flux_err", detected])
        for object_id in (615, 713):
            for place in (3, 1, 2):
                rows.writerow([object_id, 59_750 + place, place, -10.5 * place, 1.5, int(place > 1)])
    with (directory / "training_set_metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["object_id", "hostgal_photoz", "hostgal_photoz_err", "mwebv", "target", "hostgal_specz", "ddf"])
        rows.writerow([713, 1.627, 0.255, 0.007, 88, 1.8, 1])
        rows.writerow([615, 0.0, 0.0, 0.017, 92, 0.0, 1])
    return directory


def test_plasticc_from_kaggle_csv(tmp_path: Path) -> None:
    assert main(["import", "plasticc", str(_plasticc(tmp_path / "kaggle")), "--output", str(tmp_path / "set")]) == 0
    read = layout.read(tmp_path / "set")
    assert read.object_id.tolist() == [615, 713]
    assert read.class_id.tolist() == [2323, 2332]
    curve = read.light_curves[0]
    assert curve.mjd.tolist() == [59_751, 59_752, 59_753]
    dust = 10 ** (-0.4 * 0.017 * MILKY_WAY[1:4])  # Kaggle's are corrected for it, and an alert's are not
    assert curve.flux == pytest.approx([-10.5, -21.0, -31.5] * dust, rel=1e-6)
    assert curve.flux_err == pytest.approx(1.5 * dust, rel=1e-6)
    assert curve.detected.tolist() == [False, True, True]
    assert read.light_curves.first_alert_mjd.tolist() == [59_752, 59_752]


def test_plasticc_gives_only_what_an_alert_has_and_photo_z_zero_is_missing(tmp_path: Path) -> None:
    main(["import", "plasticc", str(_plasticc(tmp_path / "kaggle")), "--output", str(tmp_path / "set")])
    metadata = layout.read(tmp_path / "set").metadata
    given = {name for column, name in enumerate(COLUMNS) if not np.isnan(metadata[:, column]).all()}
    assert given == {"mwebv", "hostgal_zphot", "hostgal_zphot_err"}
    photo_z = metadata[:, COLUMNS.index("hostgal_zphot")]
    assert np.isnan(photo_z[0])
    assert photo_z[1] == np.float32(1.627)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"light_curves": "nothing.csv"}, "one light curve file"), ({"detected": "seen"}, "no column detected_bool")],
)
def test_an_incomplete_plasticc_directory_costs_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], reason: str
) -> None:
    source = _plasticc(tmp_path / "kaggle", **options)
    assert main(["import", "plasticc", str(source), "--output", str(tmp_path / "set")]) == 1
    assert reason in capsys.readouterr().err
    assert not list((tmp_path / "set").glob("*")) if (tmp_path / "set").exists() else True


def test_the_real_plasticc_training_set(data: Path, tmp_path: Path) -> None:
    assert main(["import", "plasticc", str(data / "plasticc"), "--output", str(tmp_path / "set")]) == 0
    read = layout.read(tmp_path / "set")
    assert len(read) == 6257
    assert len(set(read.class_id.tolist())) == 14
    assert len(read.light_curves.mjd) == 1_133_804
    assert layout.UNKNOWN_CLASS not in read.class_id


def test_alerts_become_objects_with_every_point_and_their_class(tmp_path: Path) -> None:
    first = alerts.elasticc(alerts.source(1, FIRST_MJD), alert_id=1)
    second = alerts.elasticc(alerts.source(2, FIRST_MJD + 4), forced=[alerts.forced(3, FIRST_MJD - 9)], alert_id=2)
    broken = alerts.elasticc(alerts.source(5, FIRST_MJD, band="w"), alert_id=3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.avro").write_bytes(alerts.container([second, broken]))
    (tmp_path / "in" / "b.avro.gz").write_bytes(gzip.compress(alerts.datum(first)))
    (tmp_path / "truth.csv").write_text("diaObjectId,gentype\n7,37\n")
    truth = ["--truth", str(tmp_path / "truth.csv")]
    assert main(["import", "alerts", str(tmp_path / "in"), "--output", str(tmp_path / "set"), *truth]) == 0
    read = layout.read(tmp_path / "set")
    assert read.object_id.tolist() == [7]
    assert read.class_id.tolist() == [2221]
    assert read.light_curves.mjd.tolist() == [FIRST_MJD - 9, FIRST_MJD, FIRST_MJD + 4]


def test_with_another_truth_it_is_another_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.avro").write_bytes(alerts.container([alerts.elasticc(alerts.source(1, FIRST_MJD))]))
    command = ["import", "alerts", str(tmp_path / "a.avro"), "--truth", str(tmp_path / "truth.csv")]
    for gentype, code in ((37, 0), (37, 0), (10, 1)):
        (tmp_path / "truth.csv").write_text(f"diaObjectId,gentype\n7,{gentype}\n")
        assert main([*command, "--output", str(tmp_path / "set")]) == code
    assert "imported with truth_sha256" in capsys.readouterr().err


def test_a_class_that_the_taxonomy_does_not_have_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(alerts.container([alerts.elasticc(alerts.source(1, FIRST_MJD))]))
    (tmp_path / "truth.csv").write_text("diaObjectId,classId\n7,99999999999\n")
    files = [str(tmp_path / "a.avro"), "--truth", str(tmp_path / "truth.csv")]
    assert main(["import", "alerts", *files, "--output", str(tmp_path / "set")]) == 0
    assert layout.read(tmp_path / "set").class_id.tolist() == [layout.UNKNOWN_CLASS]


def test_alert_files_without_an_alert_cost_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.avro").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    reasons = {"x.avro": "no alert could be read", "empty": "no .avro", "elsewhere": "no such file or directory"}
    for source, reason in reasons.items():
        assert main(["import", "alerts", str(tmp_path / source), "--output", str(tmp_path / "set")]) == 1
        assert reason in capsys.readouterr().err


def test_a_broken_alert_file_costs_one_line_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    made = [alerts.random_elasticc(rng, 5, alert_id=number) for number in range(1, 40)]
    for number, record in enumerate(made):
        record["diaObject"]["diaObjectId"] = number + 1
    source = tmp_path / "alerts"
    source.mkdir()
    (source / "good.avro").write_bytes(alerts.container(made[:20]))
    (source / "short.avro").write_bytes(alerts.container(made[20:])[:-40])
    (source / "junk.avro").write_bytes(b"no container of alerts")
    assert main(["import", "alerts", str(source), "--output", str(tmp_path / "set")]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert [line.split()[1] for line in told] == ["junk.avro:", "short.avro:"]
    assert len(layout.read(tmp_path / "set")) >= 20


def test_what_was_left_out_is_counted_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = _plasticc(tmp_path / "kaggle")
    with (source / "training_set.csv").open("a") as file:
        file.write("615,59800,0,nan,1.0,0\n615,59801,0,3.0,0.0,0\n999,59801,0,3.0,1.0,0\n")
    main(["import", "plasticc", str(source), "--output", str(tmp_path / "set")])
    told = capsys.readouterr().err
    assert "2 points without a flux and a positive error" in told
    assert "1 points of objects without metadata" in told
    assert "AB zero point 27.5" in told
    assert layout.read(tmp_path / "set").light_curves.lengths.tolist() == [3, 3]


@pytest.mark.parametrize("options", [[], ["--test-per-class", "1"]])
def test_a_finished_import_stays_and_another_one_does_not_mix_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    source = _plasticc(tmp_path / "kaggle")
    command = ["import", "plasticc", str(source), "--output", str(tmp_path / "set"), *options]
    assert main(command) == 0
    shard = next((tmp_path / "set").glob("*.parquet"))
    written = shard.stat().st_mtime_ns
    assert main(command) == 0
    assert shard.stat().st_mtime_ns == written
    assert main([*command, "--seed", "1"]) == 1
    assert "already holds data, imported with seed 0" in capsys.readouterr().err
    with (tmp_path / "kaggle" / "training_set.csv").open("a") as file:
        file.write("615,59802,0,3.0,1.0,0\n")
    assert main(command) == 0
    assert len(layout.read(tmp_path / "set").light_curves.mjd) == 7


def test_an_import_may_keep_no_object_for_testing(data: Path, tmp_path: Path) -> None:
    for name, options, splits in (("all", [], 3), ("none", ["--test-per-class", "0"], 2)):
        command = ["import", "plasticc", str(data / "plasticc"), "--output", str(tmp_path / name), *options]
        assert main(command) == 0
        assert len(set(layout.Dataset.open(tmp_path / name).index().split.tolist())) == splits


def test_an_import_does_not_touch_data_that_is_not_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objects.write(tmp_path / "set", 10)
    assert main(["import", "plasticc", str(_plasticc(tmp_path / "kaggle")), "--output", str(tmp_path / "set")]) == 1
    assert "already holds data" in capsys.readouterr().err
    assert len(layout.read(tmp_path / "set")) == 10


def test_the_thesis_balanced_test_set(data: Path, tmp_path: Path) -> None:
    command = ["import", "plasticc", str(data / "plasticc"), "--output", str(tmp_path / "set")]
    assert main([*command, "--test-per-class", "100"]) == 0
    index = layout.Dataset.open(tmp_path / "set").index()
    for class_id in np.unique(index.class_id):
        members = index.class_id == class_id
        test = members & (index.split == "test")
        assert test.sum() == min(100, members.sum() // 2), class_id
        assert set(index.split[members & ~test].tolist()) <= {"train", "validation"}
    rest = index.split != "test"
    for fold in range(FOLDS):
        assert (index.fold[rest] == fold).mean() == pytest.approx(0.2, abs=0.03)

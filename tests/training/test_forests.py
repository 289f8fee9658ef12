"""From data to a forest by command: features once, then trees, then figures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from models.classifier import Classifier
from models.inputs.table import ALL_COLUMNS
from service.__main__ import main as service
from tests import alerts
from tests.training import objects
from training import features
from training.__main__ import main
from training.data import layout
from training.errors import InvalidData

_CONFIG = """
name = "toy"
version = "1"
days = [8, 2048]
[forest]
algorithm = "flat"
trees = 20
"""


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 80 objects."""
    return objects.write(tmp_path_factory.mktemp("data") / "set", 80)


@pytest.fixture(scope="module")
def table(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their features at two lengths."""
    directory = tmp_path_factory.mktemp("features") / "table"
    days = ["--days", "8", "2048", "--processes", "1"]
    assert main(["features", "--data", str(data_set), "--output", str(directory), *days]) == 0
    return directory


@pytest.fixture(scope="module")
def alert_table(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of their alerts."""
    directory = tmp_path_factory.mktemp("features") / "alerts"
    options = ["--alerts", "--processes", "1"]
    assert main(["features", "--data", str(data_set), "--output", str(directory), *options]) == 0
    return directory


def test_a_table_has_a_row_an_object_and_length_with_what_was_known_then(data_set: Path, table: Path) -> None:
    read, data = features.read(table), layout.read(data_set)
    assert len(read) == 2 * len(data)
    assert set(read.days.tolist()) == {8.0, 2048.0}
    early, late = (read.where(read.days == days) for days in (8.0, 2048.0))
    np.testing.assert_array_equal(early.object_id, data.object_id)
    np.testing.assert_array_equal(early.class_id, data.class_id)
    points = [ALL_COLUMNS.index(f"n_points_{band}") for band in "ugrizy"]
    known = np.nansum(early.columns[:, points], axis=1)
    curves = data.light_curves
    expected = [
        np.sum(curves[row].mjd <= min(curves.first_alert_mjd[row] + 8, curves.last_detection_mjd()[row]))
        for row in range(len(data))
    ]
    np.testing.assert_array_equal(known, expected)
    assert (np.nansum(late.columns[:, points], axis=1) >= known).all()
    np.testing.assert_array_equal(late.columns[:, -64:], data.metadata)


def test_a_table_that_was_stopped_is_not_read_and_gone_on_with(
    data_set: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, mark = tmp_path / "part", "unfinished.json"
    command = ["features", "--data", str(data_set), "--output", str(part), "--processes", "1", "--days"]
    assert main([*command, "8"]) == 0
    whole = features.read(part)
    (part / mark).write_text(json.dumps({"days": [8.0]}))
    with pytest.raises(InvalidData, match="a part of a table"):
        features.read(part)
    assert main([*command, "8"]) == 1
    assert "with other options" in capsys.readouterr().err
    options = {"data": str(data_set), "objects": None, "days": [8.0], "alerts": False, "window": 395.0}
    (part / mark).write_text(json.dumps({**options, "tier": None, "points": None}))
    (there,) = part.glob("*.parquet")
    written = there.stat().st_mtime_ns
    assert main([*command, "8"]) == 0
    assert there.stat().st_mtime_ns == written
    np.testing.assert_array_equal(features.read(part).object_id, whole.object_id)


def test_a_forest_is_grown_evaluated_and_classifies(data_set: Path, table: Path, tmp_path: Path) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG)
    assert main(["train", str(config), "--data", str(table), "--output", str(tmp_path / "run")]) == 0
    artifact = tmp_path / "run" / "toy"
    report = tmp_path / "report"
    command = ["evaluate", "--model", str(artifact), "--data", str(data_set), "--output", str(report)]
    options = ["--features", str(table), "--days", "8", "2048", "--by-source", "--draws", "20"]
    assert main([*command, *options]) == 0
    views = json.loads((report / "metrics.json").read_text())["models"]["toy"]["views"]
    assert {"8 days", "2048 days", "alerts", "8 days, test", "2048 days, test"} <= set(views)
    assert views["8 days, test"] == views["8 days"]
    assert views["2048 days"]["macro_f1"] > 0.8
    classifier = Classifier.load(artifact)
    assert classifier.provenance["days"] == [8, 2048]
    assert set(classifier.metrics) == {"validation, 8 days", "validation, 2048 days"}
    assert classifier.calibration.prior == "uniform over the classes"


def test_a_forest_may_be_grown_without_a_fold(data_set: Path, table: Path, tmp_path: Path) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG)
    command = ["train", str(config), "--data", str(data_set), "--features", str(table), "--seed", "3"]
    assert main([*command, "--leave-out", "1", "--output", str(tmp_path / "run")]) == 0
    index = layout.Dataset.open(data_set).index()
    learned = (index.split == "train") & (index.fold != 1)
    provenance = Classifier.load(tmp_path / "run" / "toy").provenance
    assert (provenance["training_light_curves"], provenance["seed"]) == (2 * learned.sum(), 3)
    assert provenance["training"] == {"left_out": 1}


def test_a_forest_learns_from_alerts_as_sent_if_its_file_says_so(
    table: Path, alert_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG.replace("days =", "alerts = true\ndays ="))
    command = ["train", str(config), "--data", str(table), "--output", str(tmp_path / "run")]
    assert main([*command, "--alert-features", str(alert_table)]) == 0
    classifier = Classifier.load(tmp_path / "run" / "toy")
    n_train = sum(int((features.read(each).split == "train").sum()) for each in (table, alert_table))
    assert classifier.provenance["training_light_curves"] == n_train
    assert set(classifier.metrics) == {"validation, 8 days", "validation, 2048 days", "validation, alerts"}
    assert main(command) == 1
    assert "toy learns from alerts as sent, too: --alert-features names" in capsys.readouterr().err
    config.write_text(_CONFIG)
    assert main([*command, "--alert-features", str(alert_table)]) == 1
    assert "toy does not learn from alerts as sent" in capsys.readouterr().err


def test_a_grid_of_options_is_tried_on_validation_objects(
    data_set: Path, table: Path, alert_table: Path, tmp_path: Path
) -> None:
    config, written = tmp_path / "toy.toml", tmp_path / "out" / "tried.csv"
    config.write_text(_CONFIG)
    command = ["tune", str(config), "--data", str(data_set), "--features", str(table), "--output", str(written)]
    grid = ["--grid", "trees=1,20", "--grid", "alerts=false,true", "--alert-features", str(alert_table)]
    assert main([*command, *grid, "--leave-out", "0", "1", "--threads", "1"]) == 0
    with written.open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["trees"], row["alerts"]) for row in rows} == {(t, a) for t in ("1", "20") for a in ("false", "true")}
    means = [float(row["mean F1"]) for row in rows]
    assert means == sorted(means, reverse=True)
    for row in rows:
        views = [float(row[f"F1, {view}"]) for view in ("8 days", "2048 days", "alerts")]
        assert float(row["mean F1"]) == pytest.approx(np.mean(views), abs=1e-4)

    # One combination at one fold is the forest that train makes there.
    assert main([*command, "--grid", "seed=3", "--leave-out", "1"]) == 0
    (row,) = csv.DictReader(written.read_text().splitlines())
    train = ["train", str(config), "--data", str(data_set), "--features", str(table), "--seed", "3"]
    assert main([*train, "--leave-out", "1", "--output", str(tmp_path / "run")]) == 0
    metrics = Classifier.load(tmp_path / "run" / "toy").metrics
    for view in ("8 days", "2048 days"):
        assert float(row[f"F1, {view}"]) == pytest.approx(metrics[f"validation, {view}"]["macro_f1"], abs=1e-4)


def test_a_grid_that_cannot_be_tried_is_named(
    data_set: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG)
    rest = ["--data", str(data_set), "--features", str(table), "--output", str(tmp_path / "tried.csv")]
    for words, reason in (
        ([str(config), "--grid", "bushes=1"], "'bushes'"),
        ([str(config), "--grid", 'algorithm="oak"'], "oak"),
        ([str(config), "--grid", 'max_features="sqrrt"'], "sqrrt"),
        ([str(config), "--grid", "alerts=true"], "--alert-features names"),
        (["lc-md", "--grid", "trees=1"], "is no forest"),
        ([str(config), "--grid", "trees=1", "--grid", "trees=2"], "an option is named twice"),
    ):
        assert main(["tune", *words, *rest]) == 1
        assert reason in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["tune", str(config), "--grid", "trees", *rest])
    assert not (tmp_path / "tried.csv").exists()


def test_wrong_data_is_told_apart(
    data_set: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG)
    for arguments, reason in (
        (["train", str(config), "--data", str(data_set), "--output", str(tmp_path)], "holds no table of features"),
        (["train", str(config), "--data", str(table), "--output", str(tmp_path), "--resume"], "grown in one go"),
        (["features", "--data", str(data_set), "--output", str(table)], "already holds a table"),
        (["train", str(config), "--data", str(table), "--output", str(tmp_path), "--fold", "1"], "with --features"),
        (["train", str(config), "--data", str(table), "--output", str(tmp_path), "--tier", "small"], "--tier is for"),
    ):
        assert main(arguments) == 1
        assert reason in capsys.readouterr().err
    config.write_text(_CONFIG.replace("trees", "bushes"))
    assert main(["train", str(config), "--data", str(table), "--output", str(tmp_path)]) == 1
    assert "'bushes'" in capsys.readouterr().err


def test_the_command_line_classifies_with_a_forest(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:

    config = tmp_path / "toy.toml"
    config.write_text(_CONFIG)
    assert main(["train", str(config), "--data", str(table), "--output", str(tmp_path / "run")]) == 0
    (tmp_path / "one.avro").write_bytes(alerts.container([alerts.random_elasticc(np.random.default_rng(0), 9)]))
    capsys.readouterr()
    assert service(["classify", "--model", str(tmp_path / "run" / "toy"), str(tmp_path / "one.avro")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["classifier"] == "toy/1"
    assert answer["branches"] == "features+md"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)

"""Evaluation: the same objects for all, once; a report that says what the predictions are."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.calibration import UNCALIBRATED, UNIFORM, Scaling
from models.classifier import Classifier
from models.inputs.metadata import COLUMNS
from models.inputs.table import FloatTable
from models.random_forest import Forest, ForestConfig
from models.taxonomy import Taxonomy
from tests.training import objects
from training import calibrate, features, predictions
from training.__main__ import main
from training.calibrate import Held
from training.data import layout, views
from training.data.alert_sample import AlertSample


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 120 objects."""
    return objects.write(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def model(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells the two classes apart."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "toy.toml").write_text(objects.CONFIG)
    command = ["train", str(directory / "toy.toml"), "--data", str(data_set), "--output", str(directory)]
    assert main(command) == 0
    return directory / "toy"


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest that reads a feature and knows nothing."""
    taxonomy = Taxonomy((objects.TRANSIENT, objects.VARIABLE))
    trees = Forest(ForestConfig(algorithm="flat", columns=("n_points_r", "mwebv"), trees=5), taxonomy)
    rng = np.random.default_rng(0)
    trees.fit(rng.uniform(0, 9, (80, 2)).astype(np.float32), np.arange(80) % 2)
    directory = tmp_path_factory.mktemp("forest") / "trees"
    Classifier(trees, taxonomy=taxonomy, calibration=UNCALIBRATED, name="trees", version="1").save(directory)
    return directory


def _evaluate(data: Path, output: Path, *models: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    named = [word for each in models for word in ("--model", str(each))]
    command = ["evaluate", *named, "--data", str(data), "--output", str(output), "--draws", "50", *options]
    assert main(command) == 0
    report: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    return report


def test_the_report_has_every_view_in_every_form(data_set: Path, model: Path, tmp_path: Path) -> None:
    report = _evaluate(data_set, tmp_path, model)
    (told,) = report["models"].values()
    assert told["prior"] == UNIFORM
    assert list(told["views"])[:4] == ["1 day", "2 days", "4 days", "8 days"]
    assert {"2048 days", "alerts", "alerts, 1", "alerts, 3-5", "alerts, 6-20"} <= set(told["views"])
    whole = told["views"]["2048 days"]
    assert whole["macro_f1_interval"][0] <= whole["macro_f1"] <= whole["macro_f1_interval"][1]
    assert sum(map(sum, whole["confusion"])) == whole["objects"] == report["objects"]
    assert told["seconds"]["inference"] > 0
    assert "features" not in told["seconds"]
    rows = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert {(row["view"], row["class"]) for row in rows} >= {("2048 days", "Ia"), ("alerts", "RR Lyrae")}
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 4
    assert "http" not in page.split("</style>")[1]
    for name in ("f1_by_days", "f1_by_detections", "confusion-toy", "reliability-toy"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_are_those_of_the_model_on_what_was_known(data_set: Path, model: Path) -> None:
    classifier, data = Classifier.load(model), layout.read(data_set)
    curves, window = data.light_curves, classifier.model.window_days
    everything = np.ones(len(data), dtype=np.bool_)
    scored = predictions.of_ages(classifier, data, [1.0, 32.0, 2048.0])
    found = classifier.calibration.of_rows(scored.logits, scored.head, scored.detections)
    for place, days in enumerate((1.0, 32.0, 2048.0)):
        known = curves.until(views.days_after_first_alert(curves, np.full(len(data), days)), window_days=window)
        expected = classifier.predict(known, data.metadata, everything).probabilities
        rows = slice(place * len(data), (place + 1) * len(data))
        np.testing.assert_allclose(found[rows], expected, atol=1e-5)
        np.testing.assert_array_equal(scored.object_id[rows], data.object_id)
    sample = AlertSample.draw(data.object_id, curves)
    sent = curves.take(sample.row).as_sent(sample.epoch, window_days=window)
    expected = classifier.predict(sent, data.metadata[sample.row], everything[sample.row]).probabilities
    scored = predictions.of_alerts(classifier, data)
    found = classifier.calibration.of_rows(scored.logits, scored.head, scored.detections)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_predictions_are_computed_once_until_model_or_data_change(
    data_set: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(model, tmp_path / "toy-0")
    first = _evaluate(data_set, tmp_path / "report", own)

    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked again")

    with monkeypatch.context() as patch:
        patch.setattr(predictions, "predict", no_model)
        assert _evaluate(data_set, tmp_path / "report", own) == first
        assert main(["calibrate", "--model", str(own), "--data", str(data_set)]) == 0
        again = _evaluate(data_set, tmp_path / "report", own)  # another calibration of the same logits
        assert again["models"]["toy"]["views"]["2048 days"]["objects"] == first["objects"]
        assert again["models"]["toy"]["calibration"] != first["models"]["toy"]["calibration"]
        with pytest.raises(AssertionError, match="asked again"):
            _evaluate(data_set, tmp_path / "report", own, options=["--split", "validation"])


def test_seeds_of_a_variant_are_one_model_and_others_are_compared_with_it(
    data_set: Path, model: Path, forest: Path, tmp_path: Path
) -> None:
    seeds = [shutil.copytree(model, tmp_path / f"net-{seed}") for seed in (0, 1)]
    report = _evaluate(data_set, tmp_path / "report", *seeds, forest, options=["--days", "8", "2048"])
    assert {name: told["seeds"] for name, told in report["models"].items()} == {"net": 2, "trees": 1}
    f1 = {name: told["views"]["2048 days"]["macro_f1"] for name, told in report["models"].items()}
    (difference,) = (each for each in report["differences"] if each["view"] == "2048 days")
    assert (difference["first"], difference["second"]) == ("trees", "net")
    assert difference["macro_f1_points"] == pytest.approx(100 * (f1["trees"] - f1["net"]))
    assert difference["macro_f1_points_interval"][1] < 0
    assert report["models"]["trees"]["seconds"]["features"] > 0


def test_features_come_from_the_tables_that_fit(
    forest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_set = objects.write(tmp_path / "data", 10)
    make = ["features", "--data", str(data_set), "--processes", "1"]
    assert main([*make, "--days", "8", "--output", str(tmp_path / "table")]) == 0
    assert main([*make, "--alerts", "--output", str(tmp_path / "alerts")]) == 0
    options = ["--days", "8", "32", "--split", "all"]
    tables = ["--features", str(tmp_path / "table"), "--alert-features", str(tmp_path / "alerts")]
    computed = _evaluate(data_set, tmp_path / "computed", forest, options=options)
    read = _evaluate(data_set, tmp_path / "read", forest, options=[*options, *tables])
    assert read["models"]["trees"]["views"] == computed["models"]["trees"]["views"]
    classifier, data = Classifier.load(forest), layout.read(data_set)
    wrong = features.read(tmp_path / "table")
    wrong.columns[:] = 0  # to see that it is read at all
    zeros = predictions.of_ages(classifier, data, [8.0], [wrong])
    assert len(np.unique(zeros.logits, axis=0)) == 1
    assert main([*make, "--days", "1", "--points", "5", "--output", str(tmp_path / "thin")]) == 0
    command = ["evaluate", "--model", str(forest), "--data", str(data_set), "--output", str(tmp_path / "none")]
    assert main([*command, "--features", str(tmp_path / "thin")]) == 1
    assert "as the model sees them" in capsys.readouterr().err


def test_a_prior_reweights_and_is_named(data_set: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text(json.dumps({"Ia": 1e300, "RR Lyrae": 1}))
    options = ["--days", "8", "--prior", str(tmp_path / "rates.json")]
    (told,) = _evaluate(data_set, tmp_path / "report", model, options=options)["models"].values()
    assert told["prior"] == "rates.json"
    assert told["views"]["8 days"]["classes"]["Ia"]["recall"] == 1
    assert told["views"]["8 days"]["classes"]["RR Lyrae"]["recall"] < 0.5


def test_calibration_is_fitted_on_held_out_alerts_and_says_its_prior(
    data_set: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(model, tmp_path / "toy")
    assert main(["calibrate", "--model", str(own), "--data", str(data_set)]) == 0
    assert "mix: cross-entropy of what was held out: temperature" in " ".join(capsys.readouterr().out.split())
    classifier, data = Classifier.load(own), layout.read(data_set)
    assert set(classifier.calibration.scalings) == {"lc", "tab", "mix"}
    assert classifier.calibration.prior == UNIFORM
    shares = (
        np.bincount(classifier.taxonomy.places(data.class_id[data.split == "train"])) / (data.split == "train").sum()
    )
    assert classifier.calibration.training_shares == pytest.approx(tuple(shares))
    losses = classifier.metrics["calibration, cross-entropy"]
    for head, scaling in classifier.calibration.scalings.items():
        assert set(losses[head]) == {"temperature", "temperature by detections", "vector", "vector by detections"}
        best = min(losses[head], key=losses[head].__getitem__)
        assert (len(scaling.detections) > 1) == best.endswith("by detections")
        assert (len(scaling.scale[0]) > 1) == best.startswith("vector")
    assert (own / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


class _Told(Forest):
    """Says of an object what its column ``mwebv`` has for the second class's logit."""

    def scores_of(self, table: FloatTable) -> Tensor:
        return torch.stack([torch.zeros(len(table)), torch.from_numpy(table[:, 0])], dim=1)


def _told() -> Classifier:
    taxonomy = Taxonomy((objects.TRANSIENT, objects.VARIABLE))
    forest = _Told(ForestConfig(algorithm="flat", columns=("mwebv",)), taxonomy)
    return Classifier(forest, taxonomy=taxonomy, calibration=UNCALIBRATED, name="told", version="1")


def _as_it_is(held: Held) -> Scaling:
    return Scaling.temperature(1.0)


def _by_heart(held: Held) -> Scaling:
    """For each number of detections, the class that most light curves with so many are of."""
    starts = np.unique([0, *held.detections])
    of_second = [(2 * held.labels[torch.from_numpy(held.detections == start)] - 1).sum() for start in starts]
    bias = tuple((0.0, 4.0 * int(excess.sign())) for excess in of_second)
    return Scaling(detections=tuple(starts.tolist()), scale=((1.0,),) * len(starts), bias=bias)


def test_in_calibration_classes_count_alike_and_an_alert_for_all_that_it_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty transients sent an alert each and ten variables five, of which three are looked at."""
    monkeypatch.setattr(calibrate, "CANDIDATES", {"as it is": _as_it_is})
    made = objects.make(60).take(np.concatenate([np.arange(0, 60, 2), np.arange(1, 20, 2)]))
    alerts = np.where(made.class_id == objects.VARIABLE, 5, 1)
    curves, metadata = made.light_curves, made.metadata.copy()
    detected = np.arange(len(curves.mjd)) < np.repeat(curves.offsets[:-1] + alerts, curves.lengths)
    metadata[:, COLUMNS.index("mwebv")] = np.log(3)
    made = replace(made, metadata=metadata, light_curves=replace(curves, detected=detected))
    _, losses = calibrate.fit_scalings(_told(), made)
    of_transients, of_variables = np.log(4), np.log(4 / 3)
    # As if there were as many objects of each, all with their alerts.
    expected = (1 * of_transients + 5 * of_variables) / 6
    assert losses["features"]["as it is"] == pytest.approx(expected)


def test_a_calibration_that_learns_light_curves_by_heart_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "CANDIDATES", {"by heart": _by_heart, "as it is": _as_it_is})
    made = objects.make(40)
    of_no_kind = replace(made, class_id=np.random.default_rng(0).permutation(made.class_id))
    scalings, losses = calibrate.fit_scalings(_told(), of_no_kind, days=[2048.0])
    assert losses["features"]["by heart"] > losses["features"]["as it is"]
    assert scalings == {"features": Scaling.temperature(1.0)}


def test_what_cannot_be_evaluated_is_told(
    data_set: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--data", str(data_set), "--output", str(tmp_path / "report"), "--model"]
    for options, reason in (
        ([str(tmp_path)], "holds no model"),
        ([str(model), "--prior", "training"], "does not say how common"),
        ([str(model), "--prior", "nowhere.json"], "no JSON object"),
        ([str(model), "--model", str(model)], "two of the models are called"),
    ):
        assert main([*command, *options]) == 1
        assert reason in capsys.readouterr().err
    assert not list((tmp_path / "report").iterdir())  # nothing has been scored in vain


def test_calibration_on_lengths_under_a_prior_is_told_and_what_is_no_prior_refused(
    data_set: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = {}
    for name, options in (("alerts", []), ("lengths", ["--days", "8", "2048"]), ("root", ["--prior", "root"])):
        own = shutil.copytree(model, tmp_path / name)
        assert main(["calibrate", "--model", str(own), "--data", str(data_set), *options]) == 0
        fitted[name] = Classifier.load(own).calibration
    assert fitted["lengths"].prior == UNIFORM
    assert fitted["lengths"].scalings != fitted["alerts"].scalings
    assert fitted["root"] == fitted["alerts"].under("root", Classifier.load(model).taxonomy)
    capsys.readouterr()
    assert main(["calibrate", "--model", str(own), "--data", str(data_set), "--prior", "nowhere.json"]) == 1
    assert "--prior: nowhere.json is no JSON object" in capsys.readouterr().err


def test_a_fold_that_was_left_out_takes_no_part_in_calibration(data_set: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(objects.CONFIG)
    command = ["train", str(tmp_path / "toy.toml"), "--data", str(data_set), "--leave-out", "1"]
    assert main([*command, "--output", str(tmp_path)]) == 0
    data = layout.read(data_set)
    layout.write(tmp_path / "without", [data.where(data.fold != 1)])
    assert (data.split[data.fold == 1] == "validation").any()
    fitted = []
    for directory in (data_set, tmp_path / "without"):
        assert main(["calibrate", "--model", str(tmp_path / "toy"), "--data", str(directory)]) == 0
        fitted.append(Classifier.load(tmp_path / "toy").calibration)
    assert fitted[0] == fitted[1]

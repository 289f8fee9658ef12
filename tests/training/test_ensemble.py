"""An ensemble by command: made of models, then calibrated, measured and asked as any model is."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.classifier import DESCRIPTION, Classifier
from models.selection import DEFAULT_ARTIFACT
from service.__main__ import main as service
from tests import alerts
from tests.training import objects
from training import predictions
from training.__main__ import main
from training.answers import Run
from training.predictions import Selection

_FOREST = """
name = "trees"
version = "1"
days = [8, 2048]
[forest]
algorithm = "flat"
columns = ["n_points_r", "amplitude_r", "mwebv"]
trees = 10
"""


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 80 objects."""
    return objects.write(tmp_path_factory.mktemp("data") / "set", 80)


@pytest.fixture(scope="module")
def members(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A network and a forest that have not seen fold 1."""
    directory = tmp_path_factory.mktemp("members")
    data, table = str(data_set), str(directory / "table")
    assert main(["features", "--data", data, "--output", table, "--days", "8", "2048", "--processes", "1"]) == 0
    for config, options in ((objects.CONFIG, []), (_FOREST, ["--features", table])):
        (directory / "one.toml").write_text(config)
        command = ["train", str(directory / "one.toml"), "--data", data, "--leave-out", "1", *options]
        assert main([*command, "--output", str(directory)]) == 0
    return [directory / "toy", directory / "trees"]


def _ensemble(members: list[Path], output: Path) -> Path:
    assert main(["ensemble", *map(str, members), "--name", "both", "--output", str(output)]) == 0
    return output / "both"


def test_an_ensemble_is_calibrated_measured_and_classifies(
    data_set: Path, members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = _ensemble(members, tmp_path)
    assert main(["calibrate", "--model", str(artifact), "--data", str(data_set)]) == 0
    command = ["evaluate", "--model", str(artifact), "--data", str(data_set), "--draws", "20"]
    assert main([*command, "--days", "8", "2048", "--output", str(tmp_path / "report")]) == 0
    views = json.loads((tmp_path / "report" / "metrics.json").read_text())["models"]["both"]["views"]
    assert views["2048 days"]["macro_f1"] > 0.8
    assert set(Classifier.load(artifact).calibration.scalings) == {"ensemble"}
    (tmp_path / "one.avro").write_bytes(alerts.container([alerts.random_elasticc(np.random.default_rng(0), 9)]))
    capsys.readouterr()
    assert service(["classify", "--model", str(artifact), str(tmp_path / "one.avro")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classifier"] == "both/1"
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_it_says_of_what_it_was_made_and_which_objects_none_of_them_has_seen(
    members: list[Path], tmp_path: Path
) -> None:
    provenance = Classifier.load(_ensemble(members, tmp_path)).provenance
    assert [member["name"] for member in provenance["members"]] == ["toy", "trees"]
    assert provenance["training"] == {"left_out": 1}


def test_members_that_learned_from_one_anothers_folds_leave_nothing_to_calibrate_on(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.toml").write_text(objects.CONFIG)
    members = []
    for fold in ("0", "1"):
        command = ["train", str(tmp_path / "one.toml"), "--data", str(data_set), "--fold", fold, "--output"]
        assert main([*command, str(tmp_path / fold)]) == 0
        members.append(tmp_path / fold / "toy")
    artifact = _ensemble(members, tmp_path)
    capsys.readouterr()
    assert main(["calibrate", "--model", str(artifact), "--data", str(data_set)]) == 1
    assert "no held-out object" in capsys.readouterr().err


def test_its_kept_predictions_are_not_those_of_other_members(
    data_set: Path, members: list[Path], tmp_path: Path
) -> None:
    artifact, selection = _ensemble(members, tmp_path), Selection.of(data_set, split="test")
    first = predictions.of_model(artifact, selection, tmp_path / "kept", ages=(8.0,))
    of = dict.fromkeys(f"{each.name}/{each.version}" for each in map(predictions.describe, members))
    assert Run.of(artifact, first).model == f"both/1 of {', '.join(of)}"
    again = predictions.of_model(artifact, selection, tmp_path / "kept", ages=(8.0,))
    np.testing.assert_array_equal(first.by_age.logits, again.by_age.logits)
    path = artifact / "member-0" / DESCRIPTION
    description = json.loads(path.read_text())
    description["calibration"]["temperatures"] = dict.fromkeys(description["calibration"]["temperatures"], 9.0)
    path.write_text(json.dumps(description))
    other = predictions.of_model(artifact, selection, tmp_path / "kept", ages=(8.0,))
    assert np.abs(first.by_age.logits - other.by_age.logits).max() > 0.1


def test_members_that_do_not_go_together_are_one_clear_error(
    members: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unlike = [*members, DEFAULT_ARTIFACT]
    for chosen, reason in ((members[:1], "two members or more"), (unlike, "members have different classes")):
        assert main(["ensemble", *map(str, chosen), "--output", str(tmp_path / "none")]) == 1
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "none").exists()

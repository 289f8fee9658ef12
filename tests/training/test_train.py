"""Training: learns, stops, resumes exactly, and leaves an artifact that the service can load."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from models.classifier import Classifier
from tests.training import objects
from training.__main__ import main
from training.data import layout
from training.forests import ForestExperiment
from training.train import CONFIGS, Experiment, Trainer, is_forest


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 120 objects."""
    return objects.write(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The toy experiment."""
    path = tmp_path / "toy.toml"
    path.write_text(objects.CONFIG)
    return path


def _trainer(config: Path, data_set: Path, directory: Path) -> Trainer:
    directory.mkdir(exist_ok=True)
    return Trainer(Experiment.read(config), layout.read(data_set), directory)


def test_it_learns_and_evaluates(data_set: Path, config: Path, tmp_path: Path) -> None:
    run, report = tmp_path / "run", tmp_path / "report"
    assert main(["train", str(config), "--data", str(data_set), "--output", str(run)]) == 0
    assert main(["evaluate", "--model", str(run / "toy"), "--data", str(data_set), "--output", str(report)]) == 0
    views = json.loads((report / "metrics.json").read_text())["models"]["toy"]["views"]
    assert views["2048 days"]["macro_f1"] > 0.9
    assert views["2048 days"]["macro_f1"] >= views["alerts, 1"]["macro_f1"]
    assert set(views["2048 days"]["classes"]) == {"Ia", "RR Lyrae"}


def test_the_artifact_says_where_it_comes_from(data_set: Path, config: Path, tmp_path: Path) -> None:
    assert main(["train", str(config), "--data", str(data_set), "--output", str(tmp_path / "run")]) == 0
    description = json.loads((tmp_path / "run" / "toy" / "model.json").read_text())
    assert description["provenance"]["sources"] == ["test"]
    assert description["calibration"]["prior"] == "uniform over the classes"
    assert set(description["calibration"]["temperatures"]) == {"lc", "tab", "mix"}
    assert "validation, full" in description["metrics"]
    assert Classifier.load(tmp_path / "run" / "toy").version == "7"


def test_a_resumed_run_takes_the_same_steps(data_set: Path, config: Path, tmp_path: Path) -> None:
    console = Console(quiet=True)
    whole = _trainer(config, data_set, tmp_path / "whole")
    whole.run(minutes=None, console=console)
    broken_off = _trainer(config, data_set, tmp_path / "broken")
    for _ in range(20):
        broken_off._take_step(broken_off.step / 60)
    broken_off.save_checkpoint()
    resumed = _trainer(config, data_set, tmp_path / "broken")
    resumed.resume()
    resumed.run(minutes=None, console=console)
    assert resumed.step == whole.step == 60
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_it_stops_when_nothing_improves(data_set: Path, config: Path, tmp_path: Path) -> None:
    hopeless = objects.CONFIG.replace("5e-3", "0.0").replace("steps = 60", "steps = 600\npatience = 2")
    config.write_text(hopeless)
    trainer = _trainer(config, data_set, tmp_path / "run")
    trainer.run(minutes=None, console=Console(quiet=True))
    assert trainer.step < 200


def test_it_stops_when_the_minutes_are_over(data_set: Path, config: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(data_set), "--output", str(tmp_path / "run"), "--minutes", "0.0001"]
    assert main(["train", str(config), *arguments]) == 0
    assert (tmp_path / "run" / "toy" / "weights.safetensors").exists()


def test_a_run_is_not_overwritten_and_a_wrong_option_is_named(
    data_set: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(data_set), "--output", str(tmp_path / "run"), "--minutes", "0.0001"]
    assert main(["train", str(config), *arguments]) == 0
    assert main(["train", str(config), *arguments]) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    config.write_text(objects.CONFIG.replace("harmonics", "harmonic"))
    assert main(["train", str(config), *arguments]) == 1
    assert "'harmonic'" in capsys.readouterr().err


def test_draws_are_balanced_as_asked(data_set: Path, config: Path, tmp_path: Path) -> None:
    config.write_text(objects.CONFIG.replace("class_power = 0.5", "class_power = 0.0"))
    trainer = _trainer(config, data_set, tmp_path / "run")
    labels = torch.cat([trainer._draw().labels for _ in range(40)])
    assert labels.float().mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_read(path: Path) -> None:
    experiment = (ForestExperiment if is_forest(path) else Experiment).read(path)
    assert experiment.name == path.stem

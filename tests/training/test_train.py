"""Training: learns, stops, resumes exactly, and leaves an artifact that the service can load."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from models.atat import ATATConfig
from models.classifier import Classifier
from models.inputs.light_curve import FORCED_DELAY_DAYS
from models.network import AnyATAT, Network
from tests.training import objects
from training.__main__ import main
from training.data import layout
from training.data.layout import Dataset, Objects
from training.data.unpacked import unpacked
from training.draws import Draws
from training.experiment import CONFIGS, Experiment, TrainingConfig, is_forest
from training.forests import ForestExperiment
from training.interruption import heard
from training.loop import Judgement
from training.objectives import Examples
from training.trainer import Trainer


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
    return Trainer(Experiment.read(config), Dataset.open(data_set), directory)


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
        broken_off.take_step()
    broken_off.save_checkpoint()
    resumed = _trainer(config, data_set, tmp_path / "broken")
    resumed.resume()
    resumed.run(minutes=None, console=console)
    assert resumed.step == whole.step == 60
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_interrupted_run_keeps_the_step_that_it_had_reached(data_set: Path, config: Path, tmp_path: Path) -> None:
    whole = _trainer(config, data_set, tmp_path / "whole")
    whole.run(minutes=None, console=Console(quiet=True))

    class Interrupted(Trainer):
        def loss(self, drawn: Any) -> Tensor:
            if self.step == 7:
                signal.raise_signal(signal.SIGINT)  # in the midst of a step
            return super().loss(drawn)

    (tmp_path / "broken").mkdir()
    broken_off = Interrupted(Experiment.read(config), Dataset.open(data_set), tmp_path / "broken")
    told = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        broken_off.run(minutes=None, console=Console(file=told))
    assert "interrupted at step 8, where resuming goes on" in told.getvalue()
    resumed = _trainer(config, data_set, tmp_path / "broken")
    resumed.resume()
    assert resumed.step == 8
    resumed.run(minutes=None, console=Console(quiet=True))
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_interrupt_while_it_is_judged_for_the_last_time_is_heard(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    class Interrupted(Trainer):
        def judge(self, model: AnyATAT) -> Judgement:
            if self.step == self.config.steps:
                signal.raise_signal(signal.SIGINT)
            return super().judge(model)

    trainer = Interrupted(Experiment.read(config), Dataset.open(data_set), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(minutes=None, console=Console(quiet=True))


def test_a_second_interrupt_does_not_wait() -> None:
    with heard() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_an_average_of_long_memory_has_soon_forgotten_what_training_started_from(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    trainer = Trainer(Experiment.read(config).trained(ema=0.998), Dataset.open(data_set), tmp_path / "run")
    began = _flat(trainer.model)
    for _ in range(40):
        trainer.take_step()
    moved = _flat(trainer.model) - began
    assert (_flat(trainer.average) - began).norm() > 0.6 * moved.norm()


def _flat(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def test_it_is_the_average_of_the_weights_that_is_judged_and_shipped(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    judged = []

    class Watched(Trainer):
        def judge(self, model: AnyATAT) -> Judgement:
            judged.append(_flat(model))
            return super().judge(model)

    trainer = Watched(Experiment.read(config).trained(steps=20), Dataset.open(data_set), tmp_path)
    trainer.run(minutes=None, console=Console(quiet=True))
    average = _flat(trainer.average)
    assert not torch.equal(average, _flat(trainer.model))
    network = Classifier.load(trainer.save_artifact()).model
    assert isinstance(network, Network)
    for weights in (*judged, _flat(network.module)):
        assert torch.equal(weights, average)
    assert len(judged) == 1


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0: 1 / 10, 8: 9 / 10, 9: 1.0, 500: 1.0, 999: 1.0}),
        ("cosine", {0: 1 / 10, 250: 0.01 + 0.99 * (1 + np.sqrt(0.5)) / 2, 500: 0.505, 999: 0.01}),
    ],
)
def test_the_learning_rate_rises_at_first_and_falls_by_a_cosine_if_asked(
    schedule: Literal["constant", "cosine"], factors: dict[int, float], data_set: Path, config: Path, tmp_path: Path
) -> None:
    experiment = Experiment.read(config).trained(steps=1000, schedule=schedule, warm_up=9, batch_size=2)
    trainer = Trainer(experiment, Dataset.open(data_set), tmp_path)
    for step, factor in factors.items():
        trainer.step = step
        trainer.take_step()
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(5e-3 * factor, rel=1e-3)


def test_it_stops_when_nothing_improves(data_set: Path, config: Path, tmp_path: Path) -> None:
    hopeless = objects.CONFIG.replace("5e-3", "1e-30").replace("steps = 60", "steps = 600\npatience = 2")
    config.write_text(hopeless)
    trainer = _trainer(config, data_set, tmp_path / "run")
    trainer.run(minutes=None, console=Console(quiet=True))
    every = trainer.config.evaluate_every
    assert trainer.best_step == every
    assert trainer.step == every * (1 + 2)


def test_a_loss_that_is_no_number_ends_it(
    data_set: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(objects.CONFIG.replace("5e-3", "1e30"))
    assert main(["train", str(config), "--data", str(data_set), "--output", str(tmp_path / "run")]) == 1
    assert "training has diverged: the loss is " in capsys.readouterr().err
    assert not (tmp_path / "run" / "toy").exists()


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


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.5), (0.5, 0.25), (1.0, 0.1)])
def test_draws_are_balanced_as_asked_and_the_loss_knows(
    power: float, share: float, config: Path, tmp_path: Path
) -> None:
    """One object in ten is a variable, and draws are of either class alike, by roots of sizes, or as they come."""
    made = objects.make(400)
    variables = np.flatnonzero(made.class_id == objects.VARIABLE)
    chosen = np.sort(np.concatenate([np.flatnonzero(made.class_id == objects.TRANSIENT)[:180], variables[:20]]))
    split = np.where(np.arange(len(chosen)) % 50 < 2, "validation", "train")
    layout.write(tmp_path / "uneven", [replace(made.take(chosen), split=split)])
    config.write_text(objects.CONFIG.replace("class_power = 0.5", f"class_power = {power}"))
    trainer = _trainer(config, tmp_path / "uneven", tmp_path / "run")
    labels = torch.cat([trainer.draws.step(number).labels for number in range(60)])
    assert labels.float().mean() == pytest.approx(share, abs=0.04)
    assert trainer.objective.adjustment.exp().tolist() == pytest.approx([1 - share, share], abs=0.02)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_can_be_read(path: Path) -> None:
    experiment = (ForestExperiment if is_forest(path) else Experiment).read(path)
    assert experiment.name == path.stem


def _of_atat2(config: str) -> str:
    narrow = config.replace("d_lc = 16\nd_tab = 8", "d_model = 16\nd_metadata = 8")
    return f'architecture = "atat2"\n{narrow}'


def _weights(run: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(run / "checkpoint.pt", weights_only=True)["model"]
    return weights


def _start(*arguments: object) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, *map(str, arguments)], stderr=subprocess.DEVNULL)


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    endless = objects.CONFIG.replace("steps = 60", "steps = 1000000\npatience = 100000")
    config.write_text(endless)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = _start("-m", "training", "train", config, "--data", data_set, "--output", killed, "--threads", 1)
    while not (killed / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = torch.load(killed / "checkpoint.pt", weights_only=True)["progress"]["step"]
    config.write_text(endless.replace("1000000", str(done + 10)))
    for output, more in ((killed, ["--resume"]), (whole, [])):
        command = ["train", str(config), "--data", str(data_set), "--output", str(output), *more, "--threads", "1"]
        assert main(command) == 0
    assert list(_weights(killed)) == list(_weights(whole))
    for name, tensor in _weights(whole).items():
        assert torch.equal(tensor, _weights(killed)[name]), name


@pytest.mark.parametrize(("architecture", "apart"), [("atat", 1e-4), ("atat2", 5e-4)])
def test_two_processes_take_the_steps_of_one(
    architecture: str, apart: float, data_set: Path, config: Path, tmp_path: Path
) -> None:
    """Though there are weights that no step reaches: of what is missing, where a number stands for it."""
    numbers = objects.CONFIG.replace("[training]", 'missing = "-9999"\n[training]')
    whole = {"atat": numbers, "atat2": _of_atat2(objects.CONFIG)}[architecture]
    config.write_text(whole.replace("dropout = 0.1", "dropout = 0.0").replace("steps = 60", "steps = 4"))
    one, two = tmp_path / "one", tmp_path / "two"
    together = _start(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2),
        *("-m", "training", "train", config, "--data", data_set, "--output", two, "--threads", 1),
    )
    with together:
        assert main(["train", str(config), "--data", str(data_set), "--output", str(one), "--threads", "1"]) == 0
        assert together.wait(300) == 0
    for name, tensor in _weights(one).items():
        torch.testing.assert_close(tensor, _weights(two)[name], atol=apart, rtol=1e-3)


def test_a_step_draws_the_same_whatever_came_before_and_processes_share_it_out(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    draws = _trainer(config, data_set, tmp_path / "run").draws
    whole = draws.step(7)
    assert torch.equal(draws.step(7).labels, whole.labels)
    assert not torch.equal(draws.step(8).labels, whole.labels)
    parts = [draws.step(7, part=part, parts=3) for part in range(3)]
    for part, own in enumerate(parts):
        assert torch.equal(own.labels, whole.labels[part::3])
        np.testing.assert_array_equal(own.table, whole.table[part::3])
        np.testing.assert_array_equal(own.light_curves.lengths, whole.light_curves.lengths[part::3])


def _drawn(made: Objects, **options: Any) -> Examples:
    """A thousand draws of alerts, for a network that knows of the dust and the host's redshift."""
    training = TrainingConfig(batch_size=1000, crops="alerts", **options)
    shape = ATATConfig(n_classes=2, metadata_columns=("mwebv", "hostgal_zphot"))
    labels = (made.class_id == objects.VARIABLE).astype(np.int64)
    return Draws(Experiment("toy", "7", training=training), shape, made, labels, tables=None).step(0)


def test_a_draw_younger_than_half_a_day_has_no_forced_photometry_yet() -> None:
    made = objects.make(100)
    curves = made.light_curves
    detected = curves.detected.copy()
    detected[curves.offsets[:-1]] = False
    detected[curves.offsets[:-1] + 1] = True
    curves = replace(curves, detected=detected)
    curves = replace(curves, first_alert_mjd=curves.first_detection_mjd())
    drawn = _drawn(replace(made, light_curves=curves)).light_curves
    young = drawn.last_detection_mjd() - drawn.first_detection_mjd() < FORCED_DELAY_DAYS
    has_forced = drawn.lengths > drawn.detections
    assert 0.2 < young.mean() < 0.6
    assert not has_forced[young].any()
    assert has_forced[~young].mean() > 0.9


def test_of_metadata_as_much_is_hidden_as_asked() -> None:
    made = objects.make(100)
    drawn = _drawn(replace(made, metadata=np.ones_like(made.metadata)), missing_metadata=0.5, no_metadata=0.3)
    hidden = np.isnan(drawn.table)
    np.testing.assert_allclose(hidden.mean(axis=0), 0.5, atol=0.05)
    assert hidden.all(axis=1).mean() == pytest.approx(0.25, abs=0.05)  # each value by itself
    assert (~drawn.has_metadata).mean() == pytest.approx(0.3, abs=0.05)


def test_what_too_long_an_object_looked_like_early_on_is_learned_from_short_draws(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    """Light curves have 8 to 29 points, of which the network takes ten. A share of the longer ones is not cut short."""
    text = _of_atat2(objects.CONFIG).replace("full = 0.5", 'full = 0.25\ncrops = "windows"').replace("noise = 0.2", "")
    config.write_text(text.replace("[training]", "max_tokens = 10\n[training]"))
    draws = _trainer(config, data_set, tmp_path / "run").draws
    steps = [draws.step(number) for number in range(60)]
    lengths = np.concatenate([step.light_curves.lengths for step in steps])
    entire = torch.cat([step.entire for step in steps]).numpy()
    np.testing.assert_array_equal(entire, lengths <= 10)
    config.write_text(config.read_text().replace("full = 0.25", "full = 1.0"))
    whole = _trainer(config, data_set, tmp_path / "whole").draws
    long = np.concatenate([whole.step(number).light_curves.lengths for number in range(60)]) > 10
    assert long.mean() > 0.7
    assert (lengths < 5).mean() > 0.2  # no light curve has fewer than 8
    assert 0.25 < (~entire).mean() < 0.6


def test_mapped_objects_are_those_of_the_shards(data_set: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(data_set)
    chosen = np.random.default_rng(0).random(len(dataset)) < 0.5
    mapped, read = unpacked(dataset, chosen, directory=tmp_path), dataset.read().where(chosen)
    for name in ("object_id", "class_id", "source", "split", "fold", "metadata"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(read, name))
    for name in ("offsets", "first_alert_mjd", "mjd", "band", "flux", "flux_err", "detected"):
        np.testing.assert_array_equal(getattr(mapped.light_curves, name), getattr(read.light_curves, name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("architecture", ["atat", "atat2"])
def test_bfloat16_learns_nearly_as_float32_does(
    architecture: str, data_set: Path, config: Path, tmp_path: Path
) -> None:
    if architecture == "atat2":
        config.write_text(_of_atat2(objects.CONFIG))
    config.write_text(config.read_text().replace("steps = 60", "steps = 20"))
    losses = {}
    for precision in ("float32", "bfloat16"):
        output = tmp_path / precision
        command = ["train", str(config), "--data", str(data_set), "--output", str(output)]
        assert main([*command, "--precision", precision]) == 0
        with (output / "log.csv").open() as file:
            losses[precision] = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.1, atol=0.03)


def test_a_checkpoint_of_other_options_is_refused(
    data_set: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--data", str(data_set), "--output", str(tmp_path / "run"), "--minutes", "0.0001"]
    assert main(command) == 0
    assert main([*command, "--resume", "--seed", "3"]) == 1
    assert "its run has other options" in capsys.readouterr().err

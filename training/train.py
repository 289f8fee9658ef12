"""``python -m training train``: a configuration and a data directory in, a model artifact out.

A configuration with a ``[forest]`` grows a forest, from the table that ``python -m training features`` made.
"""

import argparse
import json
import math
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.calibration import UNCALIBRATED, Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs.light_curve import WINDOW_DAYS, LightCurves
from models.inputs.metadata import select
from models.network import AnyATAT, Network, build
from models.taxonomy import Taxonomy
from training.data import layout, views
from training.data.augmentation import Augmentation
from training.data.layout import InvalidData, Objects
from training.metrics import macro_f1, summary
from training.objectives import Examples, Objective

CONFIGS = Path(__file__).parent / "configs"
_CHECKPOINT = "checkpoint.pt"
_PRIOR = "uniform over the classes"


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Defaults are the thesis's (4.3.6)."""

    steps: int = 1_000_000
    """At most; early stopping or ``--minutes`` comes first."""
    batch_size: int = 256
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = 0
    """Steps over which the learning rate rises to its value."""
    label_smoothing: float = 0.0
    class_power: float = 0.0
    """Classes are drawn in proportion to their size to this power: 0 is class-balanced, 1 leaves them as they are."""
    logit_adjustment: bool = False
    """Take the drawn classes' unequal shares back in the loss, so that the model's prior is uniform."""
    ema: float = 0.0
    """Decay a step of the moving average of the weights that is evaluated and saved; 0 for none."""
    evaluate_every: int = 20_000
    patience: int = 3
    """Evaluations without a better score before training stops."""
    crops: Literal["alerts", "mta", "windows", "none"] = "alerts"
    """Draws that are not whole light curves: alerts as sent, mask temporal augmentation (4.3.5), any window as long as
    the model sees, or there are none."""
    full: float = 0.0
    """Share of the draws with the whole light curve, from the first alert - 30 days to the last detection (4.2). ATAT2,
    which learns from every alert of what is drawn, gives this share of the weight to the last."""
    missing_metadata: float = 0.0
    """Share of the metadata values to hide."""
    no_metadata: float = 0.0
    """Share of the objects to show without any."""
    seed: int = 0


@dataclass(frozen=True)
class Experiment:
    """One TOML file."""

    name: str
    version: str
    architecture: Literal["atat", "atat2"] = "atat"
    model: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidData for what is no experiment, naming the option."""
        try:
            values = tomllib.loads(path.read_text())
            training = TrainingConfig(**values.pop("training", {}))
            augmentation = Augmentation(**values.pop("augmentation", {}))
            experiment = cls(**values, training=training, augmentation=augmentation)
            build(experiment.architecture, {"n_classes": 1, **experiment.model})
        except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
            raise InvalidData(f"{path}: {error}") from error
        return experiment


class Trainer:
    """One training run in one directory: draws batches, takes steps, evaluates, keeps the best, resumes exactly."""

    def __init__(self, experiment: Experiment, objects: Objects, directory: Path) -> None:
        labelled = objects.where(objects.class_id != layout.UNKNOWN_CLASS)
        labelled = labelled.where(views.detections(labelled.light_curves) > 0)
        self.taxonomy = Taxonomy(tuple(sorted(set(labelled.class_id.tolist()))))
        self.train = labelled.where(labelled.split == "train")
        self.validation = labelled.where(labelled.split == "validation")
        for name, part in (("train", self.train), ("validation", self.validation)):
            absent = set(self.taxonomy.class_ids) - set(part.class_id.tolist())
            if absent:
                raise InvalidData(f"the {name} split has no object of class {', '.join(map(str, sorted(absent)))}")
        self.experiment = experiment
        self.config = experiment.training
        self.directory = directory
        self.labels = self.taxonomy.places(self.train.class_id)
        self.shares = _shares(self.labels, len(self.taxonomy), self.config.class_power)
        self.validation_views = _validation_views(self.validation, self._window())

        torch.manual_seed(self.config.seed)
        self.rng = np.random.default_rng(self.config.seed)
        self.model = build(experiment.architecture, {"n_classes": len(self.taxonomy), **experiment.model})
        self.model.fit_scales(select(self.train.metadata, self.model.config.metadata_columns))
        self.objective = Objective(
            adjustment=self.shares.log().float() if self.config.logit_adjustment else torch.zeros(len(self.taxonomy)),
            label_smoothing=self.config.label_smoothing,
            last=self.config.full,
        )
        self.average = AveragedModel(
            self.model,
            multi_avg_fn=get_ema_multi_avg_fn(self.config.ema),  # type: ignore[no-untyped-call]
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.best_step = 0
        self.history: list[dict[str, float]] = []

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self, *, minutes: float | None, console: Console) -> None:
        """Train until steps, patience or minutes run out, showing progress."""
        columns = ("[progress.description]{task.description}", "loss {task.fields[loss]:.3f}", "{task.fields[score]}")
        bar, *texts = (TextColumn(text) for text in columns)
        with Progress(
            bar, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), *texts, console=console
        ) as progress:
            task = progress.add_task(
                self.experiment.name, total=self.config.steps, completed=self.step, loss=math.nan, score=""
            )
            limit = math.inf if minutes is None else 60 * minutes
            started = time.monotonic() - self.seconds
            while self.step < self.config.steps and not self._out_of_patience():
                self.seconds = time.monotonic() - started
                if self.seconds >= limit:
                    break
                loss = self._take_step(max(self.step / self.config.steps, self.seconds / limit))
                done = limit if self.step >= self.config.steps else self.seconds
                progress.update(task, completed=self.step, loss=loss)
                if self.step % self.config.evaluate_every == 0 or done >= limit:
                    score = self._evaluate(loss)
                    progress.update(task, score=score)
                    progress.console.print(f"step {self.step}  {self.seconds / 60:.1f} min  loss {loss:.3f}  {score}")
                    self.save_checkpoint()
        if not self.history or self.history[-1]["step"] != self.step:
            console.print(f"step {self.step}  {self._evaluate(math.nan)}")
            self.save_checkpoint()

    def _take_step(self, progress: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(self.config, self.step, progress)
        examples = self._draw()
        self.model.train()
        loss = self.objective(self.model, examples)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return loss.item()

    def _draw(self) -> Examples:
        """Independent draws: a class, then an object of it, then a moment of its life, then an augmentation."""
        weights = (self.shares.numpy() / np.bincount(self.labels, minlength=len(self.taxonomy)))[self.labels]
        rows = self.rng.choice(len(self.train), size=self.config.batch_size, p=weights / weights.sum())
        curves = self.train.light_curves.take(rows)
        known = self.experiment.augmentation(self._cropped(curves), self.rng)
        metadata = select(self.train.metadata[rows], self.model.config.metadata_columns)
        metadata = np.where(self.rng.random(metadata.shape) < self.config.missing_metadata, np.nan, metadata)
        has_metadata = self.rng.random(len(rows)) >= self.config.no_metadata
        return Examples(known, metadata.astype(np.float32), has_metadata, torch.from_numpy(self.labels[rows]))

    def _cropped(self, curves: LightCurves) -> LightCurves:
        whole = curves.last_detection_mjd()
        if self.config.crops == "none":
            return curves.until(whole, window_days=self._window())
        if self.config.crops == "windows":
            return curves.until(views.random_window(curves, self.rng, self._window()), window_days=self._window())
        random_epoch = views.random_alert if self.config.crops == "alerts" else views.random_mta
        is_full = self.rng.random(len(curves)) < self.config.full
        epoch = np.where(is_full, whole, random_epoch(curves, self.rng))
        cut = LightCurves.as_sent if self.config.crops == "alerts" else LightCurves.until
        return cut(curves, epoch, window_days=self._window())

    def _window(self) -> float:
        return float(self.experiment.model.get("window_days", WINDOW_DAYS))

    def _out_of_patience(self) -> bool:
        evaluations_since = (self.step - self.best_step) // self.config.evaluate_every
        return evaluations_since > self.config.patience and bool(self.history)

    # --- evaluation and the artifact ------------------------------------------------------------------------------

    def _evaluate(self, loss: float) -> str:
        scores = {name: self._score(curves) for name, curves in self.validation_views.items()}
        score = float(np.mean(list(scores.values())))
        self.history.append({"step": self.step, "minutes": self.seconds / 60, "loss": loss, **scores})
        if score > self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best_weights = {name: tensor.clone() for name, tensor in self._evaluated().state_dict().items()}
        return "  ".join(f"F1 {name} {value:.3f}" for name, value in scores.items())

    def _evaluated(self) -> AnyATAT:
        """The weights to judge: their moving average, or as they are."""
        if self.config.ema == 0:
            return self.model
        return cast(AnyATAT, self.average.module)

    def _score(self, curves: LightCurves) -> float:
        classifier = self._classifier(self._evaluated(), UNCALIBRATED)
        has_metadata = np.ones(len(curves), dtype=np.bool_)
        predictions = classifier.predict(curves, self.validation.metadata, has_metadata)
        return macro_f1(self.taxonomy.places(self.validation.class_id), predictions.probabilities.argmax(1))

    def _classifier(self, model: AnyATAT, calibration: Calibration) -> Classifier:
        return Classifier(
            Network(model),
            taxonomy=self.taxonomy,
            calibration=calibration,
            name=self.experiment.name,
            version=self.experiment.version,
        )

    def best(self) -> Classifier:
        """The best weights, calibrated on the validation objects' alerts under a uniform prior."""
        model = build(self.experiment.architecture, self.model.config.to_dict())
        model.load_state_dict(self.best_weights)
        curves = self.validation_views["alerts"]
        has_metadata = np.ones(len(curves), dtype=np.bool_)
        heads = Network(model).score(curves, self.validation.metadata, has_metadata).logits
        labels = torch.from_numpy(self.taxonomy.places(self.validation.class_id))
        weights = 1 / torch.bincount(labels, minlength=len(self.taxonomy))[labels]
        temperatures = {name: fit_temperature(logits, labels, weights=weights) for name, logits in heads.items()}
        return self._classifier(model, Calibration(temperatures=temperatures, prior=_PRIOR))

    def save_artifact(self) -> Path:
        """Write the best model with where it comes from and how well it did on the validation objects."""
        classifier = self.best()
        labels = self.taxonomy.places(self.validation.class_id)
        has_metadata = np.ones(len(labels), dtype=np.bool_)
        metrics = {}
        for name, curves in self.validation_views.items():
            probabilities = classifier.predict(curves, self.validation.metadata, has_metadata).probabilities
            metrics[f"validation, {name}"] = summary(labels, probabilities.argmax(1), self.taxonomy)
        provenance = {
            "sources": sorted(set(self.train.source.tolist())),
            "training_objects": len(self.train),
            "validation_objects": len(self.validation),
            "steps": self.best_step,
            "minutes": round(self.seconds / 60, 1),
            "training": {option.name: getattr(self.config, option.name) for option in fields(self.config)},
            "augmentation": {
                option.name: getattr(self.experiment.augmentation, option.name)
                for option in fields(self.experiment.augmentation)
            },
        }
        artifact = self.directory / self.experiment.name
        classifier.provenance, classifier.metrics = provenance, metrics
        classifier.save(artifact)
        (self.directory / "history.json").write_text(json.dumps(self.history, indent=1) + "\n")
        return artifact

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Everything that the next step depends on, so that a resumed run takes the same steps."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "torch_rng": torch.get_rng_state(),
            "progress": {
                "step": self.step,
                "seconds": self.seconds,
                "best_score": self.best_score,
                "best_step": self.best_step,
                "history": self.history,
                "numpy_rng": json.dumps(self.rng.bit_generator.state),
            },
        }
        unfinished = self.directory / f"{_CHECKPOINT}.unfinished"
        torch.save(state, unfinished)
        unfinished.rename(self.directory / _CHECKPOINT)

    def resume(self) -> None:
        """Go on from the directory's checkpoint. Raises InvalidData if it has none, or one of another experiment."""
        try:
            state = torch.load(self.directory / _CHECKPOINT, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidData(f"{self.directory}: cannot resume: {error}") from error
        torch.set_rng_state(state["torch_rng"])
        self.best_weights = state["best_weights"]
        progress = state["progress"]
        self.rng.bit_generator.state = json.loads(progress.pop("numpy_rng"))
        for name, value in progress.items():
            setattr(self, name, value)


def _shares(labels: NDArray[np.int64], n_classes: int, power: float) -> Tensor:
    """The share of the draws that each class gets, (C,)."""
    sizes = torch.from_numpy(np.bincount(labels, minlength=n_classes)).double()
    return sizes**power / (sizes**power).sum()


def _validation_views(validation: Objects, window_days: float) -> dict[str, LightCurves]:
    """The validation objects whole, and as one alert each."""
    curves = validation.light_curves
    alert = views.random_alert(curves, np.random.default_rng(0))
    return {
        "full": curves.until(curves.last_detection_mjd(), window_days=window_days),
        "alerts": curves.as_sent(alert, window_days=window_days),
    }


def _schedule(config: TrainingConfig, step: int, progress: float) -> float:
    """Factor on the learning rate: the warm-up, then constant or a cosine down to 1 %."""
    warm_up = min(1.0, (step + 1) / (config.warm_up + 1))
    if config.schedule == "constant":
        return warm_up
    return warm_up * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("config", help=f"a TOML file, or the name of one in {CONFIGS.name}/ (atat-plasticc)")
    parser.add_argument("--data", type=Path, required=True, help="data in the layout; for a forest, their features")
    parser.add_argument(
        "--output", type=Path, required=True, help="directory of the run: checkpoint, history, artifact"
    )
    parser.add_argument("--minutes", type=float, help="stop, with the schedule finished, after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    parser.add_argument("--threads", type=int, help="threads of arithmetic (default: PyTorch's)")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    named = CONFIGS / f"{arguments.config}.toml"
    path = named if named.exists() else Path(arguments.config)
    console = Console(stderr=True)
    if is_forest(path):
        console.print(_grow_forest(path, arguments, console))
        return 0
    experiment = Experiment.read(path)
    arguments.output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(experiment, layout.read(arguments.data), arguments.output)
    if arguments.resume:
        trainer.resume()
    elif (arguments.output / _CHECKPOINT).exists():
        raise InvalidData(f"{arguments.output} holds a run already; --resume goes on with it")
    console.print(
        f"{len(trainer.train)} objects to train on, {len(trainer.validation)} to validate, "
        f"{len(trainer.taxonomy)} classes, {sum(weights.numel() for weights in trainer.model.parameters()):,} weights"
    )
    trainer.run(minutes=arguments.minutes, console=console)
    console.print(f"best at step {trainer.best_step}: {trainer.save_artifact()}")
    return 0


def is_forest(path: Path) -> bool:
    """Whether a TOML file is for a forest."""
    try:
        return "forest" in tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidData(f"{path}: {error}") from error


def _grow_forest(path: Path, arguments: argparse.Namespace, console: Console) -> Path:
    # Here, since forests need packages that ATAT does not.
    from training import features, forests  # noqa: PLC0415

    if arguments.minutes is not None or arguments.resume:
        raise InvalidData("a forest is grown in one go: --minutes and --resume are for networks")
    experiment = forests.ForestExperiment.read(path)
    return forests.train(experiment, features.read(arguments.data), arguments.output, console=console)

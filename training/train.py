"""``python -m training train``: a configuration and a data directory in, a model artifact out.

A configuration with a ``[forest]`` grows a forest, from the table that ``python -m training features`` made. Started by
``torchrun``, several processes train one network, each on its share of every batch.
"""

import argparse
import csv
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.calibration import Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs.batch import Batch
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences
from models.inputs.table import FloatTable, select
from models.network import AnyATAT, Network, build
from models.network_config import NetworkConfig
from models.scoring import Scores
from models.taxonomy import Taxonomy
from training import features, processes
from training.data import views
from training.data.layout import Dataset, InvalidData, Objects
from training.data.selection import Selection
from training.data.selection import select as select_objects
from training.data.unpacked import unpacked
from training.draws import Draws, Tables
from training.experiment import CONFIGS, TIERS, Experiment, TrainingConfig, is_forest, path_of
from training.features import FeatureTable
from training.metrics import macro_f1, summary
from training.objectives import Objective
from training.processes import World

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
_PRIOR = "uniform over the classes"
_CHECKPOINT_SECONDS = 60.0
_SHOW_SECONDS = 1.0
_SCALE_ROWS = 100_000
"""From so many objects, spread evenly over the training ones, the scales of the table's columns are taken."""

_DROPOUT = 2
"""Tells the numbers of dropout from those of draws."""


@dataclass(frozen=True)
class View:
    """The validation objects as they were at some moment."""

    light_curves: LightCurves
    table: FloatTable
    """(N, K), what the model sees beside them."""


class Trainer:
    """One training run in one directory: takes steps, evaluates, keeps the best, resumes exactly.

    All that a step depends on, besides the weights, follows from the seed and the step's number.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        directory: Path,
        *,
        table: FeatureTable | None = None,
        world: World | None = None,
    ) -> None:
        """``table`` has the features, for a model that sees any. Raises InvalidData for data that do not do."""
        self.world = world or World(0, 1, torch.device("cpu"))
        self.directory = directory
        self.train, self.validation = _parts(dataset, experiment.training, directory)
        self.taxonomy = Taxonomy(tuple(sorted(set(self.train.class_id.tolist()))))
        self.experiment = experiment
        self.config = experiment.training

        torch.manual_seed(self.config.seed)
        model = build(experiment.architecture, {"n_classes": len(self.taxonomy), **experiment.model})
        shape = model.config
        if shape.feature_columns and table is None:
            raise InvalidData(f"{experiment.name} sees features: --features names a table of them")
        tables = [
            Tables(table, part, shape) if shape.feature_columns and table else None
            for part in (self.train, self.validation)
        ]
        self.draws = Draws(experiment, shape, self.train, self.taxonomy, tables=tables[0])
        self.views = dict(_views(self.validation, shape, self.config, tables[1]))
        self._alerts = None if tables[1] else _alerts(self.validation, shape)
        rows = np.unique(np.linspace(0, len(self.train) - 1, _SCALE_ROWS).astype(np.int64))
        model.fit_scales(_table(self.train, rows, shape, tables[0], len(views.MTA_DAYS) - 1))

        self.model = model.to(self.world.device)
        self._forward = self.world.shared(self.model)
        shares = torch.from_numpy(self.draws.shares).log().float()
        self.objective = Objective(
            adjustment=(shares if self.config.logit_adjustment else torch.zeros_like(shares)).to(self.world.device),
            label_smoothing=self.config.label_smoothing,
            last=self.config.full if self.config.every_prefix else 1.0,
        )
        self.average = AveragedModel(
            self.model,
            multi_avg_fn=get_ema_multi_avg_fn(self.config.ema),  # type: ignore[no-untyped-call]
        )
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )
        self.step = 0
        self.seconds = 0.0
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.best_step = 0
        self.history: list[dict[str, float]] = []
        self._loss = torch.zeros((), device=self.world.device)
        self._loss_steps = 0

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self, *, minutes: float | None, console: Console) -> None:
        """Train until steps, patience or minutes run out, showing progress and what time is left."""
        limit = math.inf if minutes is None else 60 * minutes
        started = time.monotonic() - self.seconds
        saved = shown = time.monotonic()
        with _progress(console, self.experiment.name) as progress, self._drawn_ahead() as drawn:
            while not self._out_of_patience():
                self.seconds = time.monotonic() - started
                done = max(self.step / self.config.steps, self.seconds / limit)
                if minutes is not None:  # clocks differ, and all processes must stop at the same step
                    done = self.world.agreed(done)
                if done >= 1:
                    break
                self._take_step(done, *next(drawn))
                if time.monotonic() - shown > _SHOW_SECONDS:
                    shown = time.monotonic()
                    progress.update(
                        TaskID(0), completed=done, step=self.step, loss=float(self._loss) / self._loss_steps
                    )
                if self.step % self.config.evaluate_every == 0:
                    self._evaluate(progress.console)
                if self.world.leads and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    self.save_checkpoint()
                    saved = time.monotonic()
            if not self.history or self.history[-1]["step"] != self.step:
                self._evaluate(progress.console)

    def take_step(self) -> None:
        """One step of the run, by itself."""
        with self._drawn_ahead() as drawn:
            self._take_step(self.step / self.config.steps, *next(drawn))

    def _take_step(self, progress: float, batch: Batch | Sequences, labels: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(self.config, self.step, progress)
        torch.manual_seed(_seed(self.config.seed, _DROPOUT, self.step, self.world.rank))
        self.model.train()
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = self.objective(self._forward(batch), batch, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        if self.config.ema:
            self.average.update_parameters(self.model)
        self._loss += loss.detach()
        self._loss_steps += 1
        self.step += 1

    @contextmanager
    def _drawn_ahead(self) -> Iterator[Iterator[tuple[Batch | Sequences, Tensor]]]:
        """The batches from this step on, the next one being drawn while one is learned from."""
        with ThreadPoolExecutor(1) as thread:

            def batches() -> Iterator[tuple[Batch | Sequences, Tensor]]:
                waiting: Future[tuple[Batch | Sequences, Tensor]] = thread.submit(self._drawn, self.step)
                for number in range(self.step + 1, self.config.steps + 1):
                    batch, labels = waiting.result()
                    waiting = thread.submit(self._drawn, number)
                    yield batch.to(self.world.device), labels.to(self.world.device)

            yield batches()

    def _drawn(self, step: int) -> tuple[Batch | Sequences, Tensor]:
        examples = self.draws.step(step, part=self.world.rank, parts=self.world.size)
        return self.model.pack(examples.light_curves, examples.table, examples.has_metadata), examples.labels

    def _out_of_patience(self) -> bool:
        evaluations_since = (self.step - self.best_step) // self.config.evaluate_every
        return evaluations_since > self.config.patience and bool(self.history)

    # --- evaluation and the artifact ------------------------------------------------------------------------------

    def _evaluate(self, console: Console) -> None:
        if self.world.leads:
            self._judge(console)
            self.save_checkpoint()
        self.best_step, self.history = self.world.agreed((self.best_step, self.history))

    def _judge(self, console: Console) -> None:
        model = self.model if self.config.ema == 0 else cast(AnyATAT, self.average.module)
        scores = {f"F1 {name}": self._score(model, view) for name, view in self.views.items()}
        score = float(np.mean(list(scores.values())))
        loss = float(self._loss) / max(self._loss_steps, 1)
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"step": self.step, "minutes": self.seconds / 60, "learning_rate": rate, "loss": loss, **scores}
        self.history = [*self.history, row]
        self._loss.zero_()
        self._loss_steps = 0
        if score > self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best_weights = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        _write_log(self.directory / LOG, self.history)
        told = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        console.print(f"step {self.step}  {self.seconds / 60:.1f} min  loss {loss:.3f}  {told}")

    def _score(self, model: AnyATAT, view: View) -> float:
        scores = self._scores(model, view)
        return macro_f1(self.taxonomy.places(self.validation.class_id), _answers(scores).numpy().argmax(1))

    def _scores(self, model: AnyATAT, view: View) -> Scores:
        has_metadata = np.ones(len(view.light_curves), dtype=np.bool_)
        network = Network(model, device=str(self.world.device))
        return network.score_table(view.light_curves, view.table, has_metadata)

    def best(self) -> Classifier:
        """The best weights, calibrated on the validation objects under a uniform prior.

        On an alert of each as sent; a model of features, which are dear, on what it was judged by.
        """
        model = self._best_model()
        every = list(self.views.values()) if self._alerts is None else [self._alerts]
        scores = [self._scores(model, view).logits for view in every]
        labels = torch.from_numpy(self.taxonomy.places(self.validation.class_id)).repeat(len(every))
        weights = 1 / torch.bincount(labels, minlength=len(self.taxonomy))[labels]
        temperatures = {
            name: fit_temperature(torch.cat([heads[name] for heads in scores]), labels, weights=weights)
            for name in scores[0]
        }
        return Classifier(
            Network(model),
            taxonomy=self.taxonomy,
            calibration=Calibration(temperatures=temperatures, prior=_PRIOR),
            name=self.experiment.name,
            version=self.experiment.version,
        )

    def _best_model(self) -> AnyATAT:
        model = build(self.experiment.architecture, self.model.config.to_dict())
        model.load_state_dict(self.best_weights)
        return model.to(self.world.device)

    def save_artifact(self) -> Path:
        """Write the best model with where it comes from and how well it did on the validation objects."""
        classifier = self.best()
        model = self._best_model()
        labels = self.taxonomy.places(self.validation.class_id)
        classifier.metrics = {
            f"validation, {name}": summary(labels, _answers(self._scores(model, view)).numpy().argmax(1), self.taxonomy)
            for name, view in self.views.items()
        }
        classifier.provenance = {
            "sources": sorted(set(self.train.source.tolist())),
            "tier": self.experiment.tier,
            "training_objects": len(self.train),
            "validation_objects": len(self.validation),
            "steps": self.best_step,
            "minutes": round(self.seconds / 60, 1),
            "training": asdict(self.config),
            "augmentation": asdict(self.experiment.augmentation),
        }
        artifact = self.directory / self.experiment.name
        classifier.save(artifact)
        return artifact

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Everything that the next step depends on, so that a resumed run takes the same steps."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "experiment": self._identity(),
            "progress": {
                "step": self.step,
                "seconds": self.seconds,
                "best_score": self.best_score,
                "best_step": self.best_step,
                "history": self.history,
                "_loss": self._loss,
                "_loss_steps": self._loss_steps,
            },
        }
        unfinished = self.directory / f"{CHECKPOINT}.unfinished"
        torch.save(state, unfinished)
        unfinished.replace(self.directory / CHECKPOINT)

    def resume(self) -> None:
        """Go on from the directory's checkpoint. Raises InvalidData if it has none, or one of another experiment."""
        try:
            state = torch.load(self.directory / CHECKPOINT, weights_only=True, map_location=self.world.device)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidData(f"{self.directory}: cannot resume: {error}") from error
        if state["experiment"] != self._identity():
            raise InvalidData(f"{self.directory}: cannot resume: its run has other options, or other objects")
        self.best_weights = {name: tensor.cpu() for name, tensor in state["best_weights"].items()}
        for name, value in state["progress"].items():
            setattr(self, name, value)

    def _identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it goes on with."""
        return {
            "model": self.model.config.to_dict(),
            "training": asdict(replace(self.config, steps=0)),
            "augmentation": asdict(self.experiment.augmentation),
            "objects": [len(self.train), int(self.train.object_id.sum()), len(self.validation)],
        }


# --- objects and views ---------------------------------------------------------------------------------------------


def selection_of(dataset: Dataset, config: TrainingConfig) -> Selection:
    """The rows that a run learns from and is judged by."""
    return select_objects(dataset.index(), objects=config.objects, fold=config.fold)


def _parts(dataset: Dataset, config: TrainingConfig, directory: Path) -> tuple[Objects, Objects]:
    """The training and the validation objects. Raises InvalidData if a class is missing from either."""
    selection = selection_of(dataset, config)
    parts = [unpacked(dataset, rows, directory=directory) for rows in (selection.train, selection.validation)]
    classes = [set(part.class_id.tolist()) for part in parts]
    for name, found in zip(("train", "validation"), classes, strict=True):
        absent = (classes[0] | classes[1]) - found
        if absent or not found:
            told = ", ".join(map(str, sorted(absent))) or "any"
            raise InvalidData(f"the {name} split has no object of class {told}")
    return parts[0], parts[1]


def _table(
    objects: Objects, rows: NDArray[np.int64], shape: NetworkConfig, tables: Tables | None, day: int
) -> FloatTable:
    metadata = select(objects.metadata[rows], shape.metadata_columns)
    if tables is None:
        return metadata
    return np.hstack([tables.of(rows, np.full(len(rows), day)), metadata])


def _views(
    validation: Objects, shape: NetworkConfig, config: TrainingConfig, tables: Tables | None
) -> Iterator[tuple[str, View]]:
    """What early stopping looks at: what is trained on. Days after the first alert, or whole and as one alert each."""
    curves, everyone = validation.light_curves, np.arange(len(validation))
    if config.crops in ("mta", "none"):
        for day, days in enumerate(views.MTA_DAYS):
            if config.crops == "mta" or days == views.MTA_DAYS[-1]:
                epoch = views.days_after_first_alert(curves, np.full(len(curves), days))
                cut = curves.until(epoch, window_days=shape.window_days)
                yield f"{days:.0f} days", View(cut, _table(validation, everyone, shape, tables, day))
        return
    if tables is not None:
        raise InvalidData('features are known at the days of MTA only: crops = "mta" or "none"')
    whole = curves.until(curves.last_detection_mjd(), window_days=shape.window_days)
    yield "full", View(whole, _table(validation, everyone, shape, None, 0))
    yield "alerts", _alerts(validation, shape)


def _alerts(validation: Objects, shape: NetworkConfig) -> View:
    curves = validation.light_curves
    epoch = views.random_alert(curves, np.random.default_rng(0))
    sent = curves.as_sent(epoch, window_days=shape.window_days)
    return View(sent, _table(validation, np.arange(len(validation)), shape, None, 0))


def _answers(scores: Scores) -> Tensor:
    """Logits (N, C) of the head that answers: one for all, since all have metadata."""
    return scores.logits[str(scores.head[0])]


# --- small things --------------------------------------------------------------------------------------------------


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _schedule(config: TrainingConfig, step: int, progress: float) -> float:
    """Factor on the learning rate: the warm-up, then constant or a cosine down to 1 %."""
    warm_up = min(1.0, (step + 1) / (config.warm_up + 1))
    if config.schedule == "constant":
        return warm_up
    return warm_up * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(history[0]))
        rows.writeheader()
        rows.writerows(history)
    unfinished.replace(path)


@contextmanager
def _progress(console: Console, name: str) -> Iterator[Progress]:
    columns = (
        *(TextColumn("[progress.description]{task.description}"), BarColumn(), TaskProgressColumn()),
        *(TextColumn("step {task.fields[step]}"), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}")),
    )
    with Progress(*columns, console=console) as progress:
        progress.add_task(name, total=1.0, step=0, loss=math.nan)
        yield progress


# --- the command ---------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("config", help=f"a TOML file, or the name of one in {CONFIGS.name}/ (lc-md-mta)")
    parser.add_argument("--data", type=Path, required=True, help="data in the layout; for a forest, their features")
    parser.add_argument("--features", type=Path, help="their table of features, for a network that sees some")
    parser.add_argument("--output", type=Path, required=True, help="directory of the run: checkpoint, log, artifact")
    parser.add_argument("--tier", choices=tuple(TIERS), help="train at this size")
    parser.add_argument("--seed", type=int, help="of the weights and the draws")
    parser.add_argument("--fold", type=int, help="validate on this fold, train on the others")
    parser.add_argument("--precision", choices=("float32", "bf16"), help="of the matrix products")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--minutes", type=float, help="stop, with the schedule finished, after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    parser.add_argument("--threads", type=int, help="threads of arithmetic (default: PyTorch's)")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    path = path_of(arguments.config)
    if is_forest(path):
        console = Console(stderr=True)
        console.print(_grow_forest(path, arguments, console))
        return 0
    experiment = Experiment.read(path)
    if arguments.tier:
        experiment = experiment.at(TIERS[arguments.tier])
    options = {name: getattr(arguments, name) for name in ("seed", "fold", "precision")}
    experiment = experiment.trained(**{name: value for name, value in options.items() if value is not None})
    if (arguments.output / CHECKPOINT).exists() and not arguments.resume:
        raise InvalidData(f"{arguments.output} holds a run already; --resume goes on with it")
    with processes.joined(arguments.device) as world:
        console = Console(stderr=True, quiet=not world.leads)
        train(
            experiment,
            Dataset.open(arguments.data),
            arguments.output,
            features_directory=arguments.features,
            minutes=arguments.minutes,
            resume=arguments.resume,
            world=world,
            console=console,
        )
    return 0


def train(
    experiment: Experiment,
    dataset: Dataset,
    output: Path,
    *,
    features_directory: Path | None,
    minutes: float | None,
    resume: bool,
    world: World,
    console: Console,
) -> None:
    """A network from start to artifact. Raises InvalidData for data, a table or a checkpoint that do not do."""
    output.mkdir(parents=True, exist_ok=True)
    experiment, table = with_features(experiment, dataset, features_directory)
    trainer = Trainer(experiment, dataset, output, table=table, world=world)
    if resume:
        trainer.resume()
    console.print(
        f"{len(trainer.train)} objects to train on, {len(trainer.validation)} to validate, "
        f"{len(trainer.taxonomy)} classes, {sum(weights.numel() for weights in trainer.model.parameters()):,} weights"
    )
    trainer.run(minutes=minutes, console=console)
    if world.leads:
        console.print(f"best at step {trainer.best_step}: {trainer.save_artifact()}")


def with_features(
    experiment: Experiment, dataset: Dataset, directory: Path | None
) -> tuple[Experiment, FeatureTable | None]:
    """The features of a run's objects, if it sees any, and the run with no more of them than its tier has."""
    shape = build(experiment.architecture, {"n_classes": 1, **experiment.model}).config
    if not shape.feature_columns or directory is None:
        return experiment, None
    table = selected_features(dataset, experiment.training, directory)
    if table.max_points != shape.max_points:
        raise InvalidData(
            f"{directory} has features of light curves thinned to {table.max_points} points, "
            f"{experiment.name} sees {shape.max_points}: python -m training features --points"
        )
    most = TIERS[experiment.tier].features if experiment.tier else None
    if most is None or len(shape.feature_columns) <= most:
        return experiment, table
    from training import forests  # noqa: PLC0415 - forests need packages that ATAT does not

    chosen = forests.most_telling(table.where(table.split == "train"), most)
    return replace(experiment, model={**experiment.model, "feature_columns": chosen}), table


def selected_features(dataset: Dataset, config: TrainingConfig, directory: Path) -> FeatureTable:
    """The features of the objects that a run learns from and is judged by, with the splits that it sees."""
    selection, index = selection_of(dataset, config), dataset.index()
    table = features.read(directory, objects=index.object_id[selection.train | selection.validation])
    held_out = np.isin(table.object_id, index.object_id[selection.validation])
    return replace(table, split=np.where(held_out, "validation", "train"))


def _grow_forest(path: Path, arguments: argparse.Namespace, console: Console) -> Path:
    # Here, since forests need packages that ATAT does not.
    from training import forests  # noqa: PLC0415

    if arguments.minutes is not None or arguments.resume:
        raise InvalidData("a forest is grown in one go: --minutes and --resume are for networks")
    experiment = forests.ForestExperiment.read(path)
    return forests.train(experiment, features.read(arguments.data), arguments.output, console=console)

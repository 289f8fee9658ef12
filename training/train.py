"""``python -m training train``: a configuration and a data directory in, a model artifact out.

A configuration with a ``[forest]`` grows a forest, from the table that ``python -m training features`` made. Started by
``torchrun``, several processes train one network, each on its share of every batch.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from models.calibration import UNIFORM, Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs.batch import Batch
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences
from models.inputs.table import FloatTable, select
from models.network import AnyATAT, Network, build
from models.network_config import NetworkConfig
from models.scoring import Scores
from models.taxonomy import CLASS_NAMES, Taxonomy
from training import features, options, processes
from training.arguments import block_count, fold_number, seed_number, share
from training.data import views
from training.data.layout import Dataset, Objects
from training.data.selection import Selection
from training.data.selection import select as select_objects
from training.data.unpacked import unpacked
from training.draws import Draws, Tables
from training.errors import InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, TrainingConfig, is_forest, path_of
from training.features import FeatureTable
from training.loop import Judgement, Loop
from training.metrics import macro_f1, summary
from training.objectives import Objective
from training.pretrained import Pretrained
from training.processes import World

_OF_OBJECTS = ("fold", "left_out", "labels")
"""Options that choose what is learned from."""
_OF_NETWORKS = ("minutes", "tier", "init", "init_blocks", "freeze_blocks", "precision")
"""Options that a forest has no use for."""
_LEAST_JUDGED = 10
"""Of a class with fewer validation objects one right answer more or less would decide: it takes no part in the F1."""

_SCALE_ROWS = 100_000
"""From so many objects, spread evenly over the training ones, the scales of the table's columns are taken."""


@dataclass(frozen=True)
class View:
    """The validation objects as they were at some moment."""

    light_curves: LightCurves
    table: FloatTable
    """(N, K), what the model sees beside them."""


@dataclass(frozen=True)
class Packed:
    """A step's light curves as the network takes them, and what they are."""

    batch: Batch | Sequences
    labels: Tensor
    """(B,), places among the outputs."""
    entire: Tensor
    """(B,) bool, as in Examples."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(self.batch.to(device), self.labels.to(device), self.entire.to(device))


class Trainer(Loop[AnyATAT, Packed]):
    """One training run in one directory: learns to classify, and leaves an artifact."""

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        directory: Path,
        *,
        table: FeatureTable | None = None,
        init: Pretrained | None = None,
        world: World | None = None,
    ) -> None:
        """``table`` has the features, for a model that sees any; with ``init``, weights start as pretrained.

        Raises InvalidData for data that do not do, or a pretrained network that is of another architecture.
        """
        world = world or World.alone("cpu")
        self.train, self.validation = _parts(dataset, experiment.training, directory)
        self.fingerprint = dataset.index().fingerprint
        self.taxonomy = Taxonomy(tuple(sorted(set(self.train.class_id.tolist()))))
        self.experiment = experiment
        self.init = init

        torch.manual_seed(experiment.training.seed)
        model = build(experiment.architecture, {"n_classes": len(self.taxonomy), **experiment.model})
        shape = model.config
        if shape.feature_columns and table is None:
            raise InvalidData(f"{experiment.name} sees features: --features names a table of them")
        tables = [
            Tables(table, part, shape) if shape.feature_columns and table else None
            for part in (self.train, self.validation)
        ]
        labels = self.taxonomy.places(self.train.class_id)
        self.draws = Draws(experiment, shape, self.train, labels, tables=tables[0])
        self.views = dict(_views(self.validation, shape, experiment.training, tables[1]))
        self._alerts = None if tables[1] else _alerts(self.validation, shape)
        if init is None:
            self._fit_scales(model, dataset, directory, tables[0])
        else:  # scales are among what it knows, also those of columns that are missing from these data
            init.must_not_have_seen(self.fingerprint, experiment.training)
            init.start(model)
        super().__init__(experiment.name, model, experiment.training, directory, world)
        shares = torch.from_numpy(self.draws.shares).log().float()
        self.objective = Objective(
            adjustment=(shares if self.config.logit_adjustment else torch.zeros_like(shares)).to(self.world.device),
            label_smoothing=self.config.label_smoothing,
            last=self.config.full if self.config.every_prefix else 1.0,
        )

    def _fit_scales(self, model: AnyATAT, dataset: Dataset, directory: Path, tables: Tables | None) -> None:
        """On metadata of all objects to train on: that needs no label. Features are known of labelled ones only."""
        config, objects = self.experiment.training, self.train
        if tables is None and config.labels < 1:
            every = selection_of(dataset, replace(config, labels=1.0)).train
            objects = unpacked(dataset, every, directory=directory)
        rows = np.unique(np.linspace(0, len(objects) - 1, _SCALE_ROWS).astype(np.int64))
        try:
            model.fit_scales(_table(objects, rows, model.config, tables, len(views.MTA_DAYS) - 1))
        except ValueError as error:
            raise InvalidData(f"{self.experiment.name}: {error}") from error

    # --- as the loop asks -------------------------------------------------------------------------------------------

    def drawn(self, step: int) -> Packed:
        """The step's light curves, or this process's share of them."""
        examples = self.draws.step(step, part=self.world.rank, parts=self.world.size)
        batch = self.model.pack(examples.light_curves, examples.table, examples.has_metadata)
        return Packed(batch, examples.labels, examples.entire)

    def loss(self, drawn: Packed) -> Tensor:
        """Cross-entropies."""
        return self.objective(self._forward(drawn.batch), drawn.batch, drawn.labels, drawn.entire)

    def judge(self, model: AnyATAT) -> Judgement:
        """Macro F1 of every view, and their mean."""
        scores = {f"F1 {name}": self._score(model, view) for name, view in self.views.items()}
        return Judgement(float(np.mean(list(scores.values()))), scores)

    def identity(self) -> dict[str, Any]:
        """Options, objects (and with them the share that is labelled), and where the weights started."""
        training = asdict(replace(self.config, steps=0))
        del training["labels"]
        return {
            "model": self.model.config.to_dict(),
            "training": training,
            "augmentation": asdict(self.experiment.augmentation),
            "objects": [len(self.train), int(self.train.object_id.sum()), len(self.validation)],
            **({} if self.init is None else {"init": self.init.describe()}),
        }

    # --- evaluation and the artifact --------------------------------------------------------------------------------

    def _score(self, model: AnyATAT, view: View) -> float:
        scores = self._scores(model, view)
        labels = self.taxonomy.places(self.validation.class_id)
        return macro_f1(labels, _answers(scores).numpy().argmax(1), least=_LEAST_JUDGED)

    def _scores(self, model: AnyATAT, view: View) -> Scores:
        has_metadata = np.ones(len(view.light_curves), dtype=np.bool_)
        network = Network(model, device=str(self.world.device))
        return network.score_table(view.light_curves, view.table, has_metadata)

    def best(self) -> Classifier:
        """The best weights, calibrated on the validation objects under a uniform prior.

        On an alert of each as sent; a model of features, which are dear, on what it was judged by. A class of fewer
        than _LEAST_JUDGED objects counts for as much less.
        """
        model = self._best_model()
        every = list(self.views.values()) if self._alerts is None else [self._alerts]
        scores = [self._scores(model, view).logits for view in every]
        labels = torch.from_numpy(self.taxonomy.places(self.validation.class_id)).repeat(len(every))
        sizes = torch.bincount(labels, minlength=len(self.taxonomy))
        weights = 1 / sizes.clamp_min(_LEAST_JUDGED * len(every))[labels]
        temperatures = {
            name: fit_temperature(torch.cat([heads[name] for heads in scores]), labels, weights=weights)
            for name in scores[0]
        }
        return Classifier(
            Network(model),
            taxonomy=self.taxonomy,
            calibration=Calibration(temperatures=temperatures, prior=UNIFORM),
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
            "data": self.fingerprint,
            "tier": self.experiment.tier,
            "training_objects": len(self.train),
            "validation_objects": len(self.validation),
            "steps": self.step,
            "best_step": self.best_step,
            "minutes": round(self.seconds / 60, 1),
            "training": asdict(self.config),
            "augmentation": asdict(self.experiment.augmentation),
            **({} if self.init is None else {"init": self.init.describe()}),
        }
        artifact = self.directory / self.experiment.name
        classifier.save(artifact)
        return artifact


# --- objects and views ---------------------------------------------------------------------------------------------


def selection_of(dataset: Dataset, config: TrainingConfig) -> Selection:
    """The rows that a run learns from and is judged by."""
    return select_objects(
        dataset.index(),
        objects=config.objects,
        fold=config.fold,
        left_out=config.left_out,
        labels=config.labels,
        seed=config.seed,
    )


def _parts(dataset: Dataset, config: TrainingConfig, directory: Path) -> tuple[Objects, Objects]:
    """The training and the validation objects. Raises InvalidData if a class is missing from either."""
    selection = selection_of(dataset, config)
    parts = [unpacked(dataset, rows, directory=directory) for rows in (selection.train, selection.validation)]
    classes = [set(part.class_id.tolist()) for part in parts]
    for name, found in zip(("train", "validation"), classes, strict=True):
        absent = (classes[0] | classes[1]) - found
        if absent or not found:
            told = ", ".join(CLASS_NAMES[class_id] for class_id in sorted(absent)) or "any"
            raise InvalidData(
                f"the {name} split has no object of class {told}: more objects, or fewer classes, are needed"
            )
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


# --- the command ---------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("config", help=f"a TOML file, or the name of one in {CONFIGS.name}/ (lc-md-mta)")
    parser.add_argument(
        "--data", type=Path, required=True, help="data in the layout; for a forest, their features will do"
    )
    parser.add_argument("--features", type=Path, help="their table of features, for a model that sees some")
    parser.add_argument(
        "--alert-features", type=Path, help="one by features --alerts, for a forest that learns from alerts, too"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the run: checkpoint, log, artifact")
    parser.add_argument("--tier", choices=tuple(TIERS), help="train at this size")
    parser.add_argument("--seed", type=seed_number, help="of the weights and the draws")
    parser.add_argument("--fold", type=fold_number, help="validate on this fold, train on the others")
    parser.add_argument(
        "--leave-out", type=fold_number, dest="left_out", metavar="FOLD", help="a fold to try the model on"
    )
    parser.add_argument("--labels", type=share, help="share of the training objects to learn from, within each class")
    parser.add_argument("--init", type=Path, help="weights to start from: pretrained ones, or a model's")
    parser.add_argument(
        "--init-blocks",
        type=block_count,
        metavar="N",
        help="start the inputs and N blocks of each transformer so (default: all)",
    )
    parser.add_argument(
        "--freeze-blocks",
        type=block_count,
        metavar="N",
        help="leave the inputs and N blocks as pretrained (default: none are)",
    )
    options.add_run(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    path = path_of(arguments.config)
    if is_forest(path):
        console = Console(stderr=True)
        console.print(_grow_forest(path, arguments, console))
        return 0
    if arguments.alert_features is not None:
        raise InvalidData("--alert-features is for forests: a network makes the alerts that it learns from")
    experiment = Experiment.read(path)
    if arguments.tier:
        experiment = experiment.at(TIERS[arguments.tier])
    experiment = experiment.trained(**options.given(arguments, ("seed", *_OF_OBJECTS, "precision")))
    options.must_not_hold_a_run(arguments.output, resume=arguments.resume)
    init = _init(arguments)
    with processes.joined(arguments.device) as world:
        console = Console(stderr=True, quiet=not world.leads)
        train(
            experiment,
            Dataset.open(arguments.data),
            arguments.output,
            features_directory=arguments.features,
            minutes=arguments.minutes,
            resume=arguments.resume,
            init=init,
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
    init: Pretrained | None = None,
    world: World,
    console: Console,
) -> None:
    """A network from start to artifact. Raises InvalidData for data, a table or a checkpoint that do not do."""
    output.mkdir(parents=True, exist_ok=True)
    experiment, table = with_features(experiment, dataset, features_directory)
    trainer = Trainer(experiment, dataset, output, table=table, init=init, world=world)
    if resume:
        trainer.resume()
    console.print(
        f"{len(trainer.train)} objects to train on, {len(trainer.validation)} to validate, "
        f"{len(trainer.taxonomy)} classes, {sum(weights.numel() for weights in trainer.model.parameters()):,} weights"
    )
    trainer.run(minutes=minutes, console=console)
    if world.leads:
        console.print(f"best at step {trainer.best_step}: {trainer.save_artifact()}")


def _init(arguments: argparse.Namespace) -> Pretrained | None:
    if arguments.init is None:
        if arguments.init_blocks is not None or arguments.freeze_blocks is not None:
            raise InvalidData("--init-blocks and --freeze-blocks are of the weights that --init names")
        return None
    return Pretrained.read(arguments.init, blocks=arguments.init_blocks, frozen=arguments.freeze_blocks)


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

    unfit = [*options.given(arguments, _OF_NETWORKS), *(["resume"] if arguments.resume else [])]
    if unfit:
        told = ", ".join(f"--{name.replace('_', '-')}" for name in unfit)
        raise InvalidData(f"a forest is grown in one go, by its file alone: {told} is for networks")
    experiment = forests.ForestExperiment.read(path)
    if arguments.seed is not None:
        experiment = replace(experiment, seed=arguments.seed)
    chosen = options.given(arguments, _OF_OBJECTS)
    read: Callable[[Path], FeatureTable]
    if arguments.features is not None:
        dataset, config = Dataset.open(arguments.data), TrainingConfig(**chosen)
        read = functools.partial(selected_features, dataset, config)
    elif chosen:
        raise InvalidData("the objects of a forest are chosen from data in the layout, with --features beside them")
    else:
        read = features.read
    table = read(arguments.features or arguments.data)
    alerts = None if arguments.alert_features is None else read(arguments.alert_features)
    return forests.train(experiment, table, arguments.output, alerts=alerts, chosen=chosen, console=console)

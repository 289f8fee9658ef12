"""One network from start to artifact: learns to classify, is judged on validation objects, leaves its best weights."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from models.calibration import UNIFORM, Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs import ragged
from models.inputs.batch import Batch
from models.inputs.sequence import Sequences
from models.network import AnyATAT, Network, build
from models.scoring import Scores
from models.taxonomy import Taxonomy
from training.data import views
from training.data.layout import Dataset
from training.data.unpacked import unpacked
from training.draws import Draws, Tables
from training.errors import InvalidData
from training.experiment import Experiment
from training.features import FeatureTable
from training.loop import Judgement, Loop
from training.metrics import macro_f1, summary
from training.objectives import Objective
from training.pretrained import Pretrained
from training.processes import World
from training.selected import parts_of, selection_of, with_features
from training.validation import ALERTS, View, alerts_of, table_of, views_of

_LEAST_JUDGED = 10
"""Of a class with fewer validation objects one right answer more or less would decide: it takes no part in the F1."""

_SCALE_ROWS = 100_000
"""From so many objects, spread evenly over the training ones, the scales of the table's columns are taken."""


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
        self.train, self.validation = parts_of(dataset, experiment.training, directory)
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
        self.views = dict(views_of(self.validation, shape, experiment.training, tables[1]))
        self._alerts = None if tables[1] else self.views.get(ALERTS) or alerts_of(self.validation, shape)
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
        rows = ragged.evenly(len(objects), _SCALE_ROWS)
        try:
            model.fit_scales(table_of(objects, rows, model.config, tables, len(views.MTA_DAYS) - 1))
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
        training = {**asdict(self.config), "steps": 0}
        del training["labels"]
        return {
            "model": self.model.config.to_dict(),
            "training": training,
            "augmentation": asdict(self.experiment.augmentation),
            "objects": [len(self.train), int(self.train.object_id.sum()), len(self.validation)],
            "data": self.fingerprint,
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


def _answers(scores: Scores) -> Tensor:
    """Logits (N, C) of the head that answers: one for all, since all have metadata."""
    return scores.logits[str(scores.head[0])]


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

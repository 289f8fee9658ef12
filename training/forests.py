"""Forests from a table of features: what ``python -m training train`` does for a configuration with a ``[forest]``."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.console import Console

from models.arrays import BoolArray
from models.calibration import UNIFORM, Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs import features
from models.inputs.table import select
from models.random_forest import Boosted, Forest, ForestConfig
from models.taxonomy import Taxonomy
from training.data.layout import UNKNOWN_CLASS
from training.errors import InvalidData
from training.features import ALERTS, LENGTHS, FeatureTable
from training.metrics import summary


@dataclass(frozen=True)
class ForestExperiment:
    """One TOML file with a ``[forest]``."""

    name: str
    version: str
    forest: ForestConfig
    days: tuple[float, ...] = (8.0, 128.0, 2048.0)
    """Lengths of light curve to learn from, pooled (4.4.1): days after the first alert."""
    alerts: bool = False
    """Whether it learns from alerts as sent, too, which have a table of their own."""
    seed: int = 0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidData for what is no such experiment, naming the option."""
        try:
            values = tomllib.loads(path.read_text())
            forest = ForestConfig.from_dict(values.pop("forest"))
            return cls(**{**values, "days": tuple(values.get("days", cls.days))}, forest=forest)
        except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"{path}: {error}") from error


@dataclass(frozen=True)
class Examples:
    """Labelled light curves to learn from, or to be judged by."""

    lengths: FeatureTable
    """Each at every length."""
    alerts: FeatureTable | None
    """As sent, where they are learned from."""

    @classmethod
    def of(cls, experiment: ForestExperiment, table: FeatureTable, alerts: FeatureTable | None) -> Self:
        """What an experiment takes of the tables. Raises InvalidData where one is missing, or is for nothing."""
        if experiment.alerts != (alerts is not None):
            told = "learns from alerts as sent, too" if experiment.alerts else "does not learn from alerts as sent"
            raise InvalidData(f"{experiment.name} {told}: --alert-features names a table of them")
        table.must_be_of(LENGTHS, option="--features")
        if alerts is not None:
            alerts.must_be_of(ALERTS, option="--alert-features")
        absent = sorted(set(experiment.days) - set(np.unique(table.days).tolist()))
        if absent:
            told = ", ".join(f"{days:g}" for days in absent)
            raise InvalidData(f"{experiment.name} learns from light curves of {told} days, of which the table has none")
        known = table.where((table.class_id != UNKNOWN_CLASS) & np.isin(table.days, experiment.days))
        if not len(known):
            raise InvalidData("the table has no light curve of a known class")
        return cls(known, None if alerts is None else alerts.where(alerts.class_id != UNKNOWN_CLASS))

    def where(self, selected: Callable[[FeatureTable], BoolArray]) -> Self:
        """The rows that are selected of each table."""
        alerts = None if self.alerts is None else self.alerts.where(selected(self.alerts))
        return type(self)(self.lengths.where(selected(self.lengths)), alerts)

    def __len__(self) -> int:
        return len(self.lengths) + (0 if self.alerts is None else len(self.alerts))

    def pooled(self) -> FeatureTable:
        """All of them."""
        return FeatureTable.joined([self.lengths, *([] if self.alerts is None else [self.alerts])])

    def by_view(self) -> dict[str, FeatureTable]:
        """By length, and the alerts."""
        lengths = np.unique(self.lengths.days).tolist()
        views = {f"{days:.0f} days": self.lengths.where(self.lengths.days == days) for days in lengths}
        return views if self.alerts is None else {**views, "alerts": self.alerts}


def train(
    experiment: ForestExperiment,
    table: FeatureTable,
    output: Path,
    *,
    alerts: FeatureTable | None = None,
    chosen: Mapping[str, Any] | None = None,
    console: Console,
) -> Path:
    """Grow the forest on the train split, all views pooled, calibrate it on validation's, write the artifact.

    ``chosen`` is by what options of training the objects were, for the artifact to say. Raises InvalidData for tables
    that do not do.
    """
    training, held_out, taxonomy = divided(Examples.of(experiment, table, alerts))
    console.print(f"{len(training)} light curves, {len(experiment.forest.columns)} columns, {len(taxonomy)} classes")
    forest = grown(experiment, training, taxonomy)
    judged = held_out.pooled()
    logits = forest.scores_of(select(judged.columns, forest.columns))
    labels = torch.from_numpy(taxonomy.places(judged.class_id))
    weights = 1 / torch.bincount(labels, minlength=len(taxonomy))[labels]
    temperature = fit_temperature(logits, labels, weights=weights)
    classifier = Classifier(
        forest,
        taxonomy=taxonomy,
        calibration=Calibration(temperatures={Forest.HEAD: temperature}, prior=UNIFORM),
        name=experiment.name,
        version=experiment.version,
        provenance={
            "training_light_curves": len(training),
            "days": list(experiment.days),
            "alerts": experiment.alerts,
            "seed": experiment.seed,
            "data": table.data,
            "training": dict(chosen or {}),
        },
        metrics={f"validation, {view}": told for view, told in evaluate(forest, held_out).items()},
    )
    artifact = output / experiment.name
    classifier.save(artifact)
    return artifact


def divided(examples: Examples) -> tuple[Examples, Examples, Taxonomy]:
    """What is learned from, what it is judged by, and the classes. Raises InvalidData if there is nothing of either."""
    training = examples.where(lambda table: table.split == "train")
    taxonomy = Taxonomy(tuple(sorted(set(training.lengths.class_id.tolist()))))
    held_out = examples.where(lambda table: (table.split == "validation") & np.isin(table.class_id, taxonomy.class_ids))
    if not len(training) or not len(held_out):
        raise InvalidData("the tables have no light curves to learn from, or none to be judged by")
    return training, held_out, taxonomy


def grown(experiment: ForestExperiment, training: Examples, taxonomy: Taxonomy) -> Forest:
    """The forest of an experiment."""
    pooled = training.pooled()
    config = replace(experiment.forest, max_points=pooled.max_points, window_days=pooled.window_days)
    forest = Forest(config, taxonomy, seed=experiment.seed, processes=torch.get_num_threads())
    forest.fit(select(pooled.columns, config.columns), taxonomy.places(pooled.class_id))
    return forest


def evaluate(forest: Forest, held_out: Examples) -> dict[str, dict[str, Any]]:
    """Figures by view."""
    results = {}
    for view, part in held_out.by_view().items():
        labels = forest.taxonomy.places(part.class_id)
        predicted = forest.scores_of(select(part.columns, forest.columns)).numpy().argmax(axis=1)
        results[view] = summary(labels, predicted, forest.taxonomy)
    return results


def most_telling(table: FeatureTable, n: int) -> tuple[str, ...]:
    """The ``n`` features on which the splits of a small boosted forest gain most, in their order."""
    taxonomy = Taxonomy(tuple(sorted(set(table.class_id.tolist()))))
    config = ForestConfig(algorithm="lightgbm", columns=features.NAMES, trees=30, learning_rate=0.1)
    boosted = Boosted(config, taxonomy, seed=0, processes=torch.get_num_threads())
    boosted.fit(select(table.columns, features.NAMES), taxonomy.places(table.class_id))
    chosen = np.sort(np.argsort(-boosted.gains(), kind="stable")[:n])
    return tuple(features.NAMES[place] for place in chosen.tolist())

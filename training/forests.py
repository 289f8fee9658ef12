"""Forests from a table of features: what ``python -m training train`` does for a configuration with a ``[forest]``."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.console import Console

from models.calibration import UNIFORM, Calibration, fit_temperature
from models.classifier import Classifier
from models.inputs import features
from models.inputs.table import select
from models.random_forest import Boosted, Forest, ForestConfig
from models.taxonomy import Taxonomy
from training.data.layout import UNKNOWN_CLASS, InvalidData
from training.features import FeatureTable
from training.metrics import summary


@dataclass(frozen=True)
class ForestExperiment:
    """One TOML file with a ``[forest]``."""

    name: str
    version: str
    forest: ForestConfig
    days: tuple[float, ...] = (8.0, 128.0, 2048.0)
    """Lengths of light curve to learn from, pooled (4.4.1): days after the first alert."""
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


def train(
    experiment: ForestExperiment,
    table: FeatureTable,
    output: Path,
    *,
    chosen: Mapping[str, Any] | None = None,
    console: Console,
) -> Path:
    """Grow the forest on the train split of all lengths pooled, calibrate it on validation's, write the artifact.

    ``chosen`` is by what options of training the objects were, for the artifact to say.
    """
    labelled = table.where((table.class_id != UNKNOWN_CLASS) & np.isin(table.days, experiment.days))
    training = labelled.where(labelled.split == "train")
    held_out = labelled.where(labelled.split == "validation")
    if not len(training) or not len(held_out):
        raise InvalidData(f"no light curves of {experiment.days} days in the train or the validation split")
    taxonomy = Taxonomy(tuple(sorted(set(training.class_id.tolist()))))
    held_out = held_out.where(np.isin(held_out.class_id, taxonomy.class_ids))
    columns = experiment.forest.columns
    console.print(f"{len(training)} light curves, {len(columns)} columns, {len(taxonomy)} classes")
    config = replace(experiment.forest, max_points=table.max_points)
    forest = Forest(config, taxonomy, seed=experiment.seed, processes=torch.get_num_threads())
    forest.fit(select(training.columns, columns), taxonomy.places(training.class_id))

    logits = forest.scores_of(select(held_out.columns, columns))
    labels = torch.from_numpy(taxonomy.places(held_out.class_id))
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
            "seed": experiment.seed,
            "training": dict(chosen or {}),
        },
        metrics={f"validation, {view}": told for view, told in evaluate(forest, taxonomy, held_out).items()},
    )
    artifact = output / experiment.name
    classifier.save(artifact)
    return artifact


def evaluate(forest: Forest, taxonomy: Taxonomy, table: FeatureTable) -> dict[str, dict[str, Any]]:
    """Figures by length of the light curves."""
    results = {}
    for days in np.unique(table.days).tolist():
        part = table.where(table.days == days)
        labels = taxonomy.places(part.class_id)
        predicted = forest.scores_of(select(part.columns, forest.config.columns)).numpy().argmax(axis=1)
        results[f"{days:.0f} days"] = summary(labels, predicted, taxonomy)
    return results


def most_telling(table: FeatureTable, n: int) -> tuple[str, ...]:
    """The ``n`` features on which the splits of a small boosted forest gain most, in their order."""
    taxonomy = Taxonomy(tuple(sorted(set(table.class_id.tolist()))))
    config = ForestConfig(algorithm="lightgbm", columns=features.NAMES, trees=30, learning_rate=0.1)
    boosted = Boosted(config, taxonomy, seed=0, processes=torch.get_num_threads())
    boosted.fit(select(table.columns, features.NAMES), taxonomy.places(table.class_id))
    chosen = np.sort(np.argsort(-boosted.gains(), kind="stable")[:n])
    return tuple(features.NAMES[place] for place in chosen.tolist())

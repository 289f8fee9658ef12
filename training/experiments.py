"""``python -m training experiments``: every variant of ATAT and every forest at a tier, on the same objects.

What is missing is trained, one after another, into ``OUTPUT/VARIANT-SEED``: a model, the log of its training, and a
checkpoint while it is unfinished. Killed at any moment, the same command goes on where it was; given twice at once, the
two share the work. With ``--steps`` or ``--minutes`` networks learn for less long than the tier has it, to be compared
among themselves, in a directory of their own.
"""

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from models.classifier import DESCRIPTION
from models.inputs.light_curve import WINDOW_DAYS
from models.taxonomy import CLASS_NAMES
from training import options
from training.arguments import count, positive
from training.claims import shared
from training.data.layout import Dataset
from training.errors import Diverged, InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, Tier, TrainingConfig
from training.features import FeatureTable
from training.files import first_written
from training.interruption import resumable
from training.loop import CHECKPOINT, DIVERGED
from training.processes import World
from training.selected import selected_features, selection_of, with_features
from training.trainer import train

if TYPE_CHECKING:
    from training.forests import ForestExperiment

VARIANTS = (
    *("lc-md-mta", "lc-md", "lc-mta", "lc", "md", "md-features-mta", "md-features", "features-mta", "features"),
    *("lc-md-features-mta", "lc-md-features", "lc-md-mta-no-quantiles", "lc-md-mta-sinusoid", "lc-mta-sinusoid"),
    "atat2",
)
"""The networks of the thesis's chapter 4, and what goes past it. Others are trained when they are named."""

OBJECTS = "objects.json"
SHORTER = ("steps", "minutes")
"""Options by which networks learn for less long than the tier says; recorded where they are given."""


@dataclass(frozen=True)
class Run:
    """A variant and a seed."""

    variant: str
    seed: int

    @property
    def claim(self) -> str:
        """Of the one process that makes it."""
        return f"{self.variant}-{self.seed}"

    def directory(self, output: Path) -> Path:
        """Where it is trained."""
        return output / self.claim

    def is_done(self, output: Path) -> bool:
        """Whether its model is there: what describes it is written last."""
        return (self.directory(output) / self.variant / DESCRIPTION).exists()

    def is_left(self, output: Path) -> bool:
        """Whether it is to be trained: once diverged, it would diverge again."""
        return not (self.is_done(output) or self.has_diverged(output))

    def has_diverged(self, output: Path) -> bool:
        """Whether its training came to no end."""
        return (self.directory(output) / DIVERGED).exists()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--tier", choices=tuple(TIERS), required=True)
    parser.add_argument("--seeds", type=count, default=1, help="how many of each variant (default: 1)")
    parser.add_argument("--data", type=Path, required=True, help="a directory in the data layout")
    parser.add_argument("--features", type=Path, help="its table of features, thinned as the tier is (--points)")
    parser.add_argument("--alert-features", type=Path, help="the same, by features --alerts, for lightgbm-alerts")
    parser.add_argument("--output", type=Path, required=True, help="directory of the runs")
    parser.add_argument("--variants", help="a comma between them (default: all of the thesis's, atat2 and the forests)")
    parser.add_argument("--steps", type=count, help="of every network (default: the tier's)")
    parser.add_argument(
        "--minutes", type=positive, help="stop each network, with its schedule finished, after this long"
    )
    options.add_arithmetic(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    tier = TIERS[arguments.tier]
    names = arguments.variants.split(",") if arguments.variants else [*VARIANTS, *tier.forests]
    runs = [Run(name, seed) for seed in range(arguments.seeds) for name in names]
    experiments = {name: _experiment(name, tier, arguments) for name in names if name not in tier.forests}
    dataset = Dataset.open(arguments.data)
    with_table = Features(tier, dataset, arguments.features, arguments.alert_features)
    with_table.must_be_given_for(names, experiments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    record(arguments.output / OBJECTS, tier, dataset, shorter=options.given(arguments, SHORTER))
    console = Console(stderr=True)
    done = sum(each.is_done(arguments.output) for each in runs)
    console.print(f"{done} of {len(runs)} runs are done")
    with resumable(console):
        for each in shared(runs, arguments.output, console, is_left=lambda run: run.is_left(arguments.output)):
            if each.variant in tier.forests:
                with_table.grow(each, arguments.output, console)
            else:
                experiment = with_table.narrowed(experiments[each.variant])
                _train(each, experiment, dataset, arguments, console)
    diverged = [each.claim for each in runs if each.has_diverged(arguments.output)]
    if diverged:
        console.print(f"left out, as training diverged: {', '.join(diverged)}")
    return int(bool(diverged))


def _experiment(name: str, tier: Tier, arguments: argparse.Namespace) -> Experiment:
    """A variant at a tier. Raises InvalidData for one that does not exist."""
    path = CONFIGS / f"{name}.toml"
    if not path.exists():
        raise InvalidData(f"no variant {name}; there are: {', '.join((*VARIANTS, *tier.forests))}, and atat2-*")
    return Experiment.read(path).at(tier).trained(**options.given(arguments, ("steps", "precision")))


def _train(
    each: Run, experiment: Experiment, dataset: Dataset, arguments: argparse.Namespace, console: Console
) -> None:
    """One network; if its training diverges, the directory says so."""
    directory = each.directory(arguments.output)
    try:
        train(
            experiment.trained(seed=each.seed),
            dataset,
            directory,
            features_directory=arguments.features,
            minutes=arguments.minutes,
            resume=(directory / CHECKPOINT).exists(),
            world=World.alone(arguments.device),
            console=console,
        )
    except Diverged as error:
        (directory / DIVERGED).write_text(f"{error}\n")
    (directory / CHECKPOINT).unlink(missing_ok=True)


class Features:
    """What is done with the table of features."""

    def __init__(self, tier: Tier, dataset: Dataset, directory: Path | None, alerts: Path | None) -> None:
        self._tier = tier
        self._dataset = dataset
        self._directory = directory
        self._alerts = alerts
        self._chosen: tuple[str, ...] | None = None

    def narrowed(self, experiment: Experiment) -> Experiment:
        """With the features that the tier has: found once, for all variants and seeds."""
        if "feature_columns" not in experiment.model or self._tier.features is None:
            return experiment
        directory = self._must_be_given(experiment.name)
        if self._chosen is None:
            found, _ = with_features(experiment, self._dataset, directory)
            self._chosen = tuple(found.model["feature_columns"])
        return replace(experiment, model={**experiment.model, "feature_columns": self._chosen})

    def must_be_given_for(self, variants: Iterable[str], networks: Mapping[str, Experiment]) -> None:
        """Raises InvalidData, before anything is trained, if one of them lacks a table."""
        for name in variants:
            if name in self._tier.forests:
                self._given_for(name)
            elif networks[name].shape.feature_columns:
                self._must_be_given(name)

    def _must_be_given(self, name: str) -> Path:
        if self._directory is None:
            raise InvalidData(f"{name} sees features: --features names a table of them")
        return self._directory

    def _given_for(self, name: str) -> tuple["ForestExperiment", Path, Path | None]:
        """A forest, and the tables that it is grown on."""
        from training.forests import ForestExperiment  # noqa: PLC0415 - forests need packages that ATAT does not

        experiment = ForestExperiment.read(CONFIGS / f"{self._tier.forests[name]}.toml")
        directory = self._must_be_given(name)
        if experiment.alerts and self._alerts is None:
            raise InvalidData(f"{name} learns from alerts as sent, too: --alert-features names a table of them")
        return experiment, directory, self._alerts if experiment.alerts else None

    def grow(self, each: Run, output: Path, console: Console) -> None:
        """A forest on the objects that the networks learn from."""
        from training import forests  # noqa: PLC0415 - forests need packages that ATAT does not

        experiment, directory, of_alerts = self._given_for(each.variant)
        table = self._table(directory)
        alerts = None if of_alerts is None else self._table(of_alerts)
        named = replace(experiment, name=each.variant, seed=each.seed)
        console.print(str(forests.train(named, table, each.directory(output), alerts=alerts, console=console)))

    def _table(self, directory: Path) -> FeatureTable:
        table = selected_features(self._dataset, _objects_of(self._tier), directory)
        table.must_be_cut(directory, window_days=WINDOW_DAYS, max_points=self._tier.max_points, told="the tier")
        return table


def _objects_of(tier: Tier) -> TrainingConfig:
    return TrainingConfig(objects=tier.objects)


def record(path: Path, tier: Tier, dataset: Dataset, *, shorter: Mapping[str, float]) -> None:
    """Write which objects all runs share, and for how long they learn if the tier does not say.

    Raises InvalidData if the directory has runs of others.
    """
    index, selection = dataset.index(), selection_of(dataset, _objects_of(tier))
    parts = {}
    for name, rows in (("train", selection.train), ("validation", selection.validation)):
        ids = np.sort(index.object_id[rows]).astype("<i8")
        classes, counts = np.unique(index.class_id[rows], return_counts=True)
        parts[name] = {
            "objects": len(ids),
            "sha256": hashlib.sha256(ids.tobytes()).hexdigest(),
            "classes": {CLASS_NAMES[id_]: count for id_, count in zip(classes.tolist(), counts.tolist(), strict=True)},
        }
    record = {"tier": tier.name, **shorter, **parts}
    if json.loads(first_written(path, json.dumps(record, indent=1) + "\n")) != record:
        raise InvalidData(f"{path.parent} has runs of other objects, steps or minutes; name a new directory")

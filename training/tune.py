"""``python -m training tune``: a forest's options, every combination of a grid tried on validation objects.

Writes a row a combination: macro F1 of each view, and their mean, by which the best comes first. With several folds
left out, the means over them, each without its fold. What is chosen may then be tried on all of them, if not quite
blindly: validation objects of each fold were among those that it was chosen by when another was left out.
"""

import argparse
import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from training import options
from training.arguments import fold_number
from training.data.layout import Dataset
from training.errors import InvalidData
from training.experiment import TIERS, TrainingConfig, is_forest, path_of
from training.features import FeatureTable
from training.forests import Examples, ForestExperiment, divided, evaluate, grown
from training.selected import selected_features

_OF_EXPERIMENT = ("days", "alerts", "seed")
"""Options that are the experiment's and not the forest's."""

Choice = Mapping[str, Any]
"""Values of options."""


@dataclass(frozen=True)
class Tried:
    """A combination, and macro F1 by view, mean over the folds."""

    choice: Choice
    scores: Mapping[str, float]

    @property
    def score(self) -> float:
        """Mean over the views."""
        return float(np.mean(list(self.scores.values())))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("config", help="a TOML file with a [forest], or the name of one that ships (forest-lightgbm)")
    parser.add_argument("--data", type=Path, required=True, help="data in the layout")
    parser.add_argument("--features", type=Path, required=True, help="their table of features")
    parser.add_argument("--alert-features", type=Path, help="one by features --alerts: then they are a view, too")
    parser.add_argument("--tier", choices=tuple(TIERS), help="of the objects of a tier alone")
    parser.add_argument(
        "--leave-out", type=fold_number, nargs="+", metavar="FOLD", help="folds that will be tried on, each by itself"
    )
    parser.add_argument(
        "--grid",
        type=_axis,
        action="append",
        required=True,
        metavar="OPTION=JSON,...",
        help="values of an option (trees=120,180 or alerts=false,true); may be repeated",
    )
    parser.add_argument("--output", type=Path, required=True, help="the CSV file")
    options.add_threads(parser)


def _axis(words: str) -> tuple[str, list[Any]]:
    name, _, values = words.partition("=")
    try:
        found = json.loads(f"[{values}]")
    except ValueError:
        found = []
    if not found:
        raise argparse.ArgumentTypeError(f"{words!r} is not OPTION=JSON,...")
    return name, found


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_threads(arguments)
    console = Console(stderr=True)
    path = path_of(arguments.config)
    if not is_forest(path):
        raise InvalidData(f"{path} is no forest: a network's options are those of its file")
    experiment = ForestExperiment.read(path)
    axes = dict(arguments.grid)
    if len(axes) < len(arguments.grid):
        raise InvalidData("--grid: an option is named twice; all its values go behind one, with commas between")
    choices = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    experiments = [_with(experiment, choice) for choice in choices]
    if arguments.alert_features is None and any(each.alerts for each in experiments):
        raise InvalidData(f"{experiment.name} learns from alerts as sent, too: --alert-features names a table of them")
    scores: list[list[dict[str, float]]] = [[] for _ in experiments]
    for table, alerts in _tables(arguments):
        for each, choice, found in zip(experiments, choices, scores, strict=True):
            found.append(_scores(each, table, alerts))
            console.print(f"{json.dumps(choice)}: {Tried(choice, found[-1]).score:.4f}", highlight=False)
    tried = [Tried(choice, _means(found)) for choice, found in zip(choices, scores, strict=True)]
    _write(arguments.output, sorted(tried, key=lambda each: each.score, reverse=True))
    console.print(arguments.output.read_text(), highlight=False)
    return 0


def _with(experiment: ForestExperiment, choice: Choice) -> ForestExperiment:
    """The experiment with other options. Raises InvalidData for one that there is not."""
    own = {name: value for name, value in choice.items() if name in _OF_EXPERIMENT}
    others = {name: value for name, value in choice.items() if name not in own}
    try:
        return replace(experiment, forest=replace(experiment.forest, **others), **own)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"--grid: {error}") from error


def _tables(arguments: argparse.Namespace) -> Iterator[tuple[FeatureTable, FeatureTable | None]]:
    """Features of the objects, and of their alerts, once or without each of the folds."""
    dataset = Dataset.open(arguments.data)
    objects = None if arguments.tier is None else TIERS[arguments.tier].objects
    for fold in arguments.leave_out or [None]:
        config = TrainingConfig(objects=objects, left_out=fold)
        table = selected_features(dataset, config, arguments.features)
        alerts = arguments.alert_features
        yield table, None if alerts is None else selected_features(dataset, config, alerts)


def _scores(experiment: ForestExperiment, table: FeatureTable, alerts: FeatureTable | None) -> dict[str, float]:
    """Macro F1 by view, of the alerts as well if there are any, whether it has learned from such or not."""
    seen = replace(experiment, alerts=alerts is not None)
    training, held_out, taxonomy = divided(Examples.of(seen, table, alerts))
    if not experiment.alerts:
        training = replace(training, alerts=None)
    found = evaluate(grown(experiment, training, taxonomy), held_out)
    return {view: float(told["macro_f1"]) for view, told in found.items()}


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {view: float(np.mean([scores[view] for scores in found])) for view in found[0]}


def _write(path: Path, tried: Sequence[Tried]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*tried[0].choice, "mean F1", *(f"F1, {view}" for view in tried[0].scores)])
        for each in tried:
            scores = (each.score, *each.scores.values())
            rows.writerow([*map(json.dumps, each.choice.values()), *(f"{score:.4f}" for score in scores)])

"""``python -m training train``: a configuration and a data directory in, a model artifact out.

A configuration with a ``[forest]`` grows a forest, from the table that ``python -m training features`` made. Started by
``torchrun``, several processes train one network, each on its share of every batch.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from training import features, options, processes
from training.arguments import block_count, fold_number, seed_number, share
from training.data.layout import Dataset
from training.errors import InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, TrainingConfig, is_forest, path_of
from training.features import FeatureTable
from training.pretrained import Pretrained
from training.selected import selected_features
from training.trainer import train

_OF_OBJECTS = ("fold", "left_out", "labels")
"""Options that choose what is learned from."""
_OF_NETWORKS = ("minutes", "tier", "init", "init_blocks", "freeze_blocks", "precision")
"""Options that a forest has no use for."""


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


def _init(arguments: argparse.Namespace) -> Pretrained | None:
    if arguments.init is None:
        if arguments.init_blocks is not None or arguments.freeze_blocks is not None:
            raise InvalidData("--init-blocks and --freeze-blocks are of the weights that --init names")
        return None
    return Pretrained.read(arguments.init, blocks=arguments.init_blocks, frozen=arguments.freeze_blocks)


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

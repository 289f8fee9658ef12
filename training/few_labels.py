"""``python -m training few-labels``: what pretraining gains where few labels are known (chapter 5, which left it open).

First a screen: every combination of SSL-B or SSL-M, eta_pred, eta_orig and token is pretrained once, and then trained
on a tenth of the labels. The best on validation objects are compared with a network that starts from scratch, at
several shares of the labels and seeds: the same objects, augmentation and steps, each with the best of some learning
rates (by validation, at the first seed). Another seed has other weights and other labels, the same for every method,
and with ``--folds`` is tried on another fold. Writes ``FEW_LABELS.md``.

Each run is kept: killed at any moment, the same command goes on where it was; given twice at once, the two share the
work. ``outcomes.jsonl`` and ``answers/`` are all that the page, and going on, need of runs that are finished: what is
under ``pretrained/`` and ``runs/`` may be left behind.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console

from training import options
from training.arguments import count, share
from training.data.layout import UNKNOWN_CLASS, Dataset
from training.data.selection import select
from training.data.splits import FOLDS
from training.errors import InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, path_of
from training.experiments import OBJECTS, record
from training.few_labels_choice import LABELS, SCREENED, best, compare, grid, of_every_kind, screened
from training.few_labels_page import page
from training.few_labels_runs import LONGER, Bench, Method, Trials
from training.files import first_written
from training.interruption import resumable
from training.predictions import Selection

PAGE = "FEW_LABELS.md"
VERSION = 2
"""Of how runs are made. To be raised with whatever changes them: a directory then refuses the older ones."""
_SETTINGS = "settings.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--config", default="few-labels", help=f"in {CONFIGS.name}/, or a TOML file (few-labels)")
    parser.add_argument("--tier", choices=tuple(TIERS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="data in the layout")
    parser.add_argument("--test", type=Path, help="data whose test objects the comparison is on (default: --data)")
    parser.add_argument(
        "--unlabelled", type=Path, action="append", default=[], help="more to pretrain on; may be given again"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the runs and the page")
    parser.add_argument("--screen-only", action="store_true", help="make the screen, and no comparison")
    parser.add_argument(
        "--methods", help="compare these, a comma between them, and make no screen (ssl-m-1-0.25-noise)"
    )
    parser.add_argument("--best", type=count, default=2, help="how many of the screen to compare (default: 2)")
    parser.add_argument("--seeds", type=count, default=5, help="of the comparison (default: 5)")
    parser.add_argument(
        "--labels", type=share, nargs="+", default=list(LABELS), help="shares of the labels (default: 0.01 0.1 1)"
    )
    parser.add_argument(
        "--folds", action="store_true", help="compare on the folds of --data: the run of each seed leaves out its own"
    )
    parser.add_argument(
        "--longer",
        action="store_true",
        help=f"compare {LONGER}, too: the steps of pretraining and of training, {SCREENED * 100:g} %% of the labels",
    )
    parser.add_argument("--steps", type=count, help="of training (default: the tier's)")
    parser.add_argument("--pretraining-steps", type=count, help="default: the tier's, whatever --steps")
    options.add_arithmetic(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    console = Console(stderr=True)
    bench = _bench(arguments, console)
    named = _named(arguments.methods, bench.experiment)
    methods: list[Method] = []
    with resumable(console):
        if named is None:
            bench.make(screened(bench.experiment), "screen", compared=False)
        if not arguments.screen_only:
            methods = [Method(None), *(best(bench, arguments.best) if named is None else named)]
            methods += [Method(None, longer=True)] if arguments.longer else []
            _write(bench, methods, arguments)
            try:
                compare(bench, methods, arguments.labels, arguments.seeds)
            except KeyboardInterrupt:
                console.print(f"so far: {_write(bench, methods, arguments)}")
                raise
    console.print(str(_write(bench, methods, arguments)))
    return 0


def _write(bench: Bench, methods: Sequence[Method], arguments: argparse.Namespace) -> Path:
    written: Path = arguments.output / PAGE
    written.write_text(page(bench, methods, arguments.labels, arguments.seeds))
    return written


def _named(names: str | None, experiment: Experiment) -> list[Method] | None:
    """Methods of the grid. Raises InvalidData for a name that is none of them."""
    if names is None:
        return None
    known = {method.name: method for method in grid(experiment)}
    unknown = set(names.split(",")) - set(known)
    if unknown:
        raise InvalidData(f"no method {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def _bench(arguments: argparse.Namespace, console: Console) -> Bench:
    """Raises InvalidData if the directory has runs of other options, or of other objects."""
    tier = TIERS[arguments.tier]
    experiment = Experiment.read(path_of(arguments.config)).at(tier)
    pretraining_steps = arguments.pretraining_steps or experiment.pretrained().training.steps
    experiment = experiment.trained(**options.given(arguments, ("steps", "precision")))
    dataset = Dataset.open(arguments.data)
    unlabelled = tuple(Dataset.open(each) for each in arguments.unlabelled)
    trials = _trials(arguments, dataset, unlabelled)
    arguments.output.mkdir(parents=True, exist_ok=True)
    record(arguments.output / OBJECTS, tier, dataset, shorter={})
    settings = json.dumps(
        {
            "version": VERSION,
            # Which kind `pretrain` would be of changes nothing here.
            "experiment": {**asdict(experiment), "self_supervision": of_every_kind(experiment)},
            "pretraining_steps": pretraining_steps,
            "folds": arguments.folds,
            "test": None if arguments.folds else trials[0].fingerprint,
            "unlabelled": [each.index().fingerprint for each in unlabelled],
        },
        indent=1,
    )
    if first_written(arguments.output / _SETTINGS, settings) != settings:
        raise InvalidData(f"{arguments.output} has runs of other options; name a new directory")
    return Bench(
        directory=arguments.output,
        experiment=experiment,
        dataset=dataset,
        unlabelled=unlabelled,
        trials=trials,
        pretraining_steps=pretraining_steps,
        folds=arguments.folds,
        device=arguments.device,
        console=console,
    )


def _trials(arguments: argparse.Namespace, dataset: Dataset, unlabelled: Sequence[Dataset]) -> Trials:
    """Of the classes that are trained on. Raises InvalidData for objects that are learned from, or too few folds."""
    if not arguments.folds:
        test = _trial(arguments.test or arguments.data, dataset, unlabelled, fold=None)
        return dict.fromkeys(range(arguments.seeds), test)
    if arguments.test is not None:
        raise InvalidData("--folds names the objects to compare on, and so does --test")
    if arguments.seeds > FOLDS:
        raise InvalidData(f"there are {FOLDS} folds, fewer than --seeds {arguments.seeds}")
    return {fold: _trial(arguments.data, dataset, unlabelled, fold=fold) for fold in range(arguments.seeds)}


def _trial(directory: Path, dataset: Dataset, unlabelled: Sequence[Dataset], *, fold: int | None) -> Selection:
    """The test objects, or those of a fold."""
    index = dataset.index()
    classes = sorted(set(index.class_id[index.split == "train"].tolist()) - {UNKNOWN_CLASS})
    test = Selection.of(directory, split="test" if fold is None else None, fold=fold, classes=classes)
    chosen = select(index, left_out=fold, labels=None)
    learned = [index.object_id[chosen.train | chosen.validation]]
    if directory != dataset.directory:  # of the data's own test objects, pretraining sees to it itself
        learned += [each.index().object_id for each in unlabelled]
    seen = np.isin(test.index.object_id[test.chosen], np.concatenate(learned))
    if seen.any():
        raise InvalidData(f"{seen.sum()} objects to compare on are among those to learn from")
    return test
